//! What a disk shows after a power cut, and how it becomes real files.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A file system in memory on most systems; states are written there so that the real disk is spared.
const IN_MEMORY: &str = "/dev/shm";

/// Makes a temporary folder of real files, in memory when the system has such a place.
///
/// # Errors
/// When the system fails.
pub fn scratch() -> io::Result<tempfile::TempDir> {
    tempfile::tempdir_in(IN_MEMORY).or_else(|_| tempfile::tempdir())
}

/// Folders and files by their paths below the root of the disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// Folders, parents first.
    pub dirs: BTreeSet<PathBuf>,
    /// Files with their content.
    pub files: BTreeMap<PathBuf, Arc<Vec<u8>>>,
    /// Choices that the cut had: sectors, lengths and names not yet durable.
    pub open_choices: usize,
    /// How many of these did not, or not wholly, reach the disk.
    pub dropped: usize,
}

impl Image {
    /// Gives a number that two images share only if they show the same.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.dirs.hash(&mut hasher);
        self.files.hash(&mut hasher);
        hasher.finish()
    }

    /// Writes everything below a real folder, for its owner only. Nothing is synced.
    ///
    /// # Errors
    /// When the system fails.
    pub fn write_to(&self, target: &Path) -> io::Result<()> {
        for dir in &self.dirs {
            std::fs::DirBuilder::new().mode(0o700).recursive(true).create(target.join(dir))?;
        }
        for (path, content) in &self.files {
            let mut options = std::fs::OpenOptions::new();
            let mut file = options.write(true).create_new(true).mode(0o600).open(target.join(path))?;
            match u64::try_from(content.len()) {
                // A long file of zeros takes no room and no time.
                Ok(len) if content.iter().all(|byte| *byte == 0) => file.set_len(len)?,
                _ => file.write_all(content)?,
            }
        }
        Ok(())
    }
}
