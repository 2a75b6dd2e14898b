//! Between the storage part and the supervisor: who may write to the data, and when.
//!
//! The storage part has a thread of its own and says here when the data may be used and when it must be left; the
//! supervisor's driver starts and ends programs by that. Nothing here decides where the data lives.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc as std_mpsc};

use control::placement::Placement;
use control::users::Users;
use platform::volumes::Volumes;
use tokio::sync::mpsc;

use super::erase;
use crate::folders;
use crate::gather::OwnStatus;
use crate::storage::{self, Answer, Writers};

/// Words that may wait for the driver, which takes each within a tick.
const WORDS_MAX: usize = 16;

/// The title of data that is there and cannot be used.
const NOT_USABLE: &str = "DATA NOT USABLE";

/// What the storage part says to the driver. Words are numbered, so that an answer is to the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// The data may be used.
    Allow,
    /// The data must be left.
    Leave {
        /// The word's number.
        number: u64,
        /// The disk is gone: nothing that is not written can be, and nobody is waited for.
        torn_off: bool,
    },
    /// The data is unmounted.
    Closed,
}

/// Lets the supervisor's own threads use the data, and counts who does; all clones are one door.
#[derive(Clone, Debug, Default)]
pub struct DataDoor(Arc<DoorInner>);

#[derive(Debug, Default)]
struct DoorInner {
    state: Mutex<DoorState>,
    /// The number of the last [`Word::Leave`] after which no program used the data any more.
    left: AtomicU64,
}

#[derive(Debug, Default)]
struct DoorState {
    folder: Option<PathBuf>,
    inside: u32,
    /// How often it was opened: each time may be another disk.
    openings: u64,
}

impl DataDoor {
    /// Does something in the data's folder; the data stays where it is until that is done. `None` while the data must
    /// not be used.
    pub fn enter<T>(&self, work: impl FnOnce(&Path) -> T) -> Option<T> {
        let folder = {
            let mut state = self.lock();
            let folder = state.folder.clone()?;
            state.inside += 1;
            folder
        };
        let done = work(&folder);
        let mut state = self.lock();
        state.inside = state.inside.saturating_sub(1);
        Some(done)
    }

    /// Gives the number of this opening and the folder; `None` while the data must not be used.
    #[must_use]
    pub fn opening(&self) -> Option<(u64, PathBuf)> {
        let state = self.lock();
        state.folder.clone().map(|folder| (state.openings, folder))
    }

    fn open(&self, folder: &Path) {
        let mut state = self.lock();
        state.folder = Some(folder.to_owned());
        state.openings += 1;
    }

    /// Says that no program uses the data after the word of this number.
    pub(super) fn note_left(&self, number: u64) {
        self.0.left.store(number, Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, DoorState> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The driver's end.
#[derive(Debug)]
pub struct Data {
    /// What the storage part says.
    pub words: mpsc::Receiver<Word>,
    /// Where answers of presence go; `None` where no disks are managed.
    pub answers: Option<std_mpsc::Sender<Answer>>,
    /// Ends the storage part, which unmounts and then says [`Word::Closed`]; `None` where nothing is mounted by us.
    pub close: Option<Arc<AtomicBool>>,
    /// For the supervisor's own use of the data.
    pub door: DataDoor,
}

/// Takes a folder as the data, which somebody else looks after.
#[must_use]
pub fn elsewhere(folder: &Path, users: Users, own: &OwnStatus) -> Data {
    let (said, words) = mpsc::channel(WORDS_MAX);
    let door = DataDoor::default();
    let mut writers = DataWriters::new(said, door.clone(), users, own.clone());
    writers.allow(folder);
    Data { words, answers: None, close: None, door }
}

/// Starts the storage part on a thread of its own.
///
/// # Errors
/// When the system gives no thread.
pub fn manage(volumes: Box<dyn Volumes>, users: Users, own: &OwnStatus) -> std::io::Result<Data> {
    let (said, words) = mpsc::channel(WORDS_MAX);
    let (answers, answered) = std_mpsc::channel();
    let (door, close) = (DataDoor::default(), Arc::new(AtomicBool::new(false)));
    let writers = DataWriters::new(said.clone(), door.clone(), users, own.clone());
    let told = own.clone();
    let platform = storage::Platform {
        volumes,
        writers: Box::new(writers),
        answers: answered,
        // Nothing bounds a copy but the way off, which `close` tells.
        go_on: Box::new(|| true),
        report: Box::new(move |placement| {
            let placement = placement.clone();
            told.change(|status| status.placement = Some(placement));
        }),
    };
    let closing = Arc::clone(&close);
    let run = move || {
        storage::run(&storage::Config::default(), platform, &closing);
        // On the way off without a driver nobody needs to know.
        let _alone = said.blocking_send(Word::Closed).is_err();
    };
    let _runs_on = std::thread::Builder::new().name("storage".to_owned()).spawn(run)?;
    Ok(Data { words, answers: Some(answers), close: Some(close), door })
}

/// The writers as the storage part knows them: the programs that need the data, the guard, and our own threads.
#[derive(Debug)]
struct DataWriters {
    said: mpsc::Sender<Word>,
    door: DataDoor,
    users: Users,
    own: OwnStatus,
    leaves: u64,
    folder: PathBuf,
}

impl DataWriters {
    fn new(said: mpsc::Sender<Word>, door: DataDoor, users: Users, own: OwnStatus) -> Self {
        Self { said, door, users, own, leaves: 0, folder: PathBuf::new() }
    }

    fn say(&self, word: Word) {
        let said = match self.said.try_send(word) {
            Err(mpsc::error::TrySendError::Full(word)) => self.said.blocking_send(word).is_ok(),
            said => said.is_ok(),
        };
        if !said {
            tracing::debug!("the supervisor's driver has ended");
        }
    }

    /// Erases what is to be erased, and makes the folders, before anybody uses the data.
    fn prepare(&self, folder: &Path) -> Result<(), String> {
        if erase::finish(folder).map_err(|error| format!("Erasing everything failed: {error}"))? {
            tracing::warn!("everything was erased, as it was wished");
        }
        folders::make_data(folder, &self.users).map_err(|error| match std::error::Error::source(&error) {
            Some(cause) => format!("{error}: {cause}"),
            None => error.to_string(),
        })
    }
}

impl Writers for DataWriters {
    fn allow(&mut self, folder: &Path) {
        self.folder = folder.to_owned();
        if let Err(why) = self.prepare(folder) {
            tracing::error!(why, "the data cannot be used");
            let why = format!("{why}. Restart the box; if it stays so, the disk fails.");
            self.own.change(|status| {
                let placement = status.placement.get_or_insert_default();
                placement.data = Placement::Held { title: NOT_USABLE.to_owned(), why };
            });
            return;
        }
        self.door.open(folder);
        self.say(Word::Allow);
    }

    fn stop(&mut self, torn_off: bool) {
        self.door.lock().folder = None;
        if !torn_off && let Err(error) = folders::close_data(&self.folder) {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the time guard may still write to the data"
            );
        }
        self.leaves += 1;
        self.say(Word::Leave { number: self.leaves, torn_off });
    }

    fn stopped(&mut self) -> bool {
        self.door.lock().inside == 0 && self.door.0.left.load(Ordering::Acquire) == self.leaves
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_is_left_when_programs_and_own_threads_have_left_and_not_before() {
        let folder = tempfile::tempdir().unwrap();
        let (said, mut words) = mpsc::channel(WORDS_MAX);
        let door = DataDoor::default();
        assert_eq!(door.enter(|_| ()), None, "nothing is there yet");
        let mut writers = DataWriters::new(said, door.clone(), Users::default(), OwnStatus::default());
        writers.allow(folder.path());
        let inside = door.enter(|_| {
            writers.stop(false);
            door.note_left(1);
            (writers.stopped(), door.enter(|_| ()))
        });
        assert_eq!(inside, Some((false, None)), "who is inside is waited for, and nobody else comes in");
        assert!(writers.stopped());
        writers.allow(folder.path());
        writers.stop(false);
        assert!(!writers.stopped(), "the first word's answer is none to the second");
        let said: Vec<_> = std::iter::from_fn(|| words.try_recv().ok()).collect();
        let leave = |number| Word::Leave { number, torn_off: false };
        assert_eq!(said, [Word::Allow, leave(1), Word::Allow, leave(2)]);
    }
}
