//! Blocks of all sources through one cache and one pool of files: the only way to pixels.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use std::collections::{BTreeSet, HashMap};

use crate::codec::Compression;
use crate::error::{Error, ErrorKind, FormatError, Place, Result, ResultExt};
use crate::io::{self, IoMode};
use crate::observer::Stats;
use crate::raster::AnyRaster;
use crate::source::Source;
use crate::source::cache::{BlockCache, CacheKey, CacheKind, Cached, Counted};
use crate::source::files::FilePool;
use crate::source::streams::{PartRequest, Streams};
use crate::tiff::decode::believed_bytes;
use crate::tiff::layout::{Extent, Layout};
use crate::tiff::reader::{self, BlockId, Part, Scratch, Stored};

/// Scratch memory of one thread that reads blocks.
#[derive(Debug, Default)]
pub struct ReadScratch {
    stored: Vec<u8>,
    decode: Scratch,
}

/// A decoded block, shared with the cache.
#[derive(Debug, Clone)]
pub struct Block(Arc<Cached>);

/// A block that could not be decoded and was left out (`--skip-bad-blocks`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct BadBlock {
    /// Number of the source in the mosaic.
    pub source: u32,
    /// Image, mask or overview.
    pub part: Part,
    /// Index of the access block.
    pub index: u64,
    /// File, block and reason in words.
    pub reason: String,
}

impl Block {
    /// Whether the block could not be decoded and was left out: none of its pixels is valid.
    pub fn is_bad(&self) -> bool {
        matches!(&*self.0, Cached::Bad(_))
    }

    /// Its samples.
    pub fn raster(&self) -> &AnyRaster {
        match &*self.0 {
            Cached::Raster(raster) | Cached::Bad(raster) => raster,
            // `Blocks::get` makes a `Block` of rasters only.
            Cached::Table(_) => unreachable!("a block is a raster"),
        }
    }
}

/// What is asked for: block `id` of `part` of source number `source`, `uses` times in the whole run;
/// this is one of them if it `takes`, else they are counted by [`Blocks::release`].
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "named in the line above")]
pub struct Request {
    pub source: u32,
    pub part: Part,
    pub id: BlockId,
    pub uses: u64,
    pub takes: bool,
}

/// Blocks of the sources of a mosaic.
#[derive(Debug)]
pub struct Blocks<'a> {
    sources: &'a [Source],
    mode: IoMode,
    files: FilePool,
    cache: BlockCache,
    streams: Streams,
    /// Parts of a strip that may be kept for threads that come for them out of order.
    passed_parts: usize,
    /// Whether blocks that cannot be decoded are left out.
    skip_bad: bool,
    /// Bytes that a block may decode to however few are stored.
    believed_bytes: u64,
    bad: Mutex<BTreeSet<BadBlock>>,
    read_ns: AtomicU64,
    decode_ns: AtomicU64,
    decoded: AtomicU64,
    /// One bit for each block that was decoded, by source and part.
    distinct: Mutex<HashMap<(u32, Part), Vec<u64>>>,
}

impl<'a> Blocks<'a> {
    /// Blocks of `sources`, with `cache_bytes` of them kept, for `threads` threads.
    pub fn new(
        sources: &'a [Source],
        cache_bytes: u64,
        threads: usize,
        mode: IoMode,
    ) -> Blocks<'a> {
        Blocks {
            sources,
            mode,
            files: FilePool::new(threads),
            cache: BlockCache::new(cache_bytes, threads),
            streams: Streams::default(),
            passed_parts: threads,
            skip_bad: false,
            believed_bytes: 0,
            bad: Mutex::default(),
            read_ns: AtomicU64::new(0),
            decode_ns: AtomicU64::new(0),
            decoded: AtomicU64::new(0),
            distinct: Mutex::default(),
        }
    }

    /// The same, but blocks that cannot be decoded are left out if `skip`: all their pixels are invalid.
    #[must_use]
    pub fn skipping_bad(mut self, skip: bool) -> Blocks<'a> {
        self.skip_bad = skip;
        self
    }

    /// The same for a run with this memory budget, which tells how large a block is believed to be.
    #[must_use]
    pub fn within(mut self, total_bytes: u64) -> Blocks<'a> {
        self.believed_bytes = believed_bytes(total_bytes);
        self
    }

    /// Blocks that were left out so far, by source, part and index.
    pub fn bad_blocks(&self) -> Vec<BadBlock> {
        self.bad.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// What stands for a block that cannot be decoded, if such are left out.
    fn leave_out(
        &self,
        request: Request,
        layout: &Layout,
        index: u64,
        error: Error,
        decode: &mut Scratch,
    ) -> Result<Cached> {
        // A file that changed is none of which single blocks are bad.
        let changed = matches!(error.kind(), ErrorKind::Format(FormatError::Changed(_)));
        if !self.skip_bad || changed || !matches!(error.kind(), ErrorKind::Format(_)) {
            return Err(error);
        }
        let path = self.sources[request.source as usize].path();
        let reason = error.with_place(Place::Block(index)).with_path(path).to_string();
        let bad = BadBlock { source: request.source, part: request.part, index, reason };
        self.bad.lock().unwrap_or_else(PoisonError::into_inner).insert(bad);
        let raster = layout.decode(request.id, Stored::Absent, None, None, decode)?;
        Ok(Cached::Bad(raster))
    }

    /// A block; `None` if another thread is decoding it and `wait` is false.
    ///
    /// # Errors
    /// [`ErrorKind::Format`] if its bytes are broken or the file changed; I/O errors. All name the
    /// file and the block.
    pub fn get(
        &self,
        request: Request,
        wait: bool,
        scratch: &mut ReadScratch,
    ) -> Result<Option<Block>> {
        let source = &self.sources[request.source as usize];
        let Some(layout) = source.dataset.layout(request.part) else {
            return Err(Error::new(ErrorKind::Panicked(
                "a block of an image that is not there".into(),
            )));
        };
        let BlockId { bx, by, plane } = request.id;
        let index = layout.block_index(bx, by, plane);
        let key = block_key(request, index);
        let uses =
            if request.takes { Counted::Now(request.uses) } else { Counted::Later(request.uses) };
        let found = self.cache.get(key, uses, wait, |spare| {
            self.load(request, source, layout, index, spare, scratch).at(source.path())
        })?;
        Ok(found.map(Block))
    }

    /// Counts one use of a block that was asked for without taking one.
    pub fn release(&self, request: Request) {
        let source = &self.sources[request.source as usize];
        if let Some(layout) = source.dataset.layout(request.part) {
            let BlockId { bx, by, plane } = request.id;
            self.cache.release(block_key(request, layout.block_index(bx, by, plane)));
        }
    }

    /// The stored bytes of a block of an image, as they are; `None` if it is not stored, or in a form that
    /// few readers know.
    ///
    /// # Errors
    /// I/O errors, which name the file.
    pub fn stored(&self, source: u32, id: BlockId) -> Result<Option<Vec<u8>>> {
        let own = &self.sources[source as usize];
        let layout = &own.dataset.image;
        let index = layout.block_index(id.bx, id.by, id.plane);
        let request = Request { source, part: Part::Image, id, uses: u64::MAX, takes: false };
        let extent = self.extent(request, own, layout, index)?;
        if extent.len == 0 {
            return Ok(None);
        }
        let began = Instant::now();
        let handle = self.files.get(source, layout.file, own)?;
        let mut bytes = Vec::new();
        reader::fetch(&*handle.file, extent, &mut bytes).at(own.path())?;
        self.read_ns.fetch_add(began.elapsed().as_nanos() as u64, Ordering::Relaxed);
        // LZW of old, with its bits the other way round (see the decoder).
        let old = layout.compression == Compression::Lzw
            && matches!(bytes[..], [0, second, ..] if second & 1 != 0);
        Ok((!old).then_some(bytes))
    }

    /// Gives a block back that the caller is done with, so that its memory can be used again.
    pub fn give_back(&self, block: Block) {
        self.cache.give_back(block.0);
    }

    fn load(
        &self,
        request: Request,
        source: &Source,
        layout: &Layout,
        index: u64,
        spare: Option<AnyRaster>,
        scratch: &mut ReadScratch,
    ) -> Result<Cached> {
        let extent = self.extent(request, source, layout, index)?;
        let fill =
            if request.part.is_image() { source.dataset.fill(request.id.plane) } else { None };
        let ReadScratch { stored, decode } = scratch;
        decode.believed_bytes = self.believed_bytes;
        if extent.len == 0 {
            let raster = layout.decode(request.id, Stored::Absent, fill, spare, decode)?;
            return Ok(Cached::Raster(raster));
        }
        let began = Instant::now();
        let handle = self.files.get(request.source, layout.file, source)?;
        if layout.is_streamed() {
            let (strip, part) = layout.part_of(index);
            let request_part =
                PartRequest { layout, file: &handle.file, extent, id: request.id, part };
            let key = (request.source, request.part, strip);
            let decoded = self.streams.decode(key, &request_part, self.passed_parts, decode);
            let (raster, parts) = match decoded {
                Ok(decoded) => decoded,
                Err(error) => return self.leave_out(request, layout, index, error, decode),
            };
            self.decode_ns.fetch_add(began.elapsed().as_nanos() as u64, Ordering::Relaxed);
            self.count(request, layout, index, parts);
            return Ok(Cached::Raster(raster));
        }
        let map = if self.mode == IoMode::Mmap {
            Some(io::map(
                &handle.file,
                extent.offset,
                usize::try_from(extent.len).unwrap_or(usize::MAX),
            )?)
        } else {
            reader::fetch(&*handle.file, extent, stored)?;
            None
        };
        let read = began.elapsed();
        let bytes = map.as_deref().unwrap_or(stored);
        let raster = match layout.decode(request.id, Stored::Bytes(bytes), fill, spare, decode) {
            Ok(raster) => raster,
            Err(error) => return self.leave_out(request, layout, index, error, decode),
        };
        let both = began.elapsed();
        self.read_ns.fetch_add(read.as_nanos() as u64, Ordering::Relaxed);
        self.decode_ns.fetch_add((both - read).as_nanos() as u64, Ordering::Relaxed);
        self.count(request, layout, index, 1);
        Ok(Cached::Raster(raster))
    }

    fn extent(
        &self,
        request: Request,
        source: &Source,
        layout: &Layout,
        index: u64,
    ) -> Result<Extent> {
        let Some(page) = layout.table_page(index) else { return Ok(layout.extent(index, None)) };
        let kind = CacheKind::Table(request.part);
        let key = CacheKey { source: request.source, kind, index: page };
        let table = self.cache.get(key, Counted::Now(u64::MAX), true, |_| {
            let handle = self.files.get(request.source, layout.file, source)?;
            Ok(Cached::Table(layout.read_table_page(&*handle.file, page)?))
        })?;
        match table.as_deref() {
            Some(Cached::Table(page)) => Ok(layout.extent(index, Some(page))),
            _ => Err(Error::new(ErrorKind::Panicked("a table page that is none".into()))),
        }
    }

    fn count(&self, request: Request, layout: &Layout, index: u64, blocks: u64) {
        self.decoded.fetch_add(blocks, Ordering::Relaxed);
        let mut distinct = self.distinct.lock().unwrap_or_else(PoisonError::into_inner);
        let bits = distinct.entry((request.source, request.part)).or_default();
        if bits.is_empty() {
            let planes = if layout.planar { u64::from(layout.bands) } else { 1 };
            bits.resize((layout.blocks_in_plane() * planes).div_ceil(64) as usize, 0);
        }
        bits[(index / 64) as usize] |= 1 << (index % 64);
    }

    /// Adds what was read and decoded to the statistics of a run.
    pub fn add_to(&self, stats: &mut Stats) {
        let seconds = |ns: &AtomicU64| ns.load(Ordering::Relaxed) as f64 / 1e9;
        stats.read_seconds += seconds(&self.read_ns);
        stats.decode_seconds += seconds(&self.decode_ns);
        stats.wait_seconds += self.cache.waited().as_secs_f64();
        stats.blocks_decoded += self.decoded.load(Ordering::Relaxed);
        let distinct = self.distinct.lock().unwrap_or_else(PoisonError::into_inner);
        let ones = distinct.values().flatten().map(|word| u64::from(word.count_ones()));
        stats.blocks_distinct += ones.sum::<u64>();
        stats.bad_blocks.extend(self.bad_blocks().into_iter().map(|bad| bad.reason));
    }
}

fn block_key(request: Request, index: u64) -> CacheKey {
    CacheKey { source: request.source, kind: CacheKind::Block(request.part), index }
}
