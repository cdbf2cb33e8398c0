//! Decoded blocks, bounded in bytes, each decoded by one thread at a time.
//!
//! A block says how often it will be asked for, so it leaves as soon as it was used for the last time;
//! what stays under pressure is what was used most recently.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::raster::AnyRaster;
use crate::tiff::layout::TablePage;

/// What is cached.
#[derive(Debug)]
pub(crate) enum Cached {
    /// A decoded block.
    Raster(AnyRaster),
    /// A page of a block table.
    Table(TablePage),
}

impl Cached {
    fn bytes(&self) -> u64 {
        let bytes = match self {
            Cached::Raster(raster) => raster.capacity_bytes(),
            Cached::Table(page) => page.bytes(),
        };
        // The entry itself, its place in two maps and the allocator's share.
        bytes as u64 + 256
    }
}

/// Kind of a cached thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum CacheKind {
    Image,
    Mask,
    ImageTable,
    MaskTable,
}

/// Names a cached thing: source number, kind, index of the block or table page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct CacheKey {
    pub(crate) source: u32,
    pub(crate) kind: CacheKind,
    pub(crate) index: u64,
}

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct BlockCache {
    capacity: u64,
    spares: usize,
    state: Mutex<State>,
    loaded: Condvar,
}

#[derive(Debug, Default)]
struct State {
    slots: HashMap<CacheKey, Slot>,
    /// Time of last use → key; the least recent first.
    by_use: BTreeMap<u64, CacheKey>,
    clock: u64,
    bytes: u64,
    spare: Vec<AnyRaster>,
    waited: Duration,
}

#[derive(Debug)]
enum Slot {
    /// A thread is loading it.
    Busy,
    Ready {
        value: Arc<Cached>,
        used: u64,
        uses_left: u64,
    },
}

impl BlockCache {
    /// A cache of `capacity` bytes that keeps up to `spares` buffers for reuse.
    pub(crate) fn new(capacity: u64, spares: usize) -> BlockCache {
        BlockCache { capacity, spares, state: Mutex::default(), loaded: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long threads waited for blocks that others were loading, summed.
    pub(crate) fn waited(&self) -> Duration {
        self.lock().waited
    }

    /// The value of `key`, loaded by `load` if it is not there. `uses` is how often it is asked for in
    /// the whole run. `None` if another thread is loading it and `wait` is false.
    pub(crate) fn get(
        &self,
        key: CacheKey,
        uses: u64,
        wait: bool,
        load: impl FnOnce(Option<AnyRaster>) -> Result<Cached>,
    ) -> Result<Option<Arc<Cached>>> {
        let mut state = self.lock();
        loop {
            match state.slots.get(&key) {
                None => break,
                Some(Slot::Ready { .. }) => return Ok(state.take_use(key)),
                Some(Slot::Busy) if !wait => return Ok(None),
                Some(Slot::Busy) => {
                    let began = Instant::now();
                    state = self.loaded.wait(state).unwrap_or_else(PoisonError::into_inner);
                    state.waited += began.elapsed();
                }
            }
        }
        state.slots.insert(key, Slot::Busy);
        let spare = if matches!(key.kind, CacheKind::Image) { state.spare.pop() } else { None };
        drop(state);
        // Frees the slot if `load` fails or panics, so that nobody waits for ever.
        let mut guard = BusyGuard { cache: self, key, armed: true };
        let value = Arc::new(load(spare)?);
        guard.armed = false;
        let mut state = self.lock();
        state.slots.remove(&key);
        if uses > 1 && value.bytes() <= self.capacity {
            self.insert(&mut state, key, &value, uses - 1);
        }
        drop(state);
        self.loaded.notify_all();
        Ok(Some(value))
    }

    fn insert(&self, state: &mut State, key: CacheKey, value: &Arc<Cached>, uses_left: u64) {
        let bytes = value.bytes();
        while state.bytes + bytes > self.capacity {
            let Some((_, oldest)) = state.by_use.pop_first() else { break };
            if let Some(evicted) = state.remove(oldest) {
                state.recycle(evicted, self.spares);
            }
        }
        state.clock += 1;
        let used = state.clock;
        state.by_use.insert(used, key);
        state.slots.insert(key, Slot::Ready { value: Arc::clone(value), used, uses_left });
        state.bytes += bytes;
    }

    /// Gives a value back that will not be used again by the caller, so that its memory can be.
    pub(crate) fn give_back(&self, value: Arc<Cached>) {
        // Only the last holder can take it apart.
        if let Ok(Cached::Raster(raster)) = Arc::try_unwrap(value) {
            let mut state = self.lock();
            if state.spare.len() < self.spares {
                state.spare.push(raster);
            }
        }
    }
}

impl State {
    /// A use of a ready value; after its last one it leaves.
    fn take_use(&mut self, key: CacheKey) -> Option<Arc<Cached>> {
        self.clock += 1;
        let clock = self.clock;
        let Some(Slot::Ready { value, used, uses_left }) = self.slots.get_mut(&key) else {
            return None;
        };
        let result = Arc::clone(value);
        self.by_use.remove(used);
        if *uses_left <= 1 {
            self.remove(key);
        } else {
            *uses_left -= 1;
            *used = clock;
            self.by_use.insert(clock, key);
        }
        Some(result)
    }

    fn remove(&mut self, key: CacheKey) -> Option<Arc<Cached>> {
        match self.slots.remove(&key) {
            Some(Slot::Ready { value, .. }) => {
                self.bytes -= value.bytes();
                Some(value)
            }
            _ => None,
        }
    }

    fn recycle(&mut self, value: Arc<Cached>, spares: usize) {
        if self.spare.len() < spares
            && let Ok(Cached::Raster(raster)) = Arc::try_unwrap(value)
        {
            self.spare.push(raster);
        }
    }
}

/// Ends a slot's `Busy` state when its loading failed.
struct BusyGuard<'a> {
    cache: &'a BlockCache,
    key: CacheKey,
    armed: bool,
}

impl Drop for BusyGuard<'_> {
    fn drop(&mut self) {
        if self.armed {
            self.cache.lock().slots.remove(&self.key);
            self.cache.loaded.notify_all();
        }
    }
}
