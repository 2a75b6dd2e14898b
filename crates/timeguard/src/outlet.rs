//! Where the guard's words go on the device: small files on tmpfs, and what it must remember on the data disk.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use control::file::{self, FileError};
use control::verdict::{self, Word};
use control::{Stamped, TimeStatus};
use platform::time::{BootClock, Verdict};

use crate::policy::Saved;
use crate::run::Outlet;

/// The verdict, in the run folder.
pub const VERDICT_FILE: &str = "verdict.json";

/// The status, in the run folder.
pub const STATUS_FILE: &str = "status.json";

/// What is kept across restarts, in the data folder.
pub const SAVED_FILE: &str = "saved.json";

/// How often the status is written while nothing changes that somebody waits for, nanoseconds: 1 s. Each answer of a
/// server changes a number in it.
const STATUS_EVERY_NS: u64 = 900_000_000;

/// Writes verdict, status and memory.
#[derive(Debug)]
pub struct FileOutlet {
    boot: Arc<dyn BootClock>,
    run_dir: PathBuf,
    data_dir: PathBuf,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    status: TimeStatus,
    written_ns: Option<u64>,
    /// What could not be saved yet, since its disk is not there.
    unsaved: Option<Saved>,
}

impl FileOutlet {
    /// Names the folders. The run folder must exist; the data folder may come later.
    #[must_use]
    pub fn new(boot: Arc<dyn BootClock>, run_dir: &Path, data_dir: &Path) -> Self {
        let inner = Mutex::default();
        Self { boot, run_dir: run_dir.to_owned(), data_dir: data_dir.to_owned(), inner }
    }

    /// Gives the status that was told last.
    #[must_use]
    pub fn latest(&self) -> TimeStatus {
        self.lock().status.clone()
    }

    /// Tells whether the data folder is there.
    #[must_use]
    pub fn can_save(&self) -> bool {
        self.data_dir.is_dir()
    }

    /// Reads what was kept. A missing or damaged file is nothing kept: the floor then is the build.
    #[must_use]
    pub fn saved(&self) -> Saved {
        match file::read(&self.data_dir.join(SAVED_FILE)) {
            Ok(saved) => saved.unwrap_or_default(),
            Err(error) => {
                tracing::error!(%error, "what was kept cannot be read; the floor is the build");
                Saved::default()
            }
        }
    }

    /// Saves what waited for the data folder.
    pub fn save_waiting(&self) {
        let waiting = self.lock().unsaved.take();
        if let Some(saved) = waiting {
            self.save(saved);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn speak(&self, word: &Word) {
        if let Err(error) = verdict::publish(&self.run_dir.join(VERDICT_FILE), word) {
            tracing::error!(%error, "the verdict cannot be told; readers stop trusting soon");
        }
    }
}

impl Outlet for FileOutlet {
    fn publish(&self, verdict: Verdict) {
        self.speak(&Word::Trusted(verdict));
    }

    fn refuse(&self, why: &str) {
        self.speak(&Word::Refused { why: why.to_owned() });
    }

    fn status(&self, status: TimeStatus) {
        let now_ns = self.boot.boottime_ns();
        let mut inner = self.lock();
        let key = |status: &TimeStatus| {
            (status.state, status.trusted, status.why_untrusted.clone(), status.asks_owner_us.is_some())
        };
        let news = key(&inner.status) != key(&status);
        let due = inner.written_ns.is_none_or(|at_ns| now_ns.saturating_sub(at_ns) >= STATUS_EVERY_NS);
        inner.status = status;
        if !news && !due {
            return;
        }
        inner.written_ns = Some(now_ns);
        let status = inner.status.clone();
        drop(inner);
        let stamped = Stamped { boot_id: self.boot.boot_id(), boottime_ns: now_ns, status };
        if let Err(error) = file::replace(&self.run_dir.join(STATUS_FILE), &stamped) {
            tracing::error!(%error, "the status cannot be told");
        }
    }

    fn save(&self, saved: Saved) {
        if !self.can_save() {
            self.lock().unsaved = Some(saved);
            return;
        }
        let path = self.data_dir.join(SAVED_FILE);
        // Off this thread: a worn card may take seconds, and the verdict must be renewed meanwhile. Saves are hours
        // apart.
        let write = move || {
            if let Err(error) = replace_durably(&path, &saved) {
                tracing::error!(%error, "the last trusted time cannot be saved");
            }
        };
        if let Err(error) = std::thread::Builder::new().name("save".to_owned()).spawn(write) {
            tracing::error!(%error, "the last trusted time cannot be saved");
        }
    }
}

/// Replaces a file so that after a power cut either the old or the new content is there.
///
/// # Errors
/// [`FileError`]; the old content then stays.
pub fn replace_durably(path: &Path, saved: &Saved) -> Result<(), FileError> {
    let bytes = serde_json::to_vec(saved)
        .map_err(|source| FileError::Encode { path: path.to_owned(), source: Some(source) })?;
    let temporary = path.with_extension("new");
    let write = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&temporary)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)?;
        match path.parent() {
            Some(folder) => File::open(folder)?.sync_all(),
            None => Ok(()),
        }
    };
    write().map_err(|source| FileError::Write { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use control::VerdictFile;
    use control::status::TimeState;
    use platform::sim::trusted_clock;
    use platform::time::VerdictSource;

    use super::*;

    fn world() -> (tempfile::TempDir, Arc<platform::sim::SimClock>, FileOutlet) {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(platform::sim::SimClock::manual(1_795_401_296_789_000));
        let outlet = FileOutlet::new(clock.clone(), dir.path(), &dir.path().join("data"));
        (dir, clock, outlet)
    }

    fn wait_for_saved(outlet: &FileOutlet, floor_us: u64) {
        for _ in 0..1_000 {
            if outlet.saved().floor_us == floor_us {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        panic!("not saved");
    }

    #[test]
    fn words_are_read_by_those_who_sign() {
        let (dir, _, outlet) = world();
        let (_, sim) = trusted_clock(1_795_401_296_789_000);
        let reader = VerdictFile::new(dir.path().join(VERDICT_FILE));
        let verdict = sim.verdict().unwrap();
        outlet.publish(verdict);
        assert_eq!(reader.verdict(), Some(verdict));
        outlet.refuse("nobody answers");
        assert_eq!((reader.verdict(), reader.refusal()), (None, Some("nobody answers".to_owned())));
    }

    #[test]
    fn the_status_is_written_at_once_when_the_state_changes_and_rarely_otherwise() {
        let (dir, clock, outlet) = world();
        let read =
            || file::read::<Stamped<TimeStatus>>(&dir.path().join(STATUS_FILE)).unwrap().unwrap().status;
        outlet.status(TimeStatus { floor_us: 1, ..TimeStatus::default() });
        outlet.status(TimeStatus { floor_us: 2, ..TimeStatus::default() });
        assert_eq!(read().floor_us, 1);
        assert_eq!(outlet.latest().floor_us, 2);
        outlet.status(TimeStatus { state: TimeState::Synced, floor_us: 3, ..TimeStatus::default() });
        assert_eq!(read().floor_us, 3);
        clock.advance(std::time::Duration::from_secs(1));
        outlet.status(TimeStatus { state: TimeState::Synced, floor_us: 4, ..TimeStatus::default() });
        assert_eq!(read().floor_us, 4);
    }

    #[test]
    fn what_is_saved_before_its_disk_is_there_is_saved_then() {
        let (dir, _, outlet) = world();
        outlet.save(Saved { floor_us: 7, ..Saved::default() });
        assert_eq!(outlet.saved(), Saved::default());
        std::fs::create_dir(dir.path().join("data")).unwrap();
        outlet.save_waiting();
        wait_for_saved(&outlet, 7);
        let mut saved = outlet.saved();
        saved.floor_us = 8;
        saved.rtc_set_us = Some(9);
        outlet.save(saved);
        wait_for_saved(&outlet, 8);
        assert_eq!(outlet.saved().rtc_set_us, Some(9));
    }

    #[test]
    fn a_damaged_memory_is_no_memory() {
        let (dir, _, outlet) = world();
        std::fs::create_dir(dir.path().join("data")).unwrap();
        std::fs::write(dir.path().join("data").join(SAVED_FILE), b"{\"floor_us\":17").unwrap();
        assert_eq!(outlet.saved(), Saved::default());
    }
}
