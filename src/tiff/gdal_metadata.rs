//! `GDAL_METADATA` (tag 42112): the XML in which GDAL keeps what TIFF has no tag for.
//!
//! ```text
//! <GDALMetadata>
//!   <Item name="AREA">42</Item>
//!   <Item name="OFFSET" sample="0" role="offset">0</Item>
//! </GDALMetadata>
//! ```
//! Values are escaped twice, as GDAL's writer does and its reader expects. `STATISTICS_*` items
//! are dropped when read: they are those of the source, and false for anything made from it.

use std::borrow::Cow;

use crate::error::{FormatError, Result};

/// Longest text that is read, in bytes.
const MAX_BYTES: usize = 16 << 20;
/// Most XML nodes that are read.
const MAX_NODES: u32 = 1 << 20;
/// Most bands that items are read for: TIFF's own limit.
const MAX_BANDS: usize = 65_535;

/// A metadata item without a role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Name.
    pub name: String,
    /// Value.
    pub value: String,
    /// Domain; empty for the default one.
    pub domain: String,
}

/// Metadata of one band.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct BandMetadata {
    /// Description, such as a band's name.
    pub description: Option<String>,
    /// Factor of `value * scale + offset`.
    pub scale: Option<f64>,
    /// Summand of `value * scale + offset`.
    pub offset: Option<f64>,
    /// Unit of the values.
    pub unit: Option<String>,
    /// Colour interpretation as GDAL names it (`Red`, `Alpha`, `NIR`, …).
    pub color: Option<String>,
    /// Everything else, in order.
    pub items: Vec<Item>,
}

/// Metadata of a raster and its bands.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct GdalMetadata {
    /// Items of the whole raster, in order.
    pub items: Vec<Item>,
    /// One entry per band, up to the last band that has any metadata.
    pub bands: Vec<BandMetadata>,
}

impl GdalMetadata {
    /// Reads the text of the tag. Empty text is no metadata.
    ///
    /// # Errors
    /// [`FormatError::Text`] if it is not such XML, or beyond 16 MiB.
    pub fn parse(text: &str) -> Result<GdalMetadata> {
        let text = text.trim_end_matches('\0').trim();
        let mut metadata = GdalMetadata::default();
        if text.is_empty() {
            return Ok(metadata);
        }
        parse_xml("GDAL_METADATA", text, |root| metadata.add_all(root))?;
        Ok(metadata)
    }

    fn add_all(&mut self, root: roxmltree::Node<'_, '_>) -> Result<()> {
        if root.tag_name().name() != "GDALMetadata" {
            return Err(fail(format!("root element {:?}", shorten(root.tag_name().name()))).into());
        }
        let items = root.children().filter(|node| node.has_tag_name("Item"));
        for node in items {
            self.add(&node)?;
        }
        Ok(())
    }

    /// Takes in one `Item` element; one without a name is passed over.
    fn add(&mut self, node: &roxmltree::Node<'_, '_>) -> Result<()> {
        let Some(name) = node.attribute("name") else {
            return Ok(());
        };
        if name.to_ascii_uppercase().starts_with("STATISTICS_") {
            return Ok(());
        }
        // All text below the element: a CDATA section is a text node of its own.
        let text: String = node.children().filter_map(|child| child.text()).collect();
        let value = unescape(&text).into_owned();
        let domain = node.attribute("domain").unwrap_or_default().to_owned();
        let item = Item { name: name.to_owned(), value, domain };
        let Some(sample) = node.attribute("sample") else {
            self.items.push(item);
            return Ok(());
        };
        let band = sample.trim().parse::<usize>().ok().filter(|band| *band < MAX_BANDS);
        let Some(band) = band else {
            return Err(fail(format!("{name:?} of sample {:?}", shorten(sample))).into());
        };
        if self.bands.len() <= band {
            self.bands.resize_with(band + 1, BandMetadata::default);
        }
        self.bands[band].add(item, node.attribute("role").unwrap_or_default())
    }

    /// The text to write into the tag, `None` if there is nothing to say. Scale and offset are
    /// written where either is not the default, as GDAL does.
    pub fn to_xml(&self) -> Option<String> {
        let mut xml = String::new();
        for item in &self.items {
            push_item(&mut xml, item, None, "");
        }
        for (index, band) in self.bands.iter().enumerate() {
            band.push_to(&mut xml, index);
        }
        (!xml.is_empty()).then(|| format!("<GDALMetadata>\n{xml}</GDALMetadata>"))
    }
}

impl BandMetadata {
    fn add(&mut self, item: Item, role: &str) -> Result<()> {
        match role {
            "description" => self.description = Some(item.value),
            "unittype" => self.unit = Some(item.value),
            "colorinterp" => self.color = Some(item.value),
            "scale" => self.scale = Some(number(&item)?),
            "offset" => self.offset = Some(number(&item)?),
            // Raster attribute tables and other roles describe the source's pixels.
            "" => self.items.push(item),
            _ => {}
        }
        Ok(())
    }

    /// Writes the band's items in GDAL's order.
    fn push_to(&self, xml: &mut String, index: usize) {
        for item in &self.items {
            push_item(xml, item, Some(index), "");
        }
        let (scale, offset) = (self.scale.unwrap_or(1.0), self.offset.unwrap_or(0.0));
        let scaled = scale != 1.0 || offset != 0.0;
        let known = [
            ("OFFSET", "offset", scaled.then(|| offset.to_string())),
            ("SCALE", "scale", scaled.then(|| scale.to_string())),
            ("UNITTYPE", "unittype", self.unit.clone()),
            ("DESCRIPTION", "description", self.description.clone()),
            ("COLORINTERP", "colorinterp", self.color.clone()),
        ];
        for (name, role, value) in known {
            if let Some(value) = value {
                let item = Item { name: name.to_owned(), value, domain: String::new() };
                push_item(xml, &item, Some(index), role);
            }
        }
    }
}

/// Deepest nesting that is read; GDAL writes 2.
const MAX_DEPTH: usize = 64;

/// Gives the root element of a text to `read`, within limits on its size and depth.
///
/// # Errors
/// [`FormatError::Text`] if it is no XML or beyond a limit; what `read` says.
pub(crate) fn parse_xml<T>(
    what: &'static str,
    text: &str,
    read: impl FnOnce(roxmltree::Node<'_, '_>) -> Result<T>,
) -> Result<T> {
    let fail = |reason: String| FormatError::Text { what, reason };
    if text.len() > MAX_BYTES {
        return Err(fail(format!("{} bytes, at most {MAX_BYTES} are read", text.len())).into());
    }
    if depth_exceeds(text, MAX_DEPTH) {
        return Err(fail(format!("elements lie deeper than {MAX_DEPTH}")).into());
    }
    let options = roxmltree::ParsingOptions { nodes_limit: MAX_NODES, ..Default::default() };
    let document = roxmltree::Document::parse_with_options(text, options)
        .map_err(|error| fail(error.to_string()))?;
    read(document.root_element())
}

/// Whether start tags outnumber end tags by more than `limit` anywhere. The XML reader recurses
/// once per level, so this must hold before it runs.
fn depth_exceeds(text: &str, limit: usize) -> bool {
    let mut depth = 0usize;
    text.split('<').skip(1).any(|tag| {
        if tag.starts_with('/') {
            depth = depth.saturating_sub(1);
        } else if !tag.starts_with(['!', '?'])
            && !tag.split('>').next().is_some_and(|tag| tag.ends_with('/'))
        {
            depth += 1;
        }
        depth > limit
    })
}

fn fail(reason: String) -> FormatError {
    FormatError::Text { what: "GDAL_METADATA", reason }
}

/// The first characters of a text that goes into a message.
fn shorten(text: &str) -> String {
    text.chars().take(40).collect()
}

fn number(item: &Item) -> Result<f64> {
    match item.value.trim().parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(value),
        _ => Err(fail(format!("{} {:?} is not a number", item.name, shorten(&item.value))).into()),
    }
}

fn push_item(xml: &mut String, item: &Item, sample: Option<usize>, role: &str) {
    xml.push_str("  <Item name=\"");
    push_escaped(xml, &item.name);
    if let Some(sample) = sample {
        xml.push_str("\" sample=\"");
        xml.push_str(&sample.to_string());
    }
    if !role.is_empty() {
        xml.push_str("\" role=\"");
        xml.push_str(role);
    }
    if !item.domain.is_empty() {
        xml.push_str("\" domain=\"");
        push_escaped(xml, &item.domain);
    }
    xml.push_str("\">");
    let mut once = String::new();
    push_escaped(&mut once, &item.value);
    push_escaped(xml, &once);
    xml.push_str("</Item>\n");
}

/// Appends text with XML's special characters escaped and characters that XML forbids left out.
fn push_escaped(xml: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '&' => xml.push_str("&amp;"),
            '<' => xml.push_str("&lt;"),
            '>' => xml.push_str("&gt;"),
            '"' => xml.push_str("&quot;"),
            '\t' | '\n' | '\r' => xml.push(character),
            '\0'..'\u{20}' | '\u{fffe}' | '\u{ffff}' => {}
            _ => xml.push(character),
        }
    }
}

/// Undoes GDAL's inner escaping; other text stays as it is.
fn unescape(text: &str) -> Cow<'_, str> {
    if !text.contains('&') {
        return Cow::Borrowed(text);
    }
    let entities =
        [("&lt;", '<'), ("&gt;", '>'), ("&quot;", '"'), ("&apos;", '\''), ("&amp;", '&')];
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        plain.push_str(&rest[..at]);
        rest = &rest[at..];
        let (character, length) = entities
            .iter()
            .find(|(entity, _)| rest.starts_with(entity))
            .map_or(('&', 1), |(entity, character)| (*character, entity.len()));
        plain.push(character);
        rest = &rest[length..];
    }
    plain.push_str(rest);
    Cow::Owned(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by rasterio 1.4.4 with GDAL 3.10.3 from `x<y>&"q' é`, scales, units and descriptions.
    const BY_GDAL: &str = "<GDALMetadata>\n  \
        <Item name=\"A\">x&amp;lt;y&amp;gt;&amp;amp;&amp;quot;q' é</Item>\n  \
        <Item name=\"B\" domain=\"DOM\">multi\nline  </Item>\n  \
        <Item name=\"STATISTICS_MAXIMUM\" sample=\"0\">3</Item>\n  \
        <Item name=\"wavelength\" sample=\"0\">0.5</Item>\n  \
        <Item name=\"OFFSET\" sample=\"0\" role=\"offset\">0</Item>\n  \
        <Item name=\"SCALE\" sample=\"0\" role=\"scale\">0.10000000000000001</Item>\n  \
        <Item name=\"UNITTYPE\" sample=\"0\" role=\"unittype\">m</Item>\n  \
        <Item name=\"DESCRIPTION\" sample=\"0\" role=\"description\">red band</Item>\n  \
        <Item name=\"COLORINTERP\" sample=\"0\" role=\"colorinterp\">Blue</Item>\n  \
        <Item name=\"C\" sample=\"1\" domain=\"BD\">c</Item>\n  \
        <Item name=\"DESCRIPTION\" sample=\"2\" role=\"description\">&amp;lt;b&amp;gt;</Item>\n\
        </GDALMetadata>";

    #[test]
    fn what_gdal_wrote_is_understood() {
        let metadata = GdalMetadata::parse(BY_GDAL).unwrap();
        assert_eq!(metadata.items[0].value, "x<y>&\"q' é");
        assert_eq!(metadata.items[1].value, "multi\nline  ");
        assert_eq!(metadata.items[1].domain, "DOM");
        let [first, second, third] = metadata.bands.as_slice() else { panic!("three bands") };
        assert_eq!((first.scale, first.offset), (Some(0.1), Some(0.0)));
        assert_eq!(first.unit.as_deref(), Some("m"));
        assert_eq!(first.description.as_deref(), Some("red band"));
        assert_eq!(first.color.as_deref(), Some("Blue"));
        assert_eq!(first.items.len(), 1, "statistics are not carried over");
        assert_eq!(second.items[0].domain, "BD");
        assert_eq!(third.description.as_deref(), Some("<b>"));
    }

    #[test]
    fn it_is_written_as_gdal_does() {
        let metadata = GdalMetadata::parse(BY_GDAL).unwrap();
        let statistics = "  <Item name=\"STATISTICS_MAXIMUM\" sample=\"0\">3</Item>\n";
        // The shortest digits that give the same number, where GDAL prints 17.
        let expected = BY_GDAL.replace(statistics, "").replace("0.10000000000000001", "0.1");
        assert_eq!(metadata.to_xml().unwrap(), expected);
        assert_eq!(GdalMetadata::default().to_xml(), None);
    }

    #[test]
    fn any_text_survives() {
        for value in ["", "&lt;", "&amp;amp;", "a & b", "]]>", "\u{1}x", "ü\u{10ffff}"] {
            let item = Item { name: "a\"<".into(), value: value.into(), domain: "d&".into() };
            let metadata = GdalMetadata { items: vec![item], bands: Vec::new() };
            let mut read = GdalMetadata::parse(&metadata.to_xml().unwrap()).unwrap();
            assert_eq!(read.items[0].value, value.replace('\u{1}', ""));
            read.items[0].value = value.into();
            assert_eq!(read, metadata);
        }
        let plain = "<GDALMetadata><Item name='n'>a&lt;b<![CDATA[c]]></Item></GDALMetadata>";
        assert_eq!(GdalMetadata::parse(plain).unwrap().items[0].value, "a<bc");
        assert_eq!(GdalMetadata::parse(" \0").unwrap(), GdalMetadata::default());
    }

    #[test]
    fn hostile_text_is_an_error() {
        let deep = "<GDALMetadata>".to_owned() + &"<a>".repeat(200_000);
        let mut bomb = String::from("<!DOCTYPE d [<!ENTITY a0 \"aaaaaaaaaa\">");
        for i in 1..20 {
            let previous = format!("&a{};", i - 1).repeat(10);
            bomb += &format!("<!ENTITY a{i} \"{previous}\">");
        }
        bomb += "]><GDALMetadata><Item name='n'>&a19;</Item></GDALMetadata>";
        let bad = [
            "<GDALMetadata>",
            "plain",
            "<Other/>",
            "<GDALMetadata><Item name='SCALE' sample='0' role='scale'>x</Item></GDALMetadata>",
            "<GDALMetadata><Item name='a' sample='99999999999'>x</Item></GDALMetadata>",
            "<GDALMetadata><Item name='a' sample='-1'>x</Item></GDALMetadata>",
            &deep,
            &bomb,
        ];
        for text in bad {
            let error = GdalMetadata::parse(text).unwrap_err();
            assert!(error.to_string().starts_with("GDAL_METADATA does not parse"), "{error}");
        }
    }
}
