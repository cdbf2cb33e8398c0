//! Tiles of some pixels, each with its least value and small multiples of the error on top.

use super::{Input, KINDS, Pixels, bits, fail};
use crate::error::Result;
use crate::sample::{DataType, Sample};
use crate::with_dtype;

/// A tile of one band.
#[derive(Clone, Copy)]
struct Tile {
    band: usize,
    col: usize,
    row: usize,
    width: usize,
    height: usize,
}

/// Reads all tiles, row by row, the bands of each together.
pub(super) fn read<T: Sample>(image: &mut Pixels<'_, T>, input: &mut Input<'_>) -> Result<()> {
    let header = image.header;
    if header.tile > 32 {
        return Err(fail("tiles of more than 32 pixels"));
    }
    let mut numbers = Vec::new();
    for row in (0..header.height).step_by(header.tile) {
        for col in (0..header.width).step_by(header.tile) {
            let width = header.tile.min(header.width - col);
            let height = header.tile.min(header.height - row);
            for band in 0..header.bands {
                read_tile(image, input, Tile { band, col, row, width, height }, &mut numbers)?;
            }
        }
    }
    Ok(())
}

fn read_tile<T: Sample>(
    image: &mut Pixels<'_, T>,
    input: &mut Input<'_>,
    tile: Tile,
    numbers: &mut Vec<u32>,
) -> Result<()> {
    let header = image.header;
    let flags = input.u8()?;
    // From version 5 on bit 2 says that values are differences to the band before.
    let differs = header.version >= 5 && flags & 4 != 0;
    let pattern = if header.version >= 5 { 14 } else { 15 };
    let expected = (tile.col >> 3) as u8 & pattern;
    if flags >> 2 & pattern != expected || (differs && tile.band == 0) {
        return Err(fail("a tile that is not the one expected"));
    }
    let mode = flags & 3;
    if mode == 0 {
        if differs {
            return Err(fail("raw differences"));
        }
        return each(image, tile, |_| input.sample::<T>());
    }
    let offset = if mode == 2 { 0.0 } else { read_offset::<T>(input, flags >> 6, differs)? };
    let max = image.max[tile.band];
    // No clamp where GDAL's library has none: values of constant tiles are in range by themselves.
    let finish = |value: f64, below: Option<T>| match below {
        Some(below) if mode == 2 => below,
        Some(below) => T::from_f64((value + below.to_f64()).min(max)),
        None if mode == 1 => T::from_f64(value.min(max)),
        None => T::from_f64(value),
    };
    if mode != 1 {
        return each(image, tile, |below| Ok(finish(offset, below.filter(|_| differs))));
    }
    bits::read(input, header.version, tile.width * tile.height, numbers)?;
    let scale = 2.0 * header.max_error;
    if numbers.len() == tile.width * tile.height {
        // All pixels have a number, also those that the mask takes out.
        let mut next = numbers.iter();
        return every(image, tile, |below| {
            let number = next.next().copied().unwrap_or(0);
            Ok(finish(offset + f64::from(number) * scale, below.filter(|_| differs)))
        });
    }
    let mut next = numbers.iter();
    each(image, tile, |below| {
        let number = next.next().ok_or_else(|| fail("fewer numbers than pixels"))?;
        Ok(finish(offset + f64::from(*number) * scale, below.filter(|_| differs)))
    })
}

/// The least value of a tile, in the smallest type that holds it.
fn read_offset<T: Sample>(input: &mut Input<'_>, code: u8, differs: bool) -> Result<f64> {
    let own = KINDS.iter().position(|kind| *kind == T::DTYPE).unwrap_or(0);
    let own = if differs && !T::IS_FLOAT { 4 } else { own };
    let code = usize::from(code);
    let kind = match own {
        2 | 4 => own.checked_sub(code),
        3 | 5 => own.checked_sub(2 * code),
        6 => [6, 2, 1].get(code).copied(),
        7 if code > 0 => 8usize.checked_sub(2 * code),
        own => Some(own),
    };
    let dtype: DataType = kind
        .and_then(|kind| KINDS.get(kind))
        .copied()
        .ok_or_else(|| fail("a tile of an unknown type"))?;
    with_dtype!(dtype, S => input.sample::<S>().map(Sample::to_f64))
}

/// Sets the valid pixels of a tile; `value` gets the sample of the band before, if there is one.
fn each<T: Sample>(
    image: &mut Pixels<'_, T>,
    tile: Tile,
    mut value: impl FnMut(Option<T>) -> Result<T>,
) -> Result<()> {
    walk(image, tile, true, &mut value)
}

/// As [`each`] for all pixels.
fn every<T: Sample>(
    image: &mut Pixels<'_, T>,
    tile: Tile,
    mut value: impl FnMut(Option<T>) -> Result<T>,
) -> Result<()> {
    walk(image, tile, false, &mut value)
}

#[inline(always)]
fn walk<T: Sample>(
    image: &mut Pixels<'_, T>,
    tile: Tile,
    valid_only: bool,
    value: &mut impl FnMut(Option<T>) -> Result<T>,
) -> Result<()> {
    let (width, bands) = (image.header.width, image.header.bands);
    for row in tile.row..tile.row + tile.height {
        for col in tile.col..tile.col + tile.width {
            let pixel = row * width + col;
            if valid_only && !image.valid.at(pixel) {
                continue;
            }
            let at = pixel * bands + tile.band;
            let below = if tile.band > 0 { Some(image.samples[at - 1]) } else { None };
            image.samples[at] = value(below)?;
        }
    }
    Ok(())
}
