//! The tree of a WKT text (OGC 01-009 and 18-010): keywords, texts, numbers. No meaning yet.
//!
//! Depth and size are limited, so that no text can exhaust the stack or memory.

/// A node: `KEYWORD[value, KEYWORD[...], ...]`.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Node {
    /// Upper case.
    pub(super) keyword: String,
    pub(super) values: Vec<Value>,
}

/// What stands in a node's brackets.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Text(String),
    Number(f64),
    Node(Node),
}

/// Deepest nesting; the deepest standard text has about 12.
const MOST_DEPTH: usize = 40;
/// Longest text in bytes; the longest of PROJ's database has 15,000.
const MOST_BYTES: usize = 1 << 18;

impl Node {
    /// The texts and numbers of a node, by place among all values.
    pub(super) fn text(&self, at: usize) -> Option<&str> {
        match self.values.get(at)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn number(&self, at: usize) -> Option<f64> {
        match self.values.get(at)? {
            Value::Number(number) => Some(*number),
            Value::Text(text) => text.trim().parse().ok(),
            Value::Node(_) => None,
        }
    }

    /// All nodes below this one.
    pub(super) fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.values.iter().filter_map(|value| match value {
            Value::Node(node) => Some(node),
            _ => None,
        })
    }

    /// The first node below with one of these keywords.
    pub(super) fn node(&self, keywords: &[&str]) -> Option<&Node> {
        self.nodes().find(|node| keywords.contains(&node.keyword.as_str()))
    }
}

/// Parses one node and nothing after it.
///
/// # Errors
/// What is wrong and where, in words.
pub(super) fn parse(text: &str) -> Result<Node, String> {
    if text.len() > MOST_BYTES {
        return Err(format!("the WKT has {} bytes, at most {MOST_BYTES} are read", text.len()));
    }
    let mut parser =
        Parser { rest: text.trim_start_matches('\u{feff}').trim(), length: text.len() };
    let Value::Node(node) = parser.value(0)? else {
        return Err("it is not WKT".into());
    };
    parser.skip_space();
    if parser.rest.is_empty() { Ok(node) } else { Err(parser.at("the end")) }
}

struct Parser<'a> {
    rest: &'a str,
    length: usize,
}

impl Parser<'_> {
    fn at(&self, expected: &str) -> String {
        let found: String = self.rest.chars().take(12).collect();
        format!(
            "WKT: expected {expected} at byte {}, found {found:?}",
            self.length - self.rest.len()
        )
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn take(&mut self, character: char) -> bool {
        self.skip_space();
        match self.rest.strip_prefix(character) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn value(&mut self, depth: usize) -> Result<Value, String> {
        self.skip_space();
        match self.rest.chars().next() {
            Some('"' | '\u{201c}') => self.quoted().map(Value::Text),
            Some(c) if c.is_ascii_digit() || matches!(c, '+' | '-' | '.') => self.number(),
            Some(c) if c.is_ascii_alphabetic() => self.word(depth),
            _ => Err(self.at("a value")),
        }
    }

    fn quoted(&mut self) -> Result<String, String> {
        let mut text = String::new();
        let mut characters = self.rest.char_indices().skip(1).peekable();
        while let Some((at, c)) = characters.next() {
            match c {
                // A quote within a text is doubled.
                '"' if characters.peek().is_some_and(|(_, next)| *next == '"') => {
                    characters.next();
                    text.push('"');
                }
                '"' | '\u{201d}' => {
                    self.rest = &self.rest[at + c.len_utf8()..];
                    return Ok(text);
                }
                _ => text.push(c),
            }
        }
        Err(self.at("a closing quote"))
    }

    fn number(&mut self) -> Result<Value, String> {
        let is_part = |c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.' | 'e' | 'E');
        let end = self.rest.find(|c| !is_part(c)).unwrap_or(self.rest.len());
        let (text, rest) = self.rest.split_at(end);
        match text.parse::<f64>() {
            // A date such as 2020-01-01 is no number, but it harms nobody.
            Err(_) => {
                self.rest = rest;
                Ok(Value::Text(text.to_owned()))
            }
            Ok(number) if number.is_finite() => {
                self.rest = rest;
                Ok(Value::Number(number))
            }
            Ok(_) => Err(self.at("a finite number")),
        }
    }

    /// A keyword with its brackets, or a bare word (`NORTH`).
    fn word(&mut self, depth: usize) -> Result<Value, String> {
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let end = self.rest.find(|c| !is_part(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        let close = if self.take('[') {
            ']'
        } else if self.take('(') {
            ')'
        } else {
            return Ok(Value::Text(word.to_owned()));
        };
        if depth >= MOST_DEPTH {
            return Err(format!("WKT: nested deeper than {MOST_DEPTH}"));
        }
        let mut values = Vec::new();
        loop {
            values.push(self.value(depth + 1)?);
            if self.take(close) {
                return Ok(Value::Node(Node { keyword: word.to_ascii_uppercase(), values }));
            }
            if !self.take(',') {
                return Err(self.at("a comma or a closing bracket"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees_are_read_in_all_spellings() {
        let node =
            parse(" UNIT [\"say \"\"m\"\"\" , 1.5e0, AUTHORITY(\"EPSG\",9001),NORTH]\n").unwrap();
        assert_eq!((node.keyword.as_str(), node.text(0)), ("UNIT", Some("say \"m\"")));
        assert_eq!(node.number(1), Some(1.5));
        assert_eq!(node.node(&["AUTHORITY"]).unwrap().number(1), Some(9001.0));
        assert_eq!(node.text(3), Some("NORTH"));
    }

    #[test]
    fn no_text_breaks_it() {
        let deep = "A[".repeat(100_000);
        for bad in [
            "", "A", "\"x\"", "A[", "A[1", "A[1,]", "A[\"x]", "A[1]]", "A[1] B", "A[1e999]", "[1]",
            &deep,
        ] {
            assert!(parse(bad).is_err(), "{bad:.20}");
        }
        assert!(parse(&"A[".repeat(30)).is_err());
        assert!(parse(&" ".repeat(1 << 19)).is_err());
        // Every prefix of a text, and every text with one byte changed, is read or refused.
        let text =
            "PROJCS[\"a\",GEOGCS[\"b\",DATUM[\"é\",SPHEROID[\"s\",6378137,298.25]]],UNIT[\"m\",1]]";
        for end in 0..text.len() {
            let _ = text.get(..end).map(parse);
            for other in ['[', ']', '"', ',', '9', 'é'] {
                if let (Some(a), Some(b)) = (text.get(..end), text.get(end + 1..)) {
                    let _ = parse(&format!("{a}{other}{b}"));
                }
            }
        }
    }
}
