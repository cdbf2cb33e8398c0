//! XML as a stream of elements: for files that may be larger than memory should have to be. Entities
//! that a document defines itself are refused; so is markup of more than 16 MiB in one piece.

use std::io::{BufRead, BufReader, Read};

use quick_xml::XmlVersion;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesStart, Event};

use crate::error::{Error, FormatError, Result};

/// Most bytes of one tag or one text.
const MAX_PIECE: u64 = 16 << 20;
/// Deepest nesting.
const MAX_DEPTH: u32 = 64;

/// A reader of elements.
pub(super) struct Xml<R> {
    what: &'static str,
    reader: quick_xml::Reader<Limited<BufReader<R>>>,
    buffer: Vec<u8>,
    /// The end of an element without content is still to come.
    pending_close: bool,
    depth: u32,
}

/// What comes next.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    /// `<name …>`.
    Open(Element),
    /// Text between tags, white space included.
    Text(String),
    /// The end of the element that was opened last.
    Close,
    /// The end of the document.
    End,
}

/// A start tag.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Element {
    /// Name, as written.
    pub(super) name: String,
    attributes: Vec<(String, String)>,
}

impl Element {
    /// Value of an attribute; the case of its name does not count.
    pub(super) fn attribute(&self, name: &str) -> Option<&str> {
        let mut all = self.attributes.iter();
        all.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

impl<R: Read> Xml<R> {
    /// `what` names the document in errors.
    pub(super) fn new(input: R, what: &'static str) -> Xml<R> {
        let input = Limited { inner: BufReader::with_capacity(1 << 16, input), left: MAX_PIECE };
        let reader = quick_xml::Reader::from_reader(input);
        Xml { what, reader, buffer: Vec::new(), pending_close: false, depth: 0 }
    }

    /// The next token.
    ///
    /// # Errors
    /// [`FormatError::Text`] if the document is not well-formed, or too deep.
    pub(super) fn next(&mut self) -> Result<Token> {
        if std::mem::take(&mut self.pending_close) {
            self.depth -= 1;
            return Ok(Token::Close);
        }
        loop {
            self.buffer.clear();
            self.reader.get_mut().left = MAX_PIECE;
            let what = self.what;
            let fail = |reason: String| Error::from(FormatError::Text { what, reason });
            let event = self.reader.read_event_into(&mut self.buffer);
            let event = event.map_err(|error| fail(error.to_string()))?;
            let (start, empty) = match event {
                Event::Start(start) => (start, false),
                Event::Empty(start) => (start, true),
                Event::End(_) => {
                    self.depth = self.depth.saturating_sub(1);
                    return Ok(Token::Close);
                }
                Event::Text(text) => return Ok(Token::Text(text.xml10_content().into_owned())),
                Event::CData(text) => return Ok(Token::Text(text.xml10_content().into_owned())),
                Event::GeneralRef(reference) => {
                    let character =
                        reference.resolve_char_ref().map_err(|e| fail(e.to_string()))?;
                    let named = || resolve_predefined_entity(&reference).map(str::to_owned);
                    return match character.map(String::from).or_else(named) {
                        Some(text) => Ok(Token::Text(text)),
                        None => Err(fail(format!("the entity {:?} is not known", &*reference))),
                    };
                }
                Event::DocType(_) => return Err(fail("it defines a document type".into())),
                Event::Comment(_) | Event::Decl(_) | Event::PI(_) => continue,
                Event::Eof if self.depth > 0 => {
                    return Err(fail("it ends inside an element".into()));
                }
                Event::Eof => return Ok(Token::End),
            };
            let element = element(&start).map_err(fail)?;
            self.depth += 1;
            if self.depth > MAX_DEPTH {
                return Err(fail(format!("elements lie deeper than {MAX_DEPTH}")));
            }
            self.pending_close = empty;
            return Ok(Token::Open(element));
        }
    }

    /// The next element inside the one that is open; `None` at its end. Text is passed over.
    ///
    /// # Errors
    /// As [`Xml::next`].
    pub(super) fn child(&mut self) -> Result<Option<Element>> {
        loop {
            match self.next()? {
                Token::Open(element) => return Ok(Some(element)),
                Token::Text(_) => {}
                Token::Close | Token::End => return Ok(None),
            }
        }
    }

    /// The text of the element that is open, to its end, without that of elements inside it.
    ///
    /// # Errors
    /// As [`Xml::next`].
    pub(super) fn text(&mut self) -> Result<String> {
        let mut all = String::new();
        loop {
            match self.next()? {
                Token::Text(text) if (all.len() + text.len()) as u64 <= MAX_PIECE => {
                    all.push_str(&text);
                }
                Token::Text(_) => return Err(self.fail("a text is too long")),
                Token::Open(_) => self.skip()?,
                Token::Close | Token::End => return Ok(all),
            }
        }
    }

    /// Passes over what is left of the element that is open.
    ///
    /// # Errors
    /// As [`Xml::next`].
    pub(super) fn skip(&mut self) -> Result<()> {
        let mut depth = 1u32;
        while depth > 0 {
            match self.next()? {
                Token::Open(_) => depth += 1,
                Token::Close => depth -= 1,
                Token::Text(_) => {}
                Token::End => return Ok(()),
            }
        }
        Ok(())
    }

    /// An error about the document.
    pub(super) fn fail(&self, reason: impl Into<String>) -> Error {
        FormatError::Text { what: self.what, reason: reason.into() }.into()
    }
}

fn element(start: &BytesStart<'_>) -> std::result::Result<Element, String> {
    let mut attributes = Vec::new();
    for attribute in start.attributes() {
        let attribute = attribute.map_err(|error| error.to_string())?;
        let value = attribute.normalized_value(XmlVersion::Implicit1_0);
        let value = value.map_err(|error| error.to_string())?.into_owned();
        attributes.push((attribute.key.as_ref().to_owned(), value));
    }
    Ok(Element { name: start.local_name().as_ref().to_owned(), attributes })
}

/// A reader that fails once `left` bytes were taken from it.
struct Limited<R> {
    inner: R,
    left: u64,
}

impl<R: BufRead> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.take(count)?;
        Ok(count)
    }
}

impl<R: BufRead> Limited<R> {
    fn take(&mut self, count: usize) -> std::io::Result<()> {
        let left = self.left.checked_sub(count as u64);
        self.left = left.ok_or_else(|| std::io::Error::other("a tag or text of over 16 MiB"))?;
        Ok(())
    }
}

impl<R: BufRead> BufRead for Limited<R> {
    fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
        if self.left == 0 {
            return Err(std::io::Error::other("a tag or text of over 16 MiB"));
        }
        self.inner.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        self.left = self.left.saturating_sub(count as u64);
        self.inner.consume(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn xml(text: &str) -> Xml<&[u8]> {
        Xml::new(text.as_bytes(), "the test")
    }

    #[test]
    fn elements_texts_and_references_come_in_order() {
        let mut xml = xml(
            "<?xml version=\"1.0\"?><a B=\"x &amp; y\"><!-- c --><b/>p &lt;q&#33;<![CDATA[<r>]]><c><d/></c></a>",
        );
        let root = xml.child().unwrap().unwrap();
        assert_eq!((root.name.as_str(), root.attribute("b")), ("a", Some("x & y")));
        assert_eq!(xml.child().unwrap().unwrap().name, "b");
        assert_eq!(xml.child().unwrap(), None);
        assert_eq!(xml.text().unwrap(), "p <q!<r>");
        assert_eq!(xml.next().unwrap(), Token::End);
    }

    #[test]
    fn what_is_not_xml_is_an_error() {
        let deep = "<a>".repeat(100);
        for text in [
            "<a",
            "<a><b></a>",
            "<a>",
            "<!DOCTYPE x [<!ENTITY e \"y\">]><x>&e;</x>",
            &deep,
            "<a>&x;</a>",
            "<a b=1/>",
        ] {
            let mut xml = xml(text);
            let end = loop {
                match xml.next() {
                    Ok(Token::End) => break Ok(()),
                    Ok(_) => {}
                    Err(error) => break Err(error),
                }
            };
            assert!(end.is_err(), "{text}");
        }
        let long = format!("<a>{}</a>", "x".repeat(17 << 20));
        let mut xml = Xml::new(long.as_bytes(), "the test");
        xml.child().unwrap();
        assert!(xml.text().is_err());
    }
}
