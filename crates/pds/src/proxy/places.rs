//! How many calls may be under way at once, in all and for one caller.
//!
//! A client that takes its answer slowly keeps its call; no one caller's slowness may use up what all share.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use atproto::syntax::Did;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::XrpcError;

/// Calls under way at once. Each holds two connections and half a MiB of buffers while much passes
/// (60 MiB for all, measured); an app that opens makes six.
const CALLS_MAX: usize = 128;
/// Calls under way of one account, or of all who are not signed in: a quarter.
const CALLS_PER_CALLER_MAX: u32 = 32;
/// `Retry-After` while there are that many, seconds: a call seldom takes longer.
const BUSY_RETRY_S: u32 = 2;

/// Whose calls are counted together; none for those who are not signed in.
pub(super) type Caller = Option<Did>;

type Counts = Arc<Mutex<HashMap<Caller, u32>>>;

/// The places that there are.
#[derive(Debug)]
pub(super) struct Places {
    all: Arc<Semaphore>,
    counts: Counts,
}

impl Default for Places {
    fn default() -> Self {
        Self { all: Arc::new(Semaphore::new(CALLS_MAX)), counts: Counts::default() }
    }
}

/// A place, held until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    caller: Caller,
    counts: Counts,
    _one_of_all: OwnedSemaphorePermit,
}

impl Places {
    /// Takes a place.
    ///
    /// # Errors
    /// 503 `ServerBusy` when there is none.
    pub(super) fn take(&self, caller: Caller) -> Result<Place, XrpcError> {
        let busy =
            || XrpcError::unavailable("ServerBusy", "Too many calls are being passed on", BUSY_RETRY_S);
        let one_of_all = Arc::clone(&self.all).try_acquire_owned().map_err(|_| busy())?;
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(caller.clone()).or_insert(0);
        if *count >= CALLS_PER_CALLER_MAX {
            return Err(busy());
        }
        *count += 1;
        drop(counts);
        Ok(Place { caller, counts: Arc::clone(&self.counts), _one_of_all: one_of_all })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.caller) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.remove(&self.caller);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_caller_never_takes_all_places_and_gives_them_back() {
        let places = Places::default();
        let caller = |n: usize| Some(Did::parse(&format!("did:web:h{n}.example.com")).unwrap());
        let mut held: Vec<Place> = (0..32).map(|_| places.take(caller(0)).unwrap()).collect();
        assert_eq!(places.take(caller(0)).unwrap_err().name(), "ServerBusy");
        held.extend((0..32).map(|_| places.take(None).unwrap()));
        assert!(places.take(None).is_err());
        held.extend((0..64).map(|n| places.take(caller(n / 32 + 1)).unwrap()));
        assert!(places.take(caller(9)).is_err(), "all are taken");
        held.clear();
        assert!(places.take(caller(0)).is_ok());
        assert!(places.counts.lock().unwrap().is_empty());
    }
}
