//! What all parts of an open store share: paths, files, room on the disk, fresh nodes, the firehose.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use atproto::syntax::Did;
use platform::time::TrustedTime;

use crate::blob::InFlight;
use crate::config::Config;
use crate::error::StoreError;
use crate::event::Events;
use crate::files;
use crate::tree::FreshNodes;

/// Room kept for the moment when the disk is full, bytes. Given up, it holds a checkpoint of a full log.
const RESERVE_BYTES: usize = 8 * 1024 * 1024;

/// Shared by the writer, the readers and the callers.
#[derive(Debug)]
pub(crate) struct Env {
    pub(crate) config: Config,
    pub(crate) events: Events,
    /// Tree nodes that the table `node` does not hold yet.
    pub(crate) nodes: FreshNodes,
    pub(crate) room: Room,
    /// Uploads between their rename and their row.
    pub(crate) in_flight: InFlight,
    /// Distinguishes TIDs made here from others', 10 bits.
    pub(crate) clock_id: u16,
}

/// Whether new data fits.
#[derive(Debug, Default)]
pub(crate) struct Room {
    full: AtomicBool,
}

impl Room {
    pub(crate) fn set_full(&self, full: bool) {
        self.full.store(full, Ordering::Relaxed);
    }

    /// Refuses new data while the disk is full.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        if self.full.load(Ordering::Relaxed) { Err(StoreError::DiskFull) } else { Ok(()) }
    }
}

impl Env {
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

    /// Asks the disk for its room, and keeps or restores the reserve.
    pub(crate) fn measure_room(&self) {
        let Some(disk) = &self.config.disk else { return };
        // A disk that does not answer fails on its own; it is not full.
        let Ok(space) = disk.space() else { return };
        let full = space.free_bytes < self.config.limits.min_free_bytes;
        self.room.set_full(full);
    }

    /// Makes the reserve file when there is room for it. Part of maintenance, not of opening: it takes the disk some time.
    pub(crate) fn keep_reserve(&self) {
        let path = self.reserve_path();
        let wanted = u64::try_from(RESERVE_BYTES).unwrap_or(u64::MAX);
        let files = &*self.config.files;
        if self.room.check().is_err() || files.len(&path).is_ok_and(|len| len == Some(wanted)) {
            return;
        }
        if let Err(error) = files::write_durably(files, &path, &vec![0; RESERVE_BYTES]) {
            tracing::warn!(error = &error as &dyn std::error::Error, "no room reserve could be made");
        }
    }

    /// Gives the reserve up so that the database can end what it began.
    pub(crate) fn give_up_reserve(&self) {
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
