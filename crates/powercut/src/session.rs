//! What all clients of one PDS share: the ledger of promises, and the disk in whose log they are marked.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use atproto::syntax::Did;
use atproto::tid::Tid;
use bytes::Bytes;
use crashfs::{Call, Ledger, Thing};
use testbed::block::Recorder;

/// The notes of one load.
#[derive(Debug)]
pub struct Notes {
    disk: Arc<Recorder>,
    inner: Mutex<Inner>,
    news: Condvar,
    /// A PDS refuses more than a few imports at the same time.
    import: Mutex<()>,
}

#[derive(Debug, Default)]
struct Inner {
    ledger: Ledger,
    /// The newest revision of each repo that came by the firehose.
    sent: BTreeMap<Did, Tid>,
    /// The newest that an answer told.
    told: BTreeMap<Did, Tid>,
}

/// A value that a call gives to a thing; `None` takes it away.
pub(crate) type Value = (Thing, Option<Bytes>);

impl Notes {
    /// Begins to note promises of a PDS whose data lie on this disk.
    #[must_use]
    pub fn new(disk: Arc<Recorder>) -> Self {
        Self { disk, inner: Mutex::default(), news: Condvar::new(), import: Mutex::default() }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the place in the disk's log; a call that begins now cannot have done anything before it.
    pub(crate) fn position(&self) -> usize {
        self.disk.position()
    }

    /// Notes that a call begins.
    pub(crate) fn begin(&self, values: Vec<Value>) -> Call {
        self.began(self.position(), values)
    }

    /// Notes a call that began at a place, when its values are known only now.
    pub(crate) fn began(&self, begun: usize, values: Vec<Value>) -> Call {
        self.inner().ledger.begin(begun, values)
    }

    /// Notes that a call was answered, and the revision that the answer told.
    pub(crate) fn answered(&self, call: &Call, what: &str, rev: Option<(&Did, Tid)>) -> usize {
        let position = self.disk.mark(what);
        let mut inner = self.inner();
        inner.ledger.answered(call, position);
        if let Some((did, rev)) = rev {
            inner.ledger.told_rev(position, did.clone(), rev);
            inner.told.insert(did.clone(), rev);
        }
        position
    }

    /// Notes values that hold from a place on, of a thing that was nobody's promise before.
    pub(crate) fn holds_from(&self, position: usize, values: Vec<Value>) {
        let mut inner = self.inner();
        let call = inner.ledger.begin(position, values);
        inner.ledger.answered(&call, position);
    }

    /// Waits until no other client imports.
    pub(crate) fn import_turn(&self) -> MutexGuard<'_, ()> {
        self.import.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lists the things of one kind that have a value now.
    pub(crate) fn present(&self, wanted: impl Fn(&Thing) -> bool) -> Vec<Thing> {
        self.inner().ledger.present(wanted)
    }

    /// Notes that things may go from a place on, without anybody being told when.
    pub(crate) fn may_go(&self, begun: usize, things: Vec<Thing>) {
        self.inner().ledger.may_go(begun, things);
    }

    /// Notes an event.
    pub(crate) fn event(&self, seq: u64, frame: Bytes, commit: Option<(Did, Tid)>) {
        let position = self.disk.mark(format!("event {seq} was sent"));
        let mut inner = self.inner();
        inner.ledger.sent(position, seq, frame);
        if let Some((did, rev)) = commit {
            inner.sent.insert(did, rev);
        }
        self.news.notify_all();
    }

    /// Waits until the firehose has brought everything that was answered.
    pub(crate) fn wait_for_events(&self, limit: Duration) -> Result<()> {
        let until = Instant::now() + limit;
        let mut inner = self.inner();
        while inner.told.iter().any(|(did, rev)| inner.sent.get(did).is_none_or(|sent| sent < rev)) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                bail!("the firehose lags more than {limit:?} behind the answers");
            }
            inner = self.news.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(())
    }

    /// Ends the notes.
    ///
    /// A revision is the guest's own time when it signed. On a busy host much may have been signed before a cut and told
    /// long after it, so the box starts again later than the newest of all: no clock of a start is behind a signature.
    pub(crate) fn finish(&self) -> Ledger {
        let mut inner = self.inner();
        let newest = inner.told.values().max().map_or(0, |rev| rev.micros());
        inner.ledger.at_time(0, newest);
        std::mem::take(&mut inner.ledger)
    }
}
