//! Bits, least significant first (RFC 1951, section 3.1.1).

/// Writes bits into a buffer that is long enough for whatever a stretch becomes.
pub(crate) struct Bits<'a> {
    pub(crate) buffer: &'a mut [u8],
    /// Whole bytes that are written.
    pub(crate) position: usize,
    /// Bits that are not.
    pub(crate) pending: u64,
    /// Their number: at most seven after [`Bits::flush`].
    pub(crate) count: u32,
}

impl<'a> Bits<'a> {
    /// Bytes of a buffer for a stretch of this length. A block is never longer than if it were
    /// stored, which takes five bytes for each 65,535; blocks have at least a piece's length,
    /// all but the last; and eight bytes are written at a time.
    pub(crate) const fn room(length: usize) -> usize {
        length + 5 * (length / super::PIECE + length / STORED + 3) + 16
    }

    pub(crate) fn new(buffer: &'a mut [u8]) -> Self {
        Self {
            buffer,
            position: 0,
            pending: 0,
            count: 0,
        }
    }

    /// Adds bits: at most 56 since the last flush, and `value` has no others.
    #[inline(always)]
    pub(crate) fn put(&mut self, value: u64, count: u32) {
        self.pending |= value << self.count;
        self.count += count;
    }

    /// Writes whole bytes.
    #[inline(always)]
    pub(crate) fn flush(&mut self) {
        self.buffer[self.position..self.position + 8].copy_from_slice(&self.pending.to_le_bytes());
        self.position += (self.count >> 3) as usize;
        self.pending >>= self.count & 56;
        self.count &= 7;
    }

    /// Adds bytes as they are, as stored blocks (section 3.2.4).
    pub(crate) fn store(&mut self, mut bytes: &[u8], is_last: bool) {
        loop {
            let (piece, rest) = bytes.split_at(bytes.len().min(STORED));
            self.put(u64::from(is_last && rest.is_empty()), 3);
            self.count = self.count.next_multiple_of(8);
            self.flush();
            let length = piece.len() as u16;
            self.copy(&length.to_le_bytes());
            self.copy(&(!length).to_le_bytes());
            self.copy(piece);
            bytes = rest;
            if bytes.is_empty() {
                return;
            }
        }
    }

    fn copy(&mut self, bytes: &[u8]) {
        self.buffer[self.position..self.position + bytes.len()].copy_from_slice(bytes);
        self.position += bytes.len();
    }

    /// Fills up the last byte; how many there are.
    pub(crate) fn finish(mut self) -> usize {
        self.count = self.count.next_multiple_of(8);
        self.flush();
        self.position
    }
}

/// Most bytes of one stored block.
pub(crate) const STORED: usize = 65_535;
