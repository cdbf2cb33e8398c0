//! Standard output and standard error, and what may be printed there.

use std::io::{self, Write};

/// One line to standard error. A standard error that is closed leaves nobody to tell.
pub(crate) fn say(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Text, as it is, to standard output.
pub(crate) fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Names and texts from files without what moves the cursor, colours, or turns the direction of
/// writing: control characters and Unicode's bidirectional ones become escapes.
pub(crate) fn clean(text: &str) -> String {
    let harmful = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{2028}' | '\u{2029}')
            || ('\u{202a}'..='\u{202e}').contains(&c)
            || ('\u{2066}'..='\u{2069}').contains(&c)
    };
    let mut cleaned = String::with_capacity(text.len());
    for c in text.chars() {
        if harmful(c) {
            cleaned.extend(c.escape_default());
        } else {
            cleaned.push(c);
        }
    }
    cleaned
}

#[cfg(test)]
mod tests {
    use super::clean;

    #[test]
    fn only_harmful_characters_are_escaped() {
        assert_eq!(clean("grün·☃ 日本.tif"), "grün·☃ 日本.tif");
        assert_eq!(clean("a\nb\u{1b}[31m\u{202e}fit"), "a\\nb\\u{1b}[31m\\u{202e}fit");
    }
}
