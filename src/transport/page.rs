//! Bodies of those who stand in between: proxies, gateways, sign-in pages.

use std::borrow::Cow;

/// The text of a body that was to be something else. Of a page only the words
/// help, so its tags are left out; what is not text is replaced.
pub fn words(body: &[u8]) -> Cow<'_, str> {
    let text = String::from_utf8_lossy(body);
    if !text.trim_start().starts_with('<') {
        return text;
    }
    let mut words = String::with_capacity(text.len());
    let mut inside = false;
    for letter in text.chars() {
        match letter {
            '<' => inside = true,
            '>' => {
                inside = false;
                words.push(' ');
            }
            letter if !inside => words.push(letter),
            _ => {}
        }
    }
    Cow::Owned(words)
}

/// A text on one line, without control characters, cut after `most` characters.
pub fn excerpt(text: &str, most: usize) -> String {
    let words = text.split(|letter: char| letter.is_whitespace() || letter.is_control());
    let mut short = String::new();
    let mut count = 0;
    for word in words.filter(|word| !word.is_empty()) {
        let space = (count > 0).then_some(' ');
        for letter in space.into_iter().chain(word.chars()) {
            if count >= most {
                short.push('…');
                return short;
            }
            short.push(letter);
            count += 1;
        }
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page becomes its words, and other texts stay as they are.
    #[test]
    fn pages_become_words() {
        let shown = |body: &[u8]| words(body).split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(
            shown(b" <html>\n<title>502</title><h1 class=\"a\">Bad Gateway</h1></html>"),
            "502 Bad Gateway"
        );
        assert_eq!(shown(b"a < b > c"), "a < b > c");
        assert_eq!(shown(b"\xff{"), "\u{fffd}{");
        assert_eq!(shown(b"<never closed"), "");
    }

    /// What is shown is one line of a bounded length, which says that there was more.
    #[test]
    fn texts_are_cut_to_a_line() {
        assert_eq!(excerpt(" one\r\n\ttwo\u{7} ", 7), "one two");
        assert_eq!(excerpt("one two three", 7), "one two…");
        assert_eq!(excerpt("one two three", 6), "one tw…");
        assert_eq!(excerpt("\u{1b}\n", 7), "");
    }

    proptest::proptest! {
        /// Of whatever page, what is left is no longer than the page with its bad bytes replaced.
        #[test]
        fn any_page(body in crate::spoilt::bytes(["<html><h1 class=\"a\">502 Bad Gateway</h1>\u{a0}</html>"])) {
            let text = String::from_utf8_lossy(&body);
            proptest::prop_assert!(words(&body).len() <= text.len());
        }
    }
}
