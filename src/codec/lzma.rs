//! LZMA blocks, libtiff's private number 34925: xz streams, mostly with a delta filter, by `lzma-rust2`.

use std::io::Read;

use lzma_rust2::XzReader;

use super::{Compression, broken};
use crate::error::Result;

/// Most memory for a stream's dictionary, in KiB: that of xz's highest preset, and its tables.
pub(super) const MEMORY_KIB: u32 = 80 << 10;

/// Fills `dst` as far as the stream goes and returns how many bytes that is.
pub(super) fn decode(src: &[u8], dst: &mut [u8]) -> Result<usize> {
    let mut reader = XzReader::new_mem_limit(src, false, MEMORY_KIB);
    let mut written = 0;
    while written < dst.len() {
        match reader.read(&mut dst[written..]) {
            Ok(0) => break,
            Ok(count) => written += count,
            Err(error) => return Err(broken(Compression::Lzma, error.to_string())),
        }
    }
    Ok(written)
}
