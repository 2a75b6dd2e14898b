//! Which types of record this server knows: those that were known when it was built, and those it looked up since.
//!
//! A record of a type that is not known is stored unchecked, at once; its lexicon is looked for meanwhile, so that later
//! records are checked. Nothing that stands on the internet can delay or fail a write whose caller did not ask for the
//! check. What was found is kept in the store across restarts, and so is that there was nothing.

mod resolve;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use atproto::{
    data::Record,
    lexicon::{Fault, Lexicon, Lexicons, Why},
    syntax::{Nsid, RecordKey},
};
use platform::time::Clock;
use tokio::{
    sync::{Notify, Semaphore},
    time::Instant,
};

use crate::{
    app::Shared,
    error::XrpcError,
    outbound::{self, OutboundError, Reach},
};

/// How long a lexicon is good, nanoseconds (1 day): published types of record may only grow, so that an old one is
/// hardly ever wrong.
const LIFE_NS: u64 = 24 * 3600 * 1_000_000_000;
/// How long it is used beyond that while its source cannot be asked, nanoseconds (1 week).
const STALE_NS: u64 = 7 * LIFE_NS;
/// How long it is believed that there is none, nanoseconds (1 hour): someone who is just publishing one waits that long.
const ABSENT_LIFE_NS: u64 = 3600 * 1_000_000_000;
/// How long a source that failed is left alone, nanoseconds (5 minutes).
const FAILED_LIFE_NS: u64 = 300 * 1_000_000_000;
/// Looked-up types in memory. Each takes a few KiB, a hostile one up to some 500 KiB.
const RESOLVED_MAX: usize = 128;
/// Names of which something is remembered in memory, those without a lexicon included; about 100 bytes each.
const NAMES_MAX: usize = 1024;
/// Types that are looked for at the same time. More are not queued: the next record of the type asks again.
const LOOKUPS_MAX: usize = 4;
/// How long a write waits whose caller asked for the check (`validate: true`) of a type that is not known yet.
const WAIT_MAX: Duration = Duration::from_secs(8);
/// Lexicons that one such write may wait for, one after the other: a type and those that it refers to.
const WAITS_MAX: usize = 8;

/// What is known of one name beyond the lexicons themselves.
#[derive(Clone, Copy, Debug)]
enum Known {
    /// It is being looked for.
    Asking,
    /// It was found, and is to be looked for again from this time on.
    Found { until_ns: u64 },
    /// There is nothing to be had until this time.
    Nothing { until_ns: u64 },
}

/// What a look-up came to.
#[derive(Debug)]
enum Found {
    /// A lexicon, so many nanoseconds ago.
    Lexicon(Arc<Lexicon>, u64),
    /// Certainly none, so many nanoseconds ago.
    Nothing(u64),
    /// It cannot be found out now.
    Failed,
}

/// All types of record that are known.
#[derive(Debug)]
pub(crate) struct Registry {
    /// Replaced as a whole, so that a check holds no lock.
    lexicons: RwLock<Arc<Lexicons>>,
    names: Mutex<HashMap<Nsid, Known>>,
    clock: Clock,
    places: Arc<Semaphore>,
    /// Wakes those who wait for a look-up.
    settled: Notify,
    web: reqwest::Client,
}

/// What a check came to.
#[derive(Debug)]
enum Verdict {
    Valid,
    /// This lexicon is needed.
    Unknown(Option<Nsid>),
}

impl Registry {
    /// Begins with the types that were known when this was built. In `dev_mode` lexicons may lie on this machine.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub(crate) fn new(dev_mode: bool, clock: Clock) -> Result<Self, OutboundError> {
        let reach = if dev_mode { Reach::Configured } else { Reach::Public };
        Ok(Self {
            lexicons: RwLock::new(Arc::new(Lexicons::known().clone())),
            names: Mutex::new(HashMap::new()),
            web: outbound::client(reach, clock.clone())?,
            clock,
            places: Arc::new(Semaphore::new(LOOKUPS_MAX)),
            settled: Notify::new(),
        })
    }

    fn lexicons(&self) -> Arc<Lexicons> {
        Arc::clone(&self.lexicons.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn names(&self) -> std::sync::MutexGuard<'_, HashMap<Nsid, Known>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says whether `name` is worth looking for now, and notes that it is being looked for.
    fn begin(&self, name: &Nsid) -> bool {
        let now_ns = self.clock.boottime_ns();
        let mut names = self.names();
        let due = match names.get(name) {
            None => true,
            Some(Known::Asking) => false,
            Some(Known::Found { until_ns } | Known::Nothing { until_ns }) => now_ns >= *until_ns,
        };
        if due {
            if names.len() >= NAMES_MAX {
                names.retain(|_, known| !matches!(known, Known::Nothing { .. }));
            }
            if names.len() >= NAMES_MAX {
                return false;
            }
            names.insert(name.clone(), Known::Asking);
        }
        due
    }

    fn is_asking(&self, name: &Nsid) -> bool {
        matches!(self.names().get(name), Some(Known::Asking))
    }

    /// Ends what [`Registry::begin`] began.
    fn settle(&self, name: Nsid, found: Found) {
        let now_ns = self.clock.boottime_ns();
        let mut names = self.names();
        let mut lexicons = self.lexicons.write().unwrap_or_else(PoisonError::into_inner);
        let all = Arc::make_mut(&mut lexicons);
        all.remove(name.as_str());
        let until = |life_ns: u64, age_ns| now_ns.saturating_add(life_ns.saturating_sub(age_ns));
        let known = match found {
            Found::Lexicon(lexicon, age_ns) => {
                make_room(all, &mut names);
                all.insert(lexicon);
                Known::Found { until_ns: until(LIFE_NS, age_ns) }
            }
            Found::Nothing(age_ns) => Known::Nothing { until_ns: until(ABSENT_LIFE_NS, age_ns) },
            Found::Failed => Known::Nothing { until_ns: until(FAILED_LIFE_NS, 0) },
        };
        names.insert(name, known);
        drop((names, lexicons));
        self.settled.notify_waiters();
    }

    /// Checks a record against what is known now.
    fn verdict(&self, collection: &Nsid, key: &RecordKey, record: &Record) -> Result<Verdict, XrpcError> {
        match self.lexicons().check_record(collection, key, &record.bytes) {
            Ok(()) => Ok(Verdict::Valid),
            Err(Fault::Mismatch(mismatch)) if matches!(mismatch.why(), Why::Key(_)) => {
                Err(XrpcError::invalid_request(format!("Invalid record key for {collection}: {mismatch}")))
            }
            Err(Fault::Mismatch(mismatch)) => {
                Err(XrpcError::invalid_request(format!("Invalid {collection} record: {mismatch}")))
            }
            Err(Fault::Unknown { nsid }) => Ok(Verdict::Unknown(Nsid::parse(&nsid).ok())),
            // A lexicon that makes no sense says nothing about a record.
            Err(_) => Ok(Verdict::Unknown(None)),
        }
    }
}

/// Removes the looked-up lexicon that was found longest ago while there are too many.
fn make_room(all: &mut Lexicons, names: &mut HashMap<Nsid, Known>) {
    let found = |known: &Known| if let Known::Found { until_ns } = known { Some(*until_ns) } else { None };
    while names.values().filter_map(found).count() >= RESOLVED_MAX {
        let oldest = names.iter().filter_map(|(name, known)| Some((found(known)?, name))).min();
        let Some((_, oldest)) = oldest else { return };
        let oldest = oldest.clone();
        all.remove(oldest.as_str());
        names.remove(&oldest);
    }
}

/// Checks a record as its writer wished: `validate` absent checks what is known, true demands that it is known, false
/// looks at nothing. Gives the `validationStatus` of the answer.
///
/// # Errors
/// 400 when the record breaks its lexicon, or when it must be known and is not.
pub(crate) async fn check(
    app: &Shared,
    collection: &Nsid,
    key: &RecordKey,
    record: &Record,
    validate: Option<bool>,
) -> Result<Option<&'static str>, XrpcError> {
    if validate == Some(false) {
        return Ok(None);
    }
    let registry = &app.lexicons;
    let until = Instant::now() + WAIT_MAX;
    for _ in 0..WAITS_MAX {
        // Registered before the check, so that what is settled meanwhile is not missed.
        let mut settled = std::pin::pin!(registry.settled.notified());
        settled.as_mut().enable();
        let needed = match registry.verdict(collection, key, record)? {
            Verdict::Valid => {
                refresh(app, collection);
                return Ok(Some("valid"));
            }
            Verdict::Unknown(needed) => needed,
        };
        let asked = needed.as_ref().is_some_and(|name| look_for(app, name));
        if validate != Some(true) {
            return Ok(Some("unknown"));
        }
        let waits = asked || needed.as_ref().is_some_and(|name| registry.is_asking(name));
        if !waits || !wait(registry, needed.as_ref(), settled, until).await {
            break;
        }
    }
    Err(XrpcError::invalid_request(format!("Unknown lexicon type: {collection}")))
}

/// Waits until a name is settled; false when the time is up.
async fn wait<'a>(
    registry: &'a Registry,
    name: Option<&Nsid>,
    mut settled: std::pin::Pin<&mut tokio::sync::futures::Notified<'a>>,
    until: Instant,
) -> bool {
    while name.is_some_and(|name| registry.is_asking(name)) {
        if tokio::time::timeout_at(until, settled.as_mut()).await.is_err() {
            return false;
        }
        settled.set(registry.settled.notified());
        settled.as_mut().enable();
    }
    true
}

/// Looks again for a looked-up lexicon that has become old, while it goes on being used.
fn refresh(app: &Shared, name: &Nsid) {
    if Lexicons::known().get(name.as_str()).is_none() {
        look_for(app, name);
    }
}

/// Starts to look for a lexicon unless it is known well enough or too many are under way; says whether it did.
fn look_for(app: &Shared, name: &Nsid) -> bool {
    let Ok(place) = Arc::clone(&app.lexicons.places).try_acquire_owned() else { return false };
    if !app.lexicons.begin(name) {
        return false;
    }
    let (app, name) = (Arc::clone(app), name.clone());
    let tasks = app.tasks.clone();
    tasks.spawn(async move {
        let found = tokio::select! {
            found = resolve::find(&app, &name) => found,
            () = app.shutdown.cancelled() => Found::Failed,
        };
        app.lexicons.settle(name, found);
        drop(place);
    });
    true
}
