//! What the box must know before its data is mounted, as a small file beside `perch.toml` on the boot partition.
//!
//! That partition is the only durable place that is there before the data is: a bridge that loses commands must leave the
//! fast way before the disk behind it is mounted, and the data partition of the card may be an old copy that nobody
//! writes to. It also outlives the erasing of everything, so that a used secret stays used. It is written a few times in
//! the box's life, and its owner may read and remove it on any computer.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use platform::usb::UsbId;
use serde::{Deserialize, Serialize};

/// The file's name.
pub const NOTES_FILE: &str = "perch-notes.toml";

/// Largest file that is read, bytes; a full one has about 300.
pub const NOTES_BYTES_MAX: u64 = 16 * 1024;

/// Bridges that are remembered: more than a box ever meets; the oldest is forgotten.
const BRIDGES_MAX: usize = 8;

/// What stands in the file.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Notes {
    /// The secret that was used; the same one in `perch.toml` counts no more.
    used_secret: Option<String>,
    /// USB bridges that lost commands on the fast way (UAS).
    failing_bridges: Vec<UsbId>,
}

/// Writes a file durably and whole.
pub type Write = Box<dyn Fn(&Path, &[u8]) -> io::Result<()> + Send>;

/// The notes; all clones are one.
#[derive(Clone)]
pub struct NoteBook(Arc<Mutex<Book>>);

struct Book {
    path: PathBuf,
    notes: Notes,
    write: Write,
}

impl std::fmt::Debug for NoteBook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NoteBook")
    }
}

impl NoteBook {
    /// Takes the file's text as it was read, if there is one; what is no such file counts as none.
    #[must_use]
    pub fn new(path: PathBuf, text: Option<&str>, write: Write) -> Self {
        let notes = text.map(toml::from_str).transpose().unwrap_or_else(|_| {
            tracing::warn!("{} does not read; what it said is forgotten", path.display());
            None
        });
        Self(Arc::new(Mutex::new(Book { path, notes: notes.unwrap_or_default(), write })))
    }

    /// Tells whether this secret was used before.
    #[must_use]
    pub fn is_used(&self, secret: &str) -> bool {
        self.lock().notes.used_secret.as_deref() == Some(secret)
    }

    /// Remembers that this secret was used.
    pub fn note_used(&self, secret: &str) {
        self.change(|notes| notes.used_secret = Some(secret.to_owned()));
    }

    /// Tells whether this bridge lost commands before.
    #[must_use]
    pub fn is_failing(&self, bridge: UsbId) -> bool {
        self.lock().notes.failing_bridges.contains(&bridge)
    }

    /// Remembers that this bridge lost commands.
    pub fn note_failing(&self, bridge: UsbId) {
        if self.is_failing(bridge) {
            return;
        }
        self.change(|notes| {
            notes.failing_bridges.push(bridge);
            let surplus = notes.failing_bridges.len().saturating_sub(BRIDGES_MAX);
            notes.failing_bridges.drain(..surplus);
        });
    }

    /// What cannot be written is known until the restart, and said.
    fn change(&self, change: impl FnOnce(&mut Notes)) {
        let mut book = self.lock();
        change(&mut book.notes);
        let text = toml::to_string(&book.notes).unwrap_or_default();
        let text = format!("# Perch's own notes. Removing this file makes the box forget them.\n{text}");
        if let Err(error) = (book.write)(&book.path, text.as_bytes()) {
            tracing::error!(%error, "{} is not written: the box will have forgotten it at its next start", book.path.display());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &Path) -> NoteBook {
        let text = std::fs::read_to_string(path).ok();
        NoteBook::new(path.to_owned(), text.as_deref(), Box::new(|path, bytes| std::fs::write(path, bytes)))
    }

    #[test]
    fn a_used_secret_and_a_caught_bridge_are_known_at_the_next_start() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NOTES_FILE);
        let notes = open(&path);
        let bridge = |product| UsbId { vendor: 0x152d, product };
        assert!(!notes.is_used("correct horse") && !notes.is_failing(bridge(1)));
        notes.note_used("correct horse");
        (0..10).for_each(|product| notes.note_failing(bridge(product)));
        let again = open(&path);
        assert!(again.is_used("correct horse") && !again.is_used("a new secret"));
        assert!(again.is_failing(bridge(9)) && !again.is_failing(bridge(1)), "the oldest is forgotten");
        std::fs::write(&path, "[half").unwrap();
        assert!(!open(&path).is_used("correct horse"));
    }
}
