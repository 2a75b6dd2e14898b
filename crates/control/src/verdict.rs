//! The guard's word as a file.

use std::path::{Path, PathBuf};

use platform::time::{Verdict, VerdictSource};
use serde::{Deserialize, Serialize};

use crate::file::{self, FileError};

/// What the guard last said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Word {
    /// The time, how good it is, and until when.
    Trusted(Verdict),
    /// No time is vouched for.
    Refused {
        /// Why, and what to do.
        why: String,
    },
}

/// Replaces the guard's word.
///
/// # Errors
/// When it cannot be written; readers then stop trusting after 30 s.
pub fn publish(path: &Path, word: &Word) -> Result<(), FileError> {
    file::replace(path, word)
}

/// Reads the verdict of a guard in another process, at each question.
///
/// A question costs one open and read of a tmpfs file; a cache would have to know when the file changes, and an
/// old verdict is the one thing that must not be used.
#[derive(Clone, Debug)]
pub struct VerdictFile {
    path: PathBuf,
}

impl VerdictFile {
    /// Names the file; it need not exist yet.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }
}

impl VerdictSource for VerdictFile {
    fn verdict(&self) -> Option<Verdict> {
        match file::read(&self.path) {
            Ok(Some(Word::Trusted(verdict))) => Some(verdict),
            Ok(Some(Word::Refused { .. }) | None) | Err(_) => None,
        }
    }

    fn refusal(&self) -> Option<String> {
        match file::read(&self.path) {
            Ok(Some(Word::Refused { why })) => Some(why),
            Ok(Some(Word::Trusted(_)) | None) => None,
            Err(error) => Some(format!("the time guard's word cannot be read: {error}; restart the box")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use platform::Clock;
    use platform::sim::trusted_clock;

    use super::*;

    #[test]
    fn a_clock_follows_the_word_in_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("verdict.json");
        let (_, sim) = trusted_clock(1_795_401_296_789_000);
        let clock = Clock::new(sim.clone(), Arc::new(VerdictFile::new(path.clone())));
        assert!(clock.now().unwrap_err().to_string().contains("not been checked yet"));

        publish(&path, &Word::Trusted(sim.verdict().unwrap())).unwrap();
        assert_eq!(clock.now().unwrap().unix_micros(), 1_795_401_296_789_000);

        publish(&path, &Word::Refused { why: "two of four disagree".to_owned() }).unwrap();
        assert_eq!(clock.now().unwrap_err().to_string(), "two of four disagree");

        std::fs::write(&path, b"{\"trusted\":").unwrap();
        assert!(clock.now().unwrap_err().to_string().contains("cannot be read"));
    }

    #[test]
    fn a_word_of_an_unknown_kind_is_not_trusted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("verdict.json");
        std::fs::write(&path, b"{\"always-trusted\":true}").unwrap();
        assert!(VerdictFile::new(path).verdict().is_none());
    }
}
