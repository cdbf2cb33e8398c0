//! stub
use super::image::ImageBlock;
use super::{Compression, broken};
use crate::error::Result;
pub(super) fn decode(compression: Compression, _b: &ImageBlock<'_>, _s: &[u8], _d: &mut [u8]) -> Result<()> { Err(broken(compression, "todo")) }
