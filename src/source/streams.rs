//! Strips that are too large to be decoded whole: decoded from the top, a part at a time, and kept
//! open where they are, so that parts asked for in order are decoded once.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{FormatError, Result};
use crate::io::ReadAt;
use crate::raster::AnyRaster;
use crate::tiff::layout::{Extent, Layout};
use crate::tiff::reader::{BlockId, Part, Scratch, Stored};

/// Memory of an open strip: input, the codec's window and tables.
pub(crate) const STREAM_BYTES: u64 = 512 * 1024;
/// Strips that stay open. Sources that lie across a row of output blocks are read in turn.
pub(crate) const MOST_STREAMS: usize = 24;

/// A strip by source, image, and its number there.
type StripKey = (u32, Part, u64);
type OpenStrip = (StripKey, Arc<Mutex<Strip>>);

/// Open strips, the one used last at the back.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    open: Mutex<VecDeque<OpenStrip>>,
}

/// One strip that is being decoded.
struct Strip {
    raw: Option<Box<dyn Read + Send>>,
    /// The part that comes next.
    next: u32,
    /// Parts that were decoded on the way to a later one and not fetched yet.
    passed: VecDeque<(u32, AnyRaster)>,
}

impl std::fmt::Debug for Strip {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Strip").field("next", &self.next).finish_non_exhaustive()
    }
}

/// What to decode: part `part` of the strip that lies at `extent`; `id` is that of the part.
pub(crate) struct PartRequest<'a> {
    pub(crate) layout: &'a Layout,
    pub(crate) file: &'a Arc<File>,
    pub(crate) extent: Extent,
    pub(crate) id: BlockId,
    pub(crate) part: u32,
}

impl Streams {
    /// Decodes a part of strip `key`; returns it and how many parts were decoded for it. `passed_parts` is how many parts may be kept that others will
    /// fetch out of order.
    pub(crate) fn decode(
        &self,
        key: StripKey,
        request: &PartRequest<'_>,
        passed_parts: usize,
        scratch: &mut Scratch,
    ) -> Result<(AnyRaster, u64)> {
        let strip = self.strip(key);
        let mut strip = strip.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = strip.passed.iter().position(|(part, _)| *part == request.part)
            && let Some((_, raster)) = strip.passed.remove(at)
        {
            return Ok((raster, 0));
        }
        let result = strip.advance(request, passed_parts, scratch);
        if result.is_err() {
            // Where the stream stands is unknown now.
            strip.raw = None;
        }
        result
    }

    fn strip(&self, key: StripKey) -> Arc<Mutex<Strip>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let found = open.iter().position(|(k, _)| *k == key).and_then(|at| open.remove(at));
        let (_, strip) = found.unwrap_or_else(|| {
            if open.len() >= MOST_STREAMS {
                open.pop_front();
            }
            let strip = Strip { raw: None, next: 0, passed: VecDeque::new() };
            (key, Arc::new(Mutex::new(strip)))
        });
        open.push_back((key, Arc::clone(&strip)));
        strip
    }
}

impl Strip {
    fn advance(
        &mut self,
        request: &PartRequest<'_>,
        passed_parts: usize,
        scratch: &mut Scratch,
    ) -> Result<(AnyRaster, u64)> {
        let layout = request.layout;
        if self.raw.is_none() || self.next > request.part {
            let Extent { offset, len } = request.extent;
            let input = FileRange { file: Arc::clone(request.file), offset, end: offset + len };
            self.raw = Some(layout.stream(input, request.extent)?);
            self.next = 0;
            self.passed.clear();
        }
        let Some(raw) = &mut self.raw else {
            return Err(FormatError::Changed("it could not be opened again").into());
        };
        let mut decoded = 0;
        loop {
            decoded += 1;
            let by = request.id.by - request.part + self.next;
            let id = BlockId { by, ..request.id };
            let raster = layout.decode(id, Stored::Stream(raw.as_mut()), None, None, scratch)?;
            self.next += 1;
            if self.next > request.part {
                return Ok((raster, decoded));
            }
            if self.passed.len() >= passed_parts {
                self.passed.pop_front();
            }
            self.passed.push_back((self.next - 1, raster));
        }
    }
}

/// A range of a file as a reader.
struct FileRange {
    file: Arc<File>,
    offset: u64,
    end: u64,
}

impl Read for FileRange {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.end - self.offset;
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        self.file.read_exact_at(self.offset, &mut buffer[..count])?;
        self.offset += count as u64;
        Ok(count)
    }
}
