//! Threads: blocks are computed in any order and folded in index order.
//!
//! Threads are scoped to one call. There is no pool to outlive a fork, and starting a thread costs
//! tens of microseconds where the work it takes over costs milliseconds.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::error::{Error, Result};

/// How a computation runs and is watched.
#[derive(Debug)]
pub struct Work<'a> {
    /// Number of threads, the caller's included.
    pub threads: usize,
    /// Set by anyone: the computation stops with [`Error::Cancelled`].
    pub cancel: &'a AtomicBool,
    /// Blocks finished so far.
    pub done: &'a AtomicUsize,
}

/// Batches by which a fast thread may run ahead of the slowest: bounds the results in waiting.
const AHEAD: usize = 2;

struct Queue<T, F> {
    /// Block that is folded next.
    next: usize,
    /// Results of batches by their first block.
    waiting: BTreeMap<usize, Vec<T>>,
    /// Threads that wait for `next` to advance.
    sleepers: usize,
    failure: Option<(usize, Error)>,
    fold: F,
}

impl<T, F: FnMut(T)> Queue<T, F> {
    /// Takes the results of the batch that begins at `first`, and folds all whose turn has come.
    fn accept(
        &mut self,
        first: usize,
        results: Vec<T>,
        failure: Option<(usize, Error)>,
        batch: usize,
    ) -> usize {
        self.waiting.insert(first, results);
        let mut folded = 0;
        while let Some(results) = self.waiting.remove(&self.next) {
            folded += results.len();
            results.into_iter().for_each(&mut self.fold);
            self.next += batch;
        }
        if let Some((i, error)) = failure
            && self.failure.as_ref().is_none_or(|(j, _)| i < *j)
        {
            self.failure = Some((i, error));
        }
        folded
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere is about to be reported; the data behind the lock are then not used.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Work<'_> {
    /// [`Error::Cancelled`] if someone asked to stop.
    pub fn check(&self) -> Result<()> {
        if self.cancel.load(Ordering::Relaxed) {
            return Err(Error::Cancelled);
        }
        Ok(())
    }

    /// Counts one more block as done, beside those that [`Work::fold_blocks`] counts.
    pub fn tick(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
    }

    /// Computes `map(0..blocks)` and hands each result to `fold` in index order, so that the
    /// outcome does not depend on the number of threads. The error of the lowest block wins. Each
    /// thread keeps a `space` of its own, whose buffers `map` may use again, and takes up to `batch`
    /// neighbouring blocks at a time, so that it reads each column in long stretches.
    pub fn fold_blocks<S, T: Send>(
        &self,
        blocks: usize,
        batch: usize,
        space: impl Fn() -> S + Sync,
        map: impl Fn(&mut S, usize) -> Result<T> + Sync,
        mut fold: impl FnMut(T) + Send,
    ) -> Result<()> {
        if self.threads <= 1 || blocks <= 1 {
            let mut space = space();
            for i in 0..blocks {
                self.check()?;
                fold(map(&mut space, i)?);
                self.done.fetch_add(1, Ordering::Relaxed);
            }
            return Ok(());
        }
        let queue = Mutex::new(Queue {
            next: 0,
            waiting: BTreeMap::new(),
            sleepers: 0,
            failure: None,
            fold,
        });
        let (claimed, advanced) = (AtomicUsize::new(0), Condvar::new());
        // Blocks from here on need not be computed: a block before them has failed.
        let stop = AtomicUsize::new(usize::MAX);
        let threads = self.threads.min(blocks);
        let batch = (blocks / threads).clamp(1, batch.max(1));
        let worker = || {
            /// Frees the threads that wait for this one, should it panic.
            struct Guard<F: Fn()>(F, bool);
            impl<F: Fn()> Drop for Guard<F> {
                fn drop(&mut self) {
                    if !self.1 {
                        (self.0)();
                    }
                }
            }
            let release = || {
                // Under the lock, or a thread about to sleep would miss it.
                let _state = lock(&queue);
                stop.store(0, Ordering::Relaxed);
                advanced.notify_all();
            };
            let mut guard = Guard(release, false);
            let mut space = space();
            loop {
                let first = claimed.fetch_add(batch, Ordering::Relaxed);
                if first >= blocks {
                    break;
                }
                let mut state = lock(&queue);
                state.sleepers += 1;
                while first >= state.next + AHEAD * batch * threads
                    && first < stop.load(Ordering::Relaxed)
                {
                    state = advanced.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                state.sleepers -= 1;
                drop(state);
                let mut results = Vec::with_capacity(batch);
                let mut failure = None;
                for i in first..blocks.min(first + batch) {
                    if i >= stop.load(Ordering::Relaxed) {
                        break;
                    }
                    match self.check().and_then(|()| map(&mut space, i)) {
                        Ok(value) => results.push(value),
                        Err(error) => {
                            stop.fetch_min(i, Ordering::Relaxed);
                            failure = Some((i, error));
                            break;
                        }
                    }
                }
                let mut state = lock(&queue);
                let folded = state.accept(first, results, failure, batch);
                self.done.fetch_add(folded, Ordering::Relaxed);
                if state.sleepers > 0 {
                    advanced.notify_all();
                }
            }
            guard.1 = true;
        };
        std::thread::scope(|scope| {
            // Where the system has no more threads to give, fewer do the work.
            let others: Vec<_> = (1..threads)
                .map_while(|_| std::thread::Builder::new().spawn_scoped(scope, worker).ok())
                .collect();
            worker();
            for other in others {
                if let Err(panic) = other.join() {
                    // With its own message, which the scope would replace by one of its own.
                    std::panic::resume_unwind(panic);
                }
            }
        });
        let queue = queue.into_inner().unwrap_or_else(PoisonError::into_inner);
        queue.failure.map_or(Ok(()), |(_, error)| Err(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(threads: usize, fail_at: Option<usize>, cancel: bool) -> (Vec<usize>, Result<()>) {
        let (cancel, done) = (AtomicBool::new(cancel), AtomicUsize::new(0));
        let work = Work {
            threads,
            cancel: &cancel,
            done: &done,
        };
        let mut seen = Vec::new();
        let result = work.fold_blocks(
            200,
            8,
            || (),
            |(), i| {
                if i % 7 == 0 {
                    std::thread::yield_now();
                }
                match fail_at {
                    Some(at) if i >= at => Err(Error::InvalidLog(i.to_string())),
                    _ => Ok(i),
                }
            },
            |i| seen.push(i),
        );
        (seen, result)
    }

    #[test]
    fn results_arrive_in_order_whatever_the_threads() {
        for threads in [1, 2, 3, 8] {
            let (seen, result) = run(threads, None, false);
            assert_eq!(seen, (0..200).collect::<Vec<_>>());
            assert_eq!(result, Ok(()));
        }
    }

    #[test]
    fn the_lowest_error_wins() {
        for threads in [1, 2, 8] {
            let (_, result) = run(threads, Some(37), false);
            assert_eq!(result, Err(Error::InvalidLog("37".into())));
        }
    }

    #[test]
    fn cancelled() {
        for threads in [1, 4] {
            assert_eq!(run(threads, None, true).1, Err(Error::Cancelled));
        }
    }

    #[test]
    #[should_panic(expected = "on purpose")]
    fn a_panic_in_a_block_does_not_hang() {
        let (cancel, done) = (AtomicBool::new(false), AtomicUsize::new(0));
        let work = Work {
            threads: 3,
            cancel: &cancel,
            done: &done,
        };
        let _ = work.fold_blocks(
            1000,
            8,
            || (),
            |(), i| {
                assert!(i != 5, "on purpose");
                Ok(i)
            },
            |_| (),
        );
    }
}
