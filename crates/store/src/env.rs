//! What all parts of an open store share: paths, files, room on the disk, fresh nodes, the firehose.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use atproto::syntax::Did;
use platform::time::TrustedTime;

use crate::blob::InFlight;
use crate::config::Config;
use crate::error::StoreError;
use crate::event::{Event, Events};
use crate::files;
use crate::tree::FreshNodes;

/// Room kept for the moment when the disk is full, bytes. Given up, it holds a checkpoint of a full log.
const RESERVE_BYTES: usize = 8 * 1024 * 1024;

/// How long an answer about free room is believed.
///
/// 200 ms: the fastest disk of a small board takes some 100 MB in that time, less than the room that is kept free can
/// lose twice, and asking costs one system call.
const ROOM_CHECK_INTERVAL: Duration = Duration::from_millis(200);

/// Shared by the writer, the readers and the callers.
#[derive(Debug)]
pub(crate) struct Env {
    pub(crate) config: Config,
    pub(crate) events: Events,
    /// Tree nodes that the table `node` does not hold yet.
    pub(crate) nodes: FreshNodes,
    room: Room,
    /// Bytes of frames in the event log: counted by the first maintenance, and from then on kept up.
    pub(crate) event_bytes: AtomicU64,
    /// Every account is still to be announced after a later copy was given up.
    pub(crate) owes_announcements: AtomicBool,
    /// Uploads between their rename and their row.
    pub(crate) in_flight: InFlight,
    /// Distinguishes TIDs made here from others', 10 bits.
    pub(crate) clock_id: u16,
}

/// Whether new data fits.
#[derive(Debug, Default)]
pub(crate) struct Room {
    full: AtomicBool,
    measured: Mutex<Option<Instant>>,
}

impl Env {
    /// Puts together what is shared.
    pub(crate) fn new(config: Config, events: Events, nodes: FreshNodes, clock_id: u16) -> Self {
        Self {
            events,
            nodes,
            room: Room::default(),
            event_bytes: AtomicU64::new(0),
            owes_announcements: AtomicBool::new(false),
            in_flight: InFlight::default(),
            clock_id,
            config,
        }
    }

    /// Refuses new data while the disk is full. Whoever asks measures, so that room is noticed by a box on which only
    /// uploads are tried, and its lack in the middle of one.
    pub(crate) fn check_room(&self) -> Result<(), StoreError> {
        {
            let mut measured = self.room.measured.lock().unwrap_or_else(PoisonError::into_inner);
            if !measured.is_some_and(|at| at.elapsed() < ROOM_CHECK_INTERVAL) {
                *measured = Some(Instant::now());
                self.measure_room();
            }
        }
        if self.room.full.load(Ordering::Relaxed) { Err(StoreError::DiskFull) } else { Ok(()) }
    }

    /// Notes what the event log has taken in.
    pub(crate) fn grew(&self, events: &[Event]) {
        let bytes: usize = events.iter().map(|event| event.frame.len()).sum();
        self.event_bytes.fetch_add(u64::try_from(bytes).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// The disk itself has said that it is full: nothing new is taken until it was measured again.
    pub(crate) fn room_ended(&self) {
        *self.room.measured.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        self.room.full.store(true, Ordering::Relaxed);
        self.give_up_reserve();
    }

    /// Gives the trusted time as the tables keep it.
    pub(crate) fn now(&self) -> Result<TrustedTime, StoreError> {
        Ok(self.config.clock.now()?)
    }

    pub(crate) fn database_path(&self) -> PathBuf {
        database_path(&self.config.dir)
    }

    pub(crate) fn keys_dir(&self) -> PathBuf {
        self.config.dir.join("keys")
    }

    pub(crate) fn key_path(&self, did: &Did) -> PathBuf {
        self.keys_dir().join(format!("{}.key", did_name(did)))
    }

    pub(crate) fn secrets_dir(&self) -> PathBuf {
        self.config.dir.join("secrets")
    }

    pub(crate) fn secret_path(&self, name: &str) -> PathBuf {
        self.secrets_dir().join(format!("{name}.key"))
    }

    pub(crate) fn blobs_dir(&self) -> PathBuf {
        self.config.dir.join("blobs")
    }

    pub(crate) fn blob_dir(&self, did: &Did) -> PathBuf {
        self.blobs_dir().join(did_name(did))
    }

    pub(crate) fn uploads_dir(&self) -> PathBuf {
        self.config.dir.join("uploads")
    }

    fn reserve_path(&self) -> PathBuf {
        self.config.dir.join("reserve")
    }

    /// Asks the disk for its room. Without a disk to ask, one that said it was full is given another try.
    fn measure_room(&self) {
        let full = match &self.config.disk {
            None => false,
            Some(disk) => match disk.space() {
                Ok(space) => space.free_bytes < self.config.limits.min_free_bytes,
                // A disk that does not answer fails on its own; it is not full.
                Err(_) => return,
            },
        };
        self.room.full.store(full, Ordering::Relaxed);
    }

    /// Makes the reserve file when there is room for it. Part of maintenance, not of opening: it takes the disk some time.
    pub(crate) fn keep_reserve(&self) {
        let path = self.reserve_path();
        let wanted = u64::try_from(RESERVE_BYTES).unwrap_or(u64::MAX);
        let files = &*self.config.files;
        if self.check_room().is_err() || files.len(&path).is_ok_and(|len| len == Some(wanted)) {
            return;
        }
        if let Err(error) = files::write_durably(files, &path, &vec![0; RESERVE_BYTES]) {
            tracing::warn!(error = &error as &dyn std::error::Error, "no room reserve could be made");
        }
    }

    /// Gives the reserve up so that the database can end what it began.
    fn give_up_reserve(&self) {
        let path = self.reserve_path();
        if let Err(error) = self.config.files.remove(&path) {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the room reserve could not be given up"
            );
        }
    }
}

/// Path of the database in a data folder.
pub(crate) fn database_path(dir: &Path) -> PathBuf {
    dir.join("perch.sqlite")
}

/// Gives a DID a short name without characters that file systems treat specially.
pub(crate) fn did_name(did: &Did) -> String {
    use sha2::Digest;
    let digest = sha2::Sha256::digest(did.as_str().as_bytes());
    // 128 bits: accounts of one box never meet.
    digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}
