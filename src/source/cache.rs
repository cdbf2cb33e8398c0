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
use crate::tiff::reader::Part;

/// What is cached.
#[derive(Debug)]
pub(crate) enum Cached {
    /// A decoded block.
    Raster(AnyRaster),
    /// What stands for a block that could not be decoded; no pixel of it is valid.
    Bad(AnyRaster),
    /// A page of a block table.
    Table(TablePage),
}

impl Cached {
    fn bytes(&self) -> u64 {
        let bytes = match self {
            Cached::Raster(raster) | Cached::Bad(raster) => raster.capacity_bytes(),
            Cached::Table(page) => page.bytes(),
        };
        // The entry itself, its place in two maps and the allocator's share.
        bytes as u64 + 256
    }
}

/// Kind of a cached thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum CacheKind {
    Block(Part),
    Table(Part),
}

/// How often a value is asked for in the whole run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counted {
    /// So often; each call of [`BlockCache::get`] is one.
    Now(u64),
    /// So often, as [`BlockCache::release`] counts them.
    Later(u64),
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
        uses: Counted,
        wait: bool,
        load: impl FnOnce(Option<AnyRaster>) -> Result<Cached>,
    ) -> Result<Option<Arc<Cached>>> {
        let mut state = self.lock();
        loop {
            match state.slots.get(&key) {
                None => break,
                Some(Slot::Ready { .. }) => {
                    return Ok(state.take_use(key, matches!(uses, Counted::Now(_))));
                }
                Some(Slot::Busy) if !wait => return Ok(None),
                Some(Slot::Busy) => {
                    let began = Instant::now();
                    state = self.loaded.wait(state).unwrap_or_else(PoisonError::into_inner);
                    state.waited += began.elapsed();
                }
            }
        }
        state.slots.insert(key, Slot::Busy);
        let spare = if matches!(key.kind, CacheKind::Block(part) if part.is_image()) {
            state.spare.pop()
        } else {
            None
        };
        drop(state);
        // Frees the slot if `load` fails or panics, so that nobody waits for ever.
        let mut guard = BusyGuard { cache: self, key, armed: true };
        let value = Arc::new(load(spare)?);
        guard.armed = false;
        let mut state = self.lock();
        state.slots.remove(&key);
        let uses_left = match uses {
            Counted::Now(uses) => uses - 1,
            Counted::Later(uses) => uses,
        };
        if uses_left > 0 && value.bytes() <= self.capacity {
            self.insert(&mut state, key, &value, uses_left);
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

    /// Counts one use of a value that was asked for with [`Counted::Later`]; after the last it leaves.
    pub(crate) fn release(&self, key: CacheKey) {
        let mut state = self.lock();
        if let Some(Slot::Ready { used, uses_left, .. }) = state.slots.get_mut(&key) {
            *uses_left -= 1;
            if *uses_left == 0 {
                let used = *used;
                state.by_use.remove(&used);
                if let Some(value) = state.remove(key) {
                    state.recycle(value, self.spares);
                }
            }
        }
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
    /// A use of a ready value; if it is `counted`, the value leaves after its last one.
    fn take_use(&mut self, key: CacheKey, counted: bool) -> Option<Arc<Cached>> {
        self.clock += 1;
        let clock = self.clock;
        let Some(Slot::Ready { value, used, uses_left }) = self.slots.get_mut(&key) else {
            return None;
        };
        let result = Arc::clone(value);
        self.by_use.remove(used);
        if counted && *uses_left <= 1 {
            self.remove(key);
        } else {
            *uses_left -= u64::from(counted);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::geometry::Size;
    use crate::sample::DataType;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::{AtomicU64, Ordering};

    /// Bytes that one of the tests' values counts for.
    const VALUE_BYTES: u64 = 64 * 8 + 256;

    fn key(index: u64) -> CacheKey {
        CacheKey { source: 0, kind: CacheKind::Block(Part::Image), index }
    }

    /// A raster that holds `index` in its first sample; 64 samples of 8 bytes.
    fn value(index: u64) -> Cached {
        let AnyRaster::U64(mut raster) =
            AnyRaster::zeros(DataType::U64, Size { width: 8, height: 8 }, 1).unwrap()
        else {
            panic!("zeros are of the type asked for");
        };
        raster.samples_mut()[0] = index;
        Cached::Raster(AnyRaster::U64(raster))
    }

    fn index_of(cached: &Cached) -> u64 {
        match cached {
            Cached::Raster(AnyRaster::U64(raster)) => raster.samples()[0],
            _ => panic!("the tests make rasters of u64"),
        }
    }

    /// Gets `index` and says whether it had to be loaded.
    fn get(cache: &BlockCache, index: u64, uses: u64) -> bool {
        let mut loaded = false;
        let load = |_| {
            loaded = true;
            Ok(value(index))
        };
        let found = cache.get(key(index), Counted::Now(uses), true, load).unwrap().unwrap();
        assert_eq!(index_of(&found), index);
        loaded
    }

    /// A number from 0 to `bound`, by the position in a SplitMix64 sequence.
    fn random(seed: &mut u64, bound: u64) -> u64 {
        *seed = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (*seed ^ (*seed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        (mixed ^ (mixed >> 27)) % bound
    }

    fn assert_sums(cache: &BlockCache) {
        let state = cache.lock();
        let ready = state.slots.values().filter_map(|slot| match slot {
            Slot::Ready { value, .. } => Some(value.bytes()),
            Slot::Busy => None,
        });
        assert_eq!(state.bytes, ready.sum::<u64>());
        assert!(state.bytes <= cache.capacity, "{} of {}", state.bytes, cache.capacity);
        for (used, key) in &state.by_use {
            let slot = state.slots.get(key);
            assert!(matches!(slot, Some(Slot::Ready { used: own, .. }) if own == used));
        }
        let busy = state.slots.values().filter(|slot| matches!(slot, Slot::Busy)).count();
        assert_eq!(state.by_use.len() + busy, state.slots.len());
        assert!(state.spare.len() <= cache.spares);
    }

    /// Key, its time of last use and the uses it has left; what a cache of `capacity` values holds.
    struct Model {
        capacity: usize,
        held: HashMap<u64, (u64, u64)>,
        clock: u64,
    }

    impl Model {
        /// Whether a get has to load.
        fn get(&mut self, index: u64, uses: u64) -> bool {
            self.clock += 1;
            let clock = self.clock;
            if let Some((used, left)) = self.held.get_mut(&index) {
                (*used, *left) = (clock, *left - 1);
                if *left == 0 {
                    self.held.remove(&index);
                }
                return false;
            }
            if uses > 1 && self.capacity > 0 {
                if self.held.len() == self.capacity {
                    let oldest = self.held.iter().min_by_key(|(_, (used, _))| *used);
                    let oldest = *oldest.unwrap().0;
                    self.held.remove(&oldest);
                }
                self.held.insert(index, (clock, uses - 1));
            }
            true
        }
    }

    #[test]
    fn hits_and_evictions_are_those_of_a_map() {
        let mut loads = 0;
        for capacity in [0usize, 1, 2, 5, 20] {
            // Half a value more than fits makes no difference.
            let bytes = capacity as u64 * VALUE_BYTES + VALUE_BYTES / 2;
            let cache = BlockCache::new(bytes, 2);
            let mut model = Model { capacity, held: HashMap::new(), clock: 0 };
            let mut seed = capacity as u64;
            for step in 0..5000 {
                let index = random(&mut seed, 12);
                let uses = 1 + index % 4;
                let loaded = get(&cache, index, uses);
                assert_eq!(loaded, model.get(index, uses), "capacity {capacity}, step {step}");
                assert_sums(&cache);
                loads += u64::from(loaded);
            }
        }
        assert!(loads > 1000, "{loads}");
    }

    #[test]
    fn a_key_is_loaded_once_for_as_many_uses_as_it_has() {
        const THREADS: u64 = 8;
        const KEYS: u64 = 200;
        let cache = BlockCache::new(KEYS * VALUE_BYTES, 4);
        let loads: Vec<AtomicU64> = (0..KEYS).map(|_| AtomicU64::new(0)).collect();
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let (cache, loads) = (&cache, &loads);
                scope.spawn(move || {
                    for step in 0..KEYS {
                        // Odd threads come from the other end; even ones all want the same at once.
                        let index = if thread % 2 == 0 { step } else { KEYS - 1 - step };
                        let load = |_| {
                            loads[index as usize].fetch_add(1, Ordering::SeqCst);
                            std::thread::yield_now();
                            Ok(value(index))
                        };
                        let found = cache
                            .get(key(index), Counted::Now(THREADS), true, load)
                            .unwrap()
                            .unwrap();
                        assert_eq!(index_of(&found), index);
                        cache.give_back(found);
                    }
                });
            }
        });
        assert!(loads.iter().all(|count| count.load(Ordering::SeqCst) == 1));
        assert_sums(&cache);
        // All uses are used up, so nothing is held any more.
        let state = cache.lock();
        assert_eq!((state.slots.len(), state.bytes), (0, 0));
    }

    #[test]
    fn bytes_stay_within_capacity_under_pressure_from_threads() {
        let cache = BlockCache::new(5 * VALUE_BYTES, 3);
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let cache = &cache;
                scope.spawn(move || {
                    let mut seed = thread;
                    for _ in 0..2000 {
                        get(cache, random(&mut seed, 30), 1 + thread % 3 * 50);
                        assert_sums(cache);
                    }
                });
            }
        });
    }

    #[test]
    fn a_busy_key_is_not_waited_for_when_told_so() {
        let cache = BlockCache::new(VALUE_BYTES, 0);
        let outer = cache.get(key(1), Counted::Now(2), true, |_| {
            let inner = cache.get(key(1), Counted::Now(2), false, |_| panic!("it is being loaded"));
            assert!(inner.unwrap().is_none());
            Ok(value(1))
        });
        assert_eq!(index_of(&outer.unwrap().unwrap()), 1);
        assert!(!get(&cache, 1, 2));
    }

    #[test]
    fn a_load_that_fails_or_panics_frees_its_slot() {
        let waiters = 4;
        for panics in [false, true] {
            let cache = BlockCache::new(10 * VALUE_BYTES, 1);
            let gate = std::sync::Barrier::new(waiters + 1);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    let load = |_| {
                        // The others come while it is busy, or after: both must end well.
                        gate.wait();
                        std::thread::yield_now();
                        if panics {
                            panic!("a bug in a decoder");
                        }
                        Err(ErrorKind::Cancelled.into())
                    };
                    let get = || cache.get(key(7), Counted::Now(100), true, load).map(|_| ());
                    match catch_unwind(AssertUnwindSafe(get)) {
                        Ok(result) => assert!(!panics && result.is_err()),
                        Err(_) => assert!(panics),
                    }
                });
                for _ in 0..waiters {
                    scope.spawn(|| {
                        gate.wait();
                        get(&cache, 7, 100);
                    });
                }
            });
            assert!(!get(&cache, 7, 100));
            assert_sums(&cache);
        }
    }

    #[test]
    fn memory_of_what_left_is_used_again() {
        let cache = BlockCache::new(VALUE_BYTES, 1);
        let block = cache.get(key(1), Counted::Now(1), true, |spare| {
            assert!(spare.is_none());
            Ok(value(1))
        });
        cache.give_back(block.unwrap().unwrap());
        let mut reused = false;
        let load = |spare: Option<AnyRaster>| {
            reused = spare.is_some();
            Ok(value(2))
        };
        cache.get(key(2), Counted::Now(1), true, load).unwrap();
        assert!(reused);
    }
}
