//! WebP blocks (RFC 9649), lossy and lossless, by `image-webp`: three bands, or four with alpha.

use std::io::Cursor;

use image_webp::WebPDecoder;

use super::image::ImageBlock;
use super::{Compression, broken};
use crate::error::Result;

/// Decodes a block into `dst`, band after band.
pub(super) fn decode(block: &ImageBlock<'_>, src: &[u8], dst: &mut [u8]) -> Result<()> {
    let fail = |reason: String| broken(Compression::WebP, reason);
    let mut decoder = WebPDecoder::new(Cursor::new(src)).map_err(|e| fail(e.to_string()))?;
    let (width, height) = decoder.dimensions();
    if (width as usize, height as usize) != (block.width, block.height) || decoder.is_animated() {
        let expected = (block.width, block.height);
        return Err(fail(format!("{width} × {height} pixels, not {expected:?}")));
    }
    let pixels = block.width * block.height;
    let found = if decoder.has_alpha() { 4 } else { 3 };
    decoder.set_memory_limit(pixels.saturating_mul(8).saturating_add(1 << 20));
    let mut pixel_order = vec![0; pixels * found];
    decoder.read_image(&mut pixel_order).map_err(|error| fail(error.to_string()))?;
    for (band, out) in dst.chunks_exact_mut(pixels).enumerate() {
        if band >= found {
            // No alpha in the stream: all is opaque.
            out.fill(255);
            continue;
        }
        for (sample, pixel) in out.iter_mut().zip(pixel_order.chunks_exact(found)) {
            *sample = pixel[band];
        }
    }
    Ok(())
}
