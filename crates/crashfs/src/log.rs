//! What happens to a disk, as one ordered list.

use std::path::PathBuf;
use std::sync::Arc;

/// Names a file or folder of one disk for ever, whatever it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ino(pub(crate) usize);

/// A name in a folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    /// The folder.
    pub dir: Ino,
    /// Its last part.
    pub name: String,
}

/// One thing that happened.
#[derive(Clone, Debug)]
pub enum Op {
    /// Bytes were written into a file; it may have grown.
    Write {
        /// The file.
        file: Ino,
        /// Where, bytes from the start.
        offset: usize,
        /// What.
        bytes: Arc<[u8]>,
    },
    /// A file was cut, or extended with zeros.
    Truncate {
        /// The file.
        file: Ino,
        /// Its new length, bytes.
        len: usize,
    },
    /// Content and length of a file became durable.
    Sync {
        /// The file.
        file: Ino,
    },
    /// A new, empty file or folder got its name.
    Link {
        /// Its name.
        at: Name,
        /// What was made.
        node: Ino,
        /// Whether it is a folder.
        is_dir: bool,
    },
    /// A name was removed.
    Unlink {
        /// The name.
        at: Name,
        /// What it named.
        node: Ino,
    },
    /// A name was changed, and what had the new name before lost it.
    Rename {
        /// The old name.
        from: Name,
        /// The new name.
        to: Name,
        /// What is renamed.
        node: Ino,
        /// What had the new name.
        replaced: Option<Ino>,
    },
    /// The names in a folder became durable.
    SyncDir {
        /// The folder.
        dir: Ino,
    },
    /// Somebody was told that something is safe.
    Ack {
        /// What, for the reader of a report.
        what: String,
    },
}

/// Everything that happened to a disk, for [`crate::Replay`].
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// In order.
    pub ops: Vec<Op>,
    /// Where the disk was mounted: names in images are relative to it.
    pub root: PathBuf,
}
