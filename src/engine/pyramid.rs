//! Overviews made as the blocks of full resolution come, in any order: what is still incomplete waits here,
//! in memory up to a limit, beyond that in a scratch file.
//!
//! In: the pieces of each block ([`Levels::split`]). Out: finished blocks of the overviews. Their samples do
//! not depend on the order of the pieces.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use crate::engine::overview::{Levels, Piece, Region};
use crate::engine::reduce::{Reducer, Tile};
use crate::error::{ErrorKind, Result};
use crate::geometry::Window;
use crate::io::ScratchFile;
use crate::sample::Sample;

/// A block of an overview whose samples are complete; `None` if nothing in it is valid.
#[derive(Debug, Clone)]
pub(crate) struct Finished<T> {
    pub(crate) level: u32,
    pub(crate) bx: u32,
    pub(crate) by: u32,
    pub(crate) tile: Option<Arc<Tile<T>>>,
}

impl<T> Finished<T> {
    /// Level, column and row.
    pub(crate) fn key(&self) -> (u32, u32, u32) {
        (self.level, self.bx, self.by)
    }
}

/// What waits for more pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    /// A block of an overview, by level, column and row.
    Block(u32, u32, u32),
    /// Pixels at the border of blocks of the level below.
    Region(Region),
}

#[derive(Debug)]
pub(crate) struct Pending<T> {
    pub(crate) window: Window,
    /// Pixels that have come.
    pub(crate) filled: u64,
    pub(crate) place: Place<T>,
    used: u64,
}

/// Where the samples of a pending thing are.
#[derive(Debug)]
pub(crate) enum Place<T> {
    /// Nothing valid has come yet.
    Blank,
    Memory(Tile<T>),
    /// In the scratch file, from this byte.
    Scratch(u64),
}

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct Pyramid<T> {
    levels: Levels,
    reducer: Reducer<T>,
    pub(crate) pending: BTreeMap<Key, Pending<T>>,
    by_use: BTreeMap<u64, Key>,
    clock: u64,
    bytes: u64,
    capacity: u64,
    scratch: Scratch,
    /// Blocks that are complete and not yet taken.
    pub(crate) finished: VecDeque<Finished<T>>,
}

impl<T: Sample> Pyramid<T> {
    /// An empty pyramid that holds up to `capacity` bytes in memory, if there is a scratch file for the
    /// rest.
    pub(crate) fn new(
        levels: Levels,
        reducer: Reducer<T>,
        capacity: u64,
        file: Option<ScratchFile>,
    ) -> Pyramid<T> {
        Pyramid {
            levels,
            reducer,
            pending: BTreeMap::new(),
            by_use: BTreeMap::new(),
            clock: 0,
            bytes: 0,
            capacity,
            scratch: Scratch { file, end: 0, free: HashMap::new() },
            finished: VecDeque::new(),
        }
    }

    /// Takes in the pieces of a block of full resolution.
    ///
    /// # Errors
    /// Those of the scratch file.
    pub(crate) fn take_in(&mut self, pieces: Vec<Piece<T>>) -> Result<()> {
        let mut queue = VecDeque::from(pieces);
        while let Some(piece) = queue.pop_front() {
            self.add(piece, &mut queue)?;
        }
        Ok(())
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.pending.is_empty() && self.finished.is_empty()
    }

    /// The pixels of a pending thing.
    ///
    /// # Errors
    /// If there is no such thing: [`ErrorKind::Panicked`].
    pub(crate) fn window_of(&self, key: &Key) -> Result<Window> {
        let wrong = || ErrorKind::Panicked("a block that no overview has".into());
        match *key {
            Key::Block(level, bx, by) => {
                let size = self.levels.sizes.get(level as usize).ok_or_else(wrong)?;
                let chunk = self.levels.chunk;
                if bx >= size.width.div_ceil(chunk) || by >= size.height.div_ceil(chunk) {
                    return Err(wrong().into());
                }
                Ok(self.levels.block_window(level, bx, by))
            }
            Key::Region(region) => {
                // Two blocks' width of the level below is more than any kernel needs.
                let most = 2 * u64::from(self.levels.chunk);
                let fits = |side: u32| u64::from(side) <= most;
                if !fits(region.below.width) || !fits(region.below.height) {
                    return Err(wrong().into());
                }
                Ok(region.below)
            }
        }
    }

    /// A tile of nothing.
    pub(crate) fn empty(&self, window: Window) -> Tile<T> {
        Tile::empty(window, self.reducer.bands, self.reducer.planes)
    }

    /// Puts back what an earlier run left.
    ///
    /// # Errors
    /// Those of the scratch file.
    pub(crate) fn restore(&mut self, key: Key, filled: u64, tile: Option<Tile<T>>) -> Result<()> {
        let window = self.window_of(&key)?;
        let place = tile.map_or(Place::Blank, Place::Memory);
        self.keep(key, Pending { window, filled, place, used: 0 })
    }

    /// Forgets all that is pending.
    pub(crate) fn clear(&mut self) {
        self.pending.clear();
        self.by_use.clear();
        self.finished.clear();
        self.bytes = 0;
    }

    fn add(&mut self, piece: Piece<T>, queue: &mut VecDeque<Piece<T>>) -> Result<()> {
        let (key, window) = if piece.done {
            let chunk = self.levels.chunk;
            let (bx, by) = (piece.window.col / chunk, piece.window.row / chunk);
            let level = piece.region.level;
            (Key::Block(level, bx, by), self.levels.block_window(level, bx, by))
        } else {
            (Key::Region(piece.region), piece.region.below)
        };
        let mut pending = match self.pending.remove(&key) {
            Some(pending) => self.wake(pending)?,
            None => Pending { window, filled: 0, place: Place::Blank, used: 0 },
        };
        pending.filled += piece.window.pixels();
        let full = pending.filled >= window.pixels();
        if let Some(tile) = piece.tile {
            pending.place = match std::mem::replace(&mut pending.place, Place::Blank) {
                // One piece may be all there is.
                Place::Blank if tile.window == window => Place::Memory(tile),
                place => {
                    let mut all = match place {
                        Place::Memory(all) => all,
                        _ => Tile::empty(window, self.reducer.bands, self.reducer.planes),
                    };
                    all.paste(tile.view());
                    Place::Memory(all)
                }
            };
        }
        if !full {
            return self.keep(key, pending);
        }
        let tile = match pending.place {
            Place::Memory(tile) => Some(tile),
            _ => None,
        };
        match key {
            Key::Region(region) => {
                let area = self.levels.area(&region);
                let tile = tile.map(|tile| self.reducer.reduce(tile.view(), &area));
                queue.push_back(Piece { region, window: region.window, done: true, tile });
            }
            Key::Block(level, bx, by) => {
                let view = tile.as_ref().map(Tile::view);
                queue.extend(self.levels.split(level, (bx, by), view, &mut self.reducer));
                self.finished.push_back(Finished { level, bx, by, tile: tile.map(Arc::new) });
            }
        }
        Ok(())
    }

    fn keep(&mut self, key: Key, mut pending: Pending<T>) -> Result<()> {
        self.clock += 1;
        pending.used = self.clock;
        if let Place::Memory(tile) = &pending.place {
            self.bytes += tile.bytes();
            self.by_use.insert(self.clock, key);
        }
        self.pending.insert(key, pending);
        while self.bytes > self.capacity && self.scratch.file.is_some() {
            let Some((_, oldest)) = self.by_use.pop_first() else { break };
            if let Some(pending) = self.pending.get_mut(&oldest)
                && let Place::Memory(tile) = &pending.place
            {
                self.bytes -= tile.bytes();
                pending.place = Place::Scratch(self.scratch.put(tile)?);
            }
        }
        Ok(())
    }

    /// Takes a pending thing out of the accounts, with its samples in memory.
    fn wake(&mut self, mut pending: Pending<T>) -> Result<Pending<T>> {
        self.by_use.remove(&pending.used);
        match pending.place {
            Place::Memory(ref tile) => self.bytes -= tile.bytes(),
            Place::Scratch(at) => {
                pending.place = Place::Memory(self.load(pending.window, at)?);
                self.scratch.release(at, self.tile_bytes(pending.window));
            }
            Place::Blank => {}
        }
        Ok(pending)
    }

    fn tile_bytes(&self, window: Window) -> u64 {
        let pixel = self.reducer.bands * size_of::<T>() + self.reducer.planes;
        window.pixels() * pixel as u64
    }

    /// The samples of something in the scratch file.
    pub(crate) fn load(&self, window: Window, at: u64) -> Result<Tile<T>> {
        let mut tile = Tile::empty(window, self.reducer.bands, self.reducer.planes);
        self.scratch.get(at, &mut tile)?;
        Ok(tile)
    }
}

/// A file of tiles; room that is free again is used for tiles of the same length.
#[derive(Debug)]
struct Scratch {
    file: Option<ScratchFile>,
    end: u64,
    free: HashMap<u64, Vec<u64>>,
}

impl Scratch {
    fn put<T: Sample>(&mut self, tile: &Tile<T>) -> Result<u64> {
        let Some(file) = &self.file else {
            return Err(ErrorKind::Panicked("a scratch file that is not there".into()).into());
        };
        let at = match self.free.get_mut(&tile.bytes()).and_then(Vec::pop) {
            Some(at) => at,
            None => {
                let at = self.end;
                self.end += tile.bytes();
                at
            }
        };
        let samples: &[u8] = bytemuck::cast_slice(&tile.samples);
        file.write_all_at(at, samples)?;
        file.write_all_at(at + samples.len() as u64, &tile.valid)?;
        Ok(at)
    }

    fn get<T: Sample>(&self, at: u64, tile: &mut Tile<T>) -> Result<()> {
        let Some(file) = &self.file else {
            return Err(ErrorKind::Panicked("a scratch file that is not there".into()).into());
        };
        let samples: &mut [u8] = bytemuck::cast_slice_mut(&mut tile.samples);
        file.read_exact_at(at, samples)?;
        file.read_exact_at(at + samples.len() as u64, &mut tile.valid)?;
        Ok(())
    }

    fn release(&mut self, at: u64, bytes: u64) {
        self.free.entry(bytes).or_default().push(at);
    }
}
