//! The one door out of the GIL: detach, threads, Ctrl-C, progress, panics and errors.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use counterfolio_core::error::{Error, Result};
use counterfolio_core::pool::Work;
use pyo3::prelude::*;

use crate::exceptions::{internal, invalid_argument, invalid_log, invalid_policy};

/// Below so many rows (times policies) the work stays on the caller's thread.
const SMALL: usize = 50_000;
/// How often the waiting caller looks for signals.
const WAKE: Duration = Duration::from_millis(50);
/// Progress is shown for what takes longer than this.
const PATIENCE: Duration = Duration::from_secs(2);

/// The exception for a core error.
pub(crate) fn to_pyerr(error: Error) -> PyErr {
    match error {
        Error::InvalidLog(text) => invalid_log(text),
        Error::InvalidPolicy(text) => invalid_policy(text),
        Error::InvalidArgument(text) => invalid_argument(text),
        Error::Cancelled => pyo3::exceptions::PyKeyboardInterrupt::new_err(()),
    }
}

/// What `job` returns, or the message of its panic.
pub(crate) fn caught<T>(job: impl FnOnce() -> T) -> std::result::Result<T, String> {
    catch_unwind(AssertUnwindSafe(job)).map_err(|payload| {
        payload
            .downcast_ref::<&str>()
            .map(ToString::to_string)
            .or_else(|| payload.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "a panic without a message".into())
    })
}

/// Runs `job` without the GIL. Large work runs on `threads` other threads while this one waits,
/// wakes to look for Ctrl-C and reports progress as a share of `blocks`.
pub(crate) fn enter<T: Send>(
    py: Python<'_>,
    size: usize,
    threads: usize,
    blocks: usize,
    progress: Option<&Py<PyAny>>,
    job: impl FnOnce(&Work) -> Result<T> + Send,
) -> PyResult<T> {
    let (cancel, done) = (AtomicBool::new(false), AtomicUsize::new(0));
    let work = Work {
        threads: if size < SMALL { 1 } else { threads },
        cancel: &cancel,
        done: &done,
    };
    if size < SMALL {
        return finish(py.detach(|| caught(|| job(&work))));
    }
    let (outcome, ready) = (Mutex::new(None), Condvar::new());
    let job = Mutex::new(Some(job));
    let run = || {
        let job = job.lock().unwrap_or_else(PoisonError::into_inner).take();
        job.map_or_else(
            || Err("the job was taken twice".into()),
            |job| caught(|| job(&work)),
        )
    };
    let mut interrupt = None;
    let result = py.detach(|| {
        std::thread::scope(|scope| {
            // The job waits in a slot, so that it is still here if no thread can be had for it.
            let started = std::thread::Builder::new().spawn_scoped(scope, || {
                let result = run();
                *outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
                ready.notify_one();
            });
            if started.is_err() {
                return run();
            }
            let began = Instant::now();
            let mut slot = outcome.lock().unwrap_or_else(PoisonError::into_inner);
            loop {
                if let Some(result) = slot.take() {
                    return result;
                }
                (slot, _) = ready
                    .wait_timeout(slot, WAKE)
                    .unwrap_or_else(PoisonError::into_inner);
                if slot.is_some() || interrupt.is_some() {
                    continue;
                }
                drop(slot);
                let share = done.load(Ordering::Relaxed) as f64 / blocks.max(1) as f64;
                let signalled = Python::attach(|py| {
                    py.check_signals()?;
                    match progress.filter(|_| began.elapsed() > PATIENCE) {
                        Some(report) => report.call1(py, (share,)).map(drop),
                        None => Ok(()),
                    }
                });
                if let Err(error) = signalled {
                    cancel.store(true, Ordering::Relaxed);
                    interrupt = Some(error);
                }
                slot = outcome.lock().unwrap_or_else(PoisonError::into_inner);
            }
        })
    });
    match interrupt {
        Some(error) => Err(error),
        None => finish(result),
    }
}

fn finish<T>(result: std::result::Result<Result<T>, String>) -> PyResult<T> {
    match result {
        Ok(result) => result.map_err(to_pyerr),
        Err(panic) => Err(internal(&panic)),
    }
}

/// [`enter`] for short work that needs neither threads nor blocks.
pub(crate) fn alone<T: Send>(py: Python<'_>, job: impl FnOnce() -> T + Send) -> PyResult<T> {
    finish(py.detach(|| caught(|| Ok(job()))))
}
