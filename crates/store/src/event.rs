//! The firehose: what was durably stored, in order, each number once.
//!
//! The newest events wait in a small ring; older ones are read from the log. A subscriber never misses one and
//! never holds memory: when it falls out of the ring it reads from the disk.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::watch;

use crate::Store;
use crate::error::StoreError;

/// Bytes of frames in the ring: a burst of a hundred posts, or half of the largest frame's neighbours.
const RING_BYTES: usize = 512 * 1024;

/// Events read from the log at once, and their bytes at which reading stops.
const LOG_EVENTS: usize = 64;
pub(crate) const LOG_BYTES: usize = 1024 * 1024;

/// One event of the firehose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its number: rises, never used twice, gaps happen.
    pub seq: u64,
    /// The finished WebSocket message.
    pub frame: Bytes,
}

/// The ring and the number of the newest durable event.
#[derive(Debug)]
pub(crate) struct Events {
    ring: Mutex<Ring>,
    last_seq: watch::Sender<u64>,
    closed: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Ring {
    events: VecDeque<Event>,
    bytes: usize,
    /// Every event after this one is in the ring.
    complete_after: u64,
}

impl Events {
    /// Starts with an empty ring after the newest stored event.
    pub(crate) fn new(last_seq: u64) -> Self {
        let ring = Ring { complete_after: last_seq, ..Ring::default() };
        Self {
            ring: Mutex::new(ring),
            last_seq: watch::Sender::new(last_seq),
            closed: watch::Sender::new(false),
        }
    }

    /// Shows durable events to subscribers. `newest` is the last number that was used or left out.
    pub(crate) fn publish(&self, events: Vec<Event>, newest: u64) {
        if !events.is_empty() {
            let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
            for event in events {
                ring.bytes += event.frame.len();
                ring.events.push_back(event);
            }
            while ring.bytes > RING_BYTES {
                let Some(oldest) = ring.events.pop_front() else { break };
                ring.bytes -= oldest.frame.len();
                ring.complete_after = oldest.seq;
            }
        }
        self.last_seq.send_if_modified(|last| {
            let rose = *last < newest;
            *last = newest.max(*last);
            rose
        });
    }

    /// Empties the ring, because events were removed from the log: whoever is behind reads there.
    pub(crate) fn forget_recent(&self) {
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        *ring = Ring { complete_after: self.last_seq(), ..Ring::default() };
    }

    /// Ends all subscriptions.
    pub(crate) fn close(&self) {
        self.closed.send_replace(true);
    }

    pub(crate) fn last_seq(&self) -> u64 {
        *self.last_seq.borrow()
    }

    /// Gives events after a number from the ring; `None` when the log must be asked.
    fn recent(&self, after: u64) -> Option<Vec<Event>> {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        if after < ring.complete_after {
            return None;
        }
        let first = ring.events.partition_point(|event| event.seq <= after);
        Some(ring.events.iter().skip(first).take(LOG_EVENTS).cloned().collect())
    }
}

/// A place in the firehose that moves forward.
#[derive(Debug)]
pub struct Subscription {
    store: Store,
    after: u64,
    queue: VecDeque<Event>,
    last_seq: watch::Receiver<u64>,
    closed: watch::Receiver<bool>,
}

impl Subscription {
    pub(crate) fn new(store: Store, after: u64) -> Self {
        let last_seq = store.inner.env.events.last_seq.subscribe();
        let closed = store.inner.env.events.closed.subscribe();
        Self { store, after, queue: VecDeque::new(), last_seq, closed }
    }

    /// Waits for the next event. `None` when the store closes. Cancel-safe.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub async fn next(&mut self) -> Result<Option<Event>, StoreError> {
        loop {
            if let Some(event) = self.queue.pop_front() {
                self.after = event.seq;
                return Ok(Some(event));
            }
            if *self.last_seq.borrow_and_update() > self.after {
                self.refill().await?;
                continue;
            }
            if *self.closed.borrow() {
                return Ok(None);
            }
            tokio::select! {
                changed = self.last_seq.changed() => if changed.is_err() { return Ok(None) },
                changed = self.closed.changed() => if changed.is_err() { return Ok(None) },
            }
        }
    }

    /// Tells how many numbers the newest event is ahead of the last one taken.
    #[must_use]
    pub fn behind(&self) -> u64 {
        self.store.inner.env.events.last_seq().saturating_sub(self.after)
    }

    async fn refill(&mut self) -> Result<(), StoreError> {
        let after = self.after;
        // Read before the look: what comes meanwhile is not passed over.
        let last_seq = self.store.inner.env.events.last_seq();
        let events = match self.store.inner.env.events.recent(after) {
            Some(events) => events,
            None => self.store.read(move |reader| reader.events_after(after, LOG_EVENTS)).await?,
        };
        if events.is_empty() {
            // Pruned while we waited, or numbers were left out: go on from what is left.
            self.after = last_seq;
        }
        self.queue.extend(events);
        Ok(())
    }
}
