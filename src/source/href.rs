//! What catalogues name files by: paths relative to the catalogue, absolute ones, and `file://` URLs.
//! Remote ones are refused by name.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// The file that an href in a document of `folder` names.
///
/// # Errors
/// [`crate::error::Unsupported`] for a URL of another scheme, and for GDAL's virtual file systems.
pub(super) fn local_path(href: &str, folder: &Path) -> Result<PathBuf> {
    let refuse = || {
        let shown: String = href.chars().take(200).collect();
        Error::unsupported(format!("the remote file {shown}"), "download it, and name the copy")
    };
    if href.starts_with("/vsi") {
        return Err(refuse());
    }
    let Some((scheme, rest)) = href.split_once("://") else { return Ok(folder.join(href)) };
    if !scheme.eq_ignore_ascii_case("file") {
        return Err(refuse());
    }
    // file:///path, or with the name of this machine (RFC 8089).
    let path = rest.strip_prefix("localhost").unwrap_or(rest);
    if !path.starts_with('/') {
        return Err(refuse());
    }
    Ok(PathBuf::from(percent_decoded(path)))
}

/// `%20` and the like; what is no such escape stays.
fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escape = bytes.get(at..at + 3).filter(|escape| escape[0] == b'%');
        let digits = escape.and_then(|escape| std::str::from_utf8(&escape[1..]).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                decoded.push(byte);
                at += 3;
            }
            None => {
                decoded.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8(decoded).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hrefs_are_paths_or_refused() {
        let path = |href: &str| local_path(href, Path::new("dir")).map_err(|e| e.to_string());
        assert_eq!(path("./a.tif"), Ok("dir/./a.tif".into()));
        assert_eq!(path("/x/a.tif"), Ok("/x/a.tif".into()));
        assert_eq!(path("file:///x/a%20b%C3%A9.tif"), Ok("/x/a bé.tif".into()));
        assert_eq!(path("file://localhost/x/100%.tif"), Ok("/x/100%.tif".into()));
        for remote in ["https://host/a.tif", "s3://bucket/a.tif", "file://host/a.tif", "/vsicurl/x"]
        {
            assert!(path(remote).unwrap_err().contains(remote), "{remote}");
        }
    }
}
