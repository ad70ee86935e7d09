//! As much of DER as certificates and public keys are read with.

/// What is left of a sequence of elements.
pub(super) struct Der<'a>(&'a [u8]);

pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const INTEGER: u8 = 0x02;
pub(super) const OBJECT_IDENTIFIER: u8 = 0x06;
pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const SET: u8 = 0x31;
/// `[0] EXPLICIT`, a certificate's version.
pub(super) const VERSION: u8 = 0xa0;

impl<'a> Der<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The content of the next element, when it has this tag.
    pub(super) fn read(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (found, _, content) = self.element()?;
        (found == tag).then_some(content)
    }

    /// What is inside the next element, when it has this tag.
    pub(super) fn enter(&mut self, tag: u8) -> Option<Self> {
        self.read(tag).map(Self)
    }

    /// The next element as it stands, tag and length included.
    pub(super) fn whole(&mut self) -> Option<&'a [u8]> {
        self.element().map(|(_, whole, _)| whole)
    }

    /// The tag of the next element and its content.
    pub(super) fn any(&mut self) -> Option<(u8, &'a [u8])> {
        self.element().map(|(tag, _, content)| (tag, content))
    }

    /// Passes over the next element if it has this tag.
    pub(super) fn skip_optional(&mut self, tag: u8) -> Option<()> {
        if self.0.first() == Some(&tag) {
            self.element()?;
        }
        Some(())
    }

    fn element(&mut self) -> Option<(u8, &'a [u8], &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, content) = if first < 0x80 {
            (usize::from(first), rest)
        } else {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            // Four bytes are more than anything that reaches this emulator.
            if bytes.is_empty() || bytes.len() > 4 {
                return None;
            }
            let length = bytes.iter().try_fold(0usize, |length, byte| {
                length.checked_mul(256)?.checked_add(usize::from(*byte))
            })?;
            (length, rest)
        };
        let (content, after) = content.split_at_checked(length)?;
        let whole = &self.0[..self.0.len() - after.len()];
        self.0 = after;
        Some((tag, whole, content))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Elements of short and long form are read, and what is cut off or announces too much is nothing.
    #[test]
    fn elements() {
        let mut der = Der::new(&[0x30, 0x03, 0x02, 0x01, 0x05, 0x06, 0x81, 0x01, 0x2a]);
        assert_eq!(
            der.enter(SEQUENCE)
                .and_then(|mut inner| inner.read(INTEGER)),
            Some(&[5][..])
        );
        assert_eq!(der.whole(), Some(&[0x06, 0x81, 0x01, 0x2a][..]));
        assert!(der.is_empty());
        for broken in [
            &[0x30][..],
            &[0x30, 0x02, 0x00],
            &[0x30, 0x80],
            &[0x30, 0x85, 1, 1, 1, 1, 1],
            &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff],
        ] {
            assert_eq!(Der::new(broken).any(), None, "{broken:?}");
        }
    }
}
