//! LZW as TIFF has it (TIFF 6.0 §13): codes of 9 to 12 bits, most significant bit first.
//!
//! ```text
//! code  0..=255   that byte
//!       256       clear: forget all strings, back to 9 bits
//!       257       end of information
//!       258..     string k: the string of the k-th code since the clear, and the byte after it
//! ```
//!
//! "Early change": a code is written with 10 bits as soon as string 510 exists, one code before it
//! is needed; likewise 11 bits at 1022 and 12 at 2046. A writer clears when string 4093 exists.

mod decode;
mod encode;

pub(super) use decode::Decoder;
pub(super) use encode::{Encoder, max_encoded_len};

/// Forgets all strings.
const CLEAR: u16 = 256;
/// End of information.
const END: u16 = 257;
/// The first string.
const FIRST: u16 = 258;
/// Codes of 12 bits.
const CODE_COUNT: usize = 1 << 12;

/// `N` copies of `value` on the heap, never on the stack.
fn boxed<T: Copy, const N: usize>(value: T) -> Box<[T; N]> {
    match vec![value; N].try_into() {
        Ok(array) => array,
        Err(_) => unreachable!("a vector of N elements is an array of N"),
    }
}

#[cfg(test)]
mod tests;
