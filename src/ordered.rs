//! Work on many threads, results in order: the only threads in the crate.
//!
//! Workers take a *permit* (a place in a window that is bounded in items and in bytes) together with
//! a ticket, so the lowest unfinished index always owns a permit: no deadlock, and never more than a
//! window of results alive. The caller's thread hands results to `sink` in order.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, Sender, unbounded};

use crate::error::{Error, ErrorKind, Result};
use crate::observer::Observer;

/// Number of threads that `wanted` stands for: 0 is all cores.
pub fn thread_count(wanted: usize) -> usize {
    if wanted > 0 {
        return wanted;
    }
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// How much may be under way at once.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    /// Worker threads, at least 1.
    pub threads: usize,
    /// Results that may wait for their turn, at least 1.
    pub items: usize,
    /// Bytes that results may hold together; one item is always let in.
    pub bytes: u64,
    /// Bytes that one item may come to, reserved until its real weight is known.
    pub reserve_bytes: u64,
}

impl Window {
    /// A window for results that hold next to no memory.
    pub fn light(threads: usize) -> Window {
        Window { threads, items: threads.max(1) * 64, bytes: u64::MAX, reserve_bytes: 0 }
    }
}

/// What a worker may ask while it computes.
#[derive(Debug)]
pub struct Ticket<'a> {
    /// Which item to compute.
    pub index: u64,
    stop: &'a AtomicBool,
}

impl Ticket<'_> {
    /// Fails once the run is stopping, so that a long computation ends early.
    ///
    /// # Errors
    /// [`ErrorKind::Cancelled`].
    pub fn check(&self) -> Result<()> {
        if self.stop.load(Ordering::Relaxed) { Err(ErrorKind::Cancelled.into()) } else { Ok(()) }
    }
}

/// Tickets and permits, behind one lock.
struct Gate {
    next: u64,
    /// No ticket at or beyond this is given: the total, or the first failure.
    end: u64,
    items: usize,
    bytes: u64,
    wait: Duration,
}

struct Shared {
    gate: Mutex<Gate>,
    changed: Condvar,
    stop: AtomicBool,
    window: Window,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Gate> {
        // A panic while the lock is held cannot happen: its sections only move numbers.
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next index with its permit, or `None` when there is nothing left to do.
    fn take(&self) -> Option<u64> {
        let began = Instant::now();
        let mut gate = self.lock();
        loop {
            if self.stop.load(Ordering::Relaxed) || gate.next >= gate.end {
                return None;
            }
            let bytes = gate.bytes.saturating_add(self.window.reserve_bytes);
            let fits = gate.items < self.window.items && bytes <= self.window.bytes;
            if fits || gate.items == 0 {
                let index = gate.next;
                gate.next += 1;
                gate.items += 1;
                gate.bytes = bytes;
                gate.wait += began.elapsed();
                return Some(index);
            }
            gate = self.changed.wait(gate).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Trades the reservation of an item for its real weight.
    fn settle(&self, weight: u64) {
        let mut gate = self.lock();
        gate.bytes = gate.bytes - self.window.reserve_bytes + weight;
        drop(gate);
        self.changed.notify_all();
    }

    fn release(&self, weight: u64) {
        let mut gate = self.lock();
        gate.items -= 1;
        gate.bytes -= weight;
        drop(gate);
        self.changed.notify_all();
    }

    fn end_at(&self, index: u64) {
        let mut gate = self.lock();
        gate.end = gate.end.min(index);
        drop(gate);
        self.changed.notify_all();
    }

    fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        drop(self.lock());
        self.changed.notify_all();
    }
}

/// Stops the workers when the caller's side ends, on whatever way.
struct StopOnDrop<'a>(&'a Shared);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// Computes items `0..total` on `window.threads` threads and gives them to `sink` in order.
///
/// `make_state` runs once per thread: scratch buffers live there. `weigh` says how many bytes a
/// result holds until `sink` has had it. Returns how long workers waited for permits, summed.
///
/// # Errors
/// The error of the *lowest* failing index, whatever the number of threads; every item before it has
/// been through `sink`. [`ErrorKind::Panicked`] if a worker panics, [`ErrorKind::Cancelled`] if the
/// observer says so.
pub fn run_ordered<S, T: Send>(
    total: u64,
    window: Window,
    observer: &dyn Observer,
    make_state: impl Fn() -> S + Sync,
    compute: impl Fn(&mut S, &Ticket<'_>) -> Result<T> + Sync,
    weigh: impl Fn(&T) -> u64 + Sync,
    mut sink: impl FnMut(u64, T) -> Result<()>,
) -> Result<Duration> {
    let gate = Gate { next: 0, end: total, items: 0, bytes: 0, wait: Duration::ZERO };
    let shared =
        Shared { gate: Mutex::new(gate), changed: Condvar::new(), stop: false.into(), window };
    let threads = window.threads.max(1).min(usize::try_from(total).unwrap_or(usize::MAX));
    std::thread::scope(|scope| {
        let (sender, receiver) = unbounded::<(u64, u64, Result<T>)>();
        let _stop = StopOnDrop(&shared);
        let mut started = 0;
        for _ in 0..threads {
            let sender = sender.clone();
            let (shared, make_state, compute, weigh) = (&shared, &make_state, &compute, &weigh);
            let work = move || worker(shared, &sender, make_state, compute, weigh);
            match std::thread::Builder::new().spawn_scoped(scope, work) {
                Ok(_) => started += 1,
                // Those that run do the work of all.
                Err(_) if started > 0 => break,
                Err(error) => return Err(Error::from(error)),
            }
        }
        drop(sender);
        let mut early = BTreeMap::new();
        let mut next = 0;
        while next < total {
            if observer.cancelled() {
                return Err(Error::from(ErrorKind::Cancelled));
            }
            match receiver.recv_timeout(Duration::from_millis(50)) {
                Ok((index, weight, result)) => {
                    early.insert(index, (weight, result));
                }
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(ErrorKind::Panicked("a worker vanished".into()).into());
                }
            }
            while let Some((weight, result)) = early.remove(&next) {
                sink(next, result?)?;
                shared.release(weight);
                next += 1;
            }
        }
        Ok(())
    })?;
    let waited = shared.lock().wait;
    Ok(waited)
}

fn worker<S, T>(
    shared: &Shared,
    sender: &Sender<(u64, u64, Result<T>)>,
    make_state: &(impl Fn() -> S + Sync),
    compute: &(impl Fn(&mut S, &Ticket<'_>) -> Result<T> + Sync),
    weigh: &(impl Fn(&T) -> u64 + Sync),
) {
    let mut state = None;
    while let Some(index) = shared.take() {
        let ticket = Ticket { index, stop: &shared.stop };
        // The state is dropped after a panic, so it cannot be seen half-changed.
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            compute(state.get_or_insert_with(make_state), &ticket)
        }));
        let result = outcome.unwrap_or_else(|payload| {
            state = None;
            let text = payload.downcast_ref::<&str>().map(|s| (*s).to_owned());
            let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
            Err(Error::new(ErrorKind::Panicked(text.unwrap_or_default())))
        });
        let weight = result.as_ref().map_or(0, weigh);
        if result.is_err() {
            // Nothing after the first failure is needed; everything before it is.
            shared.end_at(index);
        }
        shared.settle(weight);
        if sender.send((index, weight, result)).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;

    fn run(
        total: u64,
        threads: usize,
        items: usize,
        fail_at: &[u64],
    ) -> (Result<Duration>, Vec<u64>) {
        let window = Window { threads, items, bytes: 1000, reserve_bytes: 90 };
        let alive = AtomicU64::new(0);
        let mut seen = Vec::new();
        let outcome = run_ordered(
            total,
            window,
            &(),
            || (),
            |(), ticket| {
                let now = alive.fetch_add(1, Ordering::SeqCst) + 1;
                assert!(now <= items as u64 && now <= 12, "{now} alive, window {items}");
                for _ in 0..(ticket.index * 7919 % 13) * 50 {
                    std::hint::spin_loop();
                }
                if fail_at.contains(&ticket.index) {
                    return Err(Error::new(ErrorKind::Limit {
                        what: "test",
                        need: ticket.index,
                        max: 0,
                    }));
                }
                Ok(ticket.index)
            },
            |_| 80,
            |index, value| {
                assert_eq!(index, value);
                alive.fetch_sub(1, Ordering::SeqCst);
                seen.push(index);
                Ok(())
            },
        );
        (outcome, seen)
    }

    #[test]
    fn results_come_in_order_within_the_window() {
        let mut cases = 0;
        for threads in [1, 2, 3, 7, 16] {
            for items in [1, 2, 5, 64] {
                let (outcome, seen) = run(200, threads, items, &[]);
                outcome.unwrap();
                assert_eq!(seen, (0..200).collect::<Vec<_>>());
                cases += 1;
            }
        }
        assert_eq!(cases, 20);
        run(0, 4, 4, &[]).0.unwrap();
    }

    #[test]
    fn the_lowest_failing_index_is_reported() {
        for threads in [1, 2, 8] {
            let (outcome, seen) = run(100, threads, 32, &[71, 23, 24]);
            assert!(matches!(outcome.unwrap_err().kind(), ErrorKind::Limit { need: 23, .. }));
            assert_eq!(seen, (0..23).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_panic_becomes_an_error() {
        let outcome = run_ordered(
            10,
            Window::light(3),
            &(),
            || (),
            |(), t| if t.index == 5 { panic!("boom {}", t.index) } else { Ok(()) },
            |()| 0,
            |_, ()| Ok(()),
        );
        assert_eq!(outcome.unwrap_err().to_string(), "internal error (please report it): boom 5");
    }

    #[test]
    fn a_failing_sink_and_a_cancelling_observer_stop_the_workers() {
        struct Stop(AtomicBool);
        impl Observer for Stop {
            fn cancelled(&self) -> bool {
                self.0.load(Ordering::Relaxed)
            }
        }
        let computed = AtomicU64::new(0);
        let go = |stop: &Stop, fail: bool| {
            run_ordered(
                1_000_000,
                Window::light(2),
                stop,
                || (),
                |(), _| Ok(computed.fetch_add(1, Ordering::Relaxed)),
                |_| 0,
                |index, _| {
                    stop.0.store(!fail && index == 10, Ordering::Relaxed);
                    if fail && index == 10 { Err(ErrorKind::Cancelled.into()) } else { Ok(()) }
                },
            )
        };
        assert!(go(&Stop(false.into()), true).is_err());
        assert!(computed.load(Ordering::Relaxed) < 10_000);
        assert!(go(&Stop(false.into()), false).is_err() || computed.load(Ordering::Relaxed) > 0);
    }
}
