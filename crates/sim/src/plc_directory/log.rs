//! The directory's file: one JSON line per accepted operation, appended and synced before anyone hears of it.
//!
//! A power cut can leave the last line torn; it was never acknowledged, so it is cut off at the next start. A damaged
//! line anywhere else means that the file was edited or the disk fails, and is refused.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The longest line: an operation of 4,000 bytes of DAG-CBOR is at most a few times that in JSON.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// The file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Opening, reading, writing or syncing failed.
    #[error("{path}: {what} failed", path = .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Which step.
        what: &'static str,
        /// The system's reason.
        source: io::Error,
    },
    /// A line other than the last is damaged.
    #[error("{path}: line {line} is damaged; restore the file from a backup", path = .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
}

/// The open file, positioned at its end.
#[derive(Debug)]
pub(crate) struct Log {
    path: PathBuf,
    file: File,
    /// The length of what is complete and synced.
    end: u64,
    /// A failed append may have left anything behind `end`; it is cut before the next one.
    torn: bool,
}

impl Log {
    /// Opens or makes the file, repairs a torn last line, and hands every line to `each` in order.
    ///
    /// `each` answers whether the line makes sense; if not, it is damaged.
    pub(crate) fn open<Line: DeserializeOwned>(
        path: &Path,
        mut each: impl FnMut(Line) -> bool,
    ) -> Result<Self, LogError> {
        let failed = |what| move |source| LogError::Io { path: path.to_owned(), what, source };
        let fresh = !path.exists();
        let file =
            OpenOptions::new().read(true).append(true).create(true).open(path).map_err(failed("opening"))?;
        if fresh {
            sync_folder(path).map_err(failed("syncing the folder"))?;
        }
        let mut log = Self { path: path.to_owned(), file, end: 0, torn: false };
        let mut reader = BufReader::new(log.file.try_clone().map_err(failed("opening"))?);
        let mut bytes = Vec::new();
        for number in 1.. {
            bytes.clear();
            let length = reader.read_until(b'\n', &mut bytes).map_err(failed("reading"))?;
            if length == 0 {
                break;
            }
            if bytes.last() != Some(&b'\n') {
                log.torn = true;
                break;
            }
            let line = Some(&bytes).filter(|bytes| bytes.len() <= LINE_BYTES_MAX);
            let line = line.and_then(|bytes| serde_json::from_slice::<Line>(bytes).ok());
            if !line.is_some_and(&mut each) {
                // A sector that never reached the disk reads as zeros, and its neighbour may have: the end of the file
                // decides whether this was the last line.
                let last = reader.fill_buf().map_err(failed("reading"))?.is_empty();
                if last {
                    log.torn = true;
                    break;
                }
                return Err(LogError::Damaged { path: path.to_owned(), line: number });
            }
            log.end += u64::try_from(length).unwrap_or(0);
        }
        log.repair()?;
        Ok(log)
    }

    /// Appends one line; when this returns, it is on stable storage.
    pub(crate) fn append(&mut self, line: &impl Serialize) -> Result<(), LogError> {
        self.repair()?;
        let mut bytes = serde_json::to_vec(line).map_err(|error| self.failed("encoding", error.into()))?;
        bytes.push(b'\n');
        self.torn = true;
        self.file.write_all(&bytes).map_err(|source| self.failed("writing", source))?;
        self.file.sync_data().map_err(|source| self.failed("syncing", source))?;
        self.torn = false;
        self.end += u64::try_from(bytes.len()).unwrap_or(0);
        Ok(())
    }

    fn repair(&mut self) -> Result<(), LogError> {
        if self.torn {
            self.file.set_len(self.end).map_err(|source| self.failed("cutting", source))?;
            self.file.sync_all().map_err(|source| self.failed("syncing", source))?;
            self.file.seek(SeekFrom::Start(self.end)).map_err(|source| self.failed("seeking", source))?;
            self.torn = false;
        }
        Ok(())
    }

    fn failed(&self, what: &'static str, source: io::Error) -> LogError {
        LogError::Io { path: self.path.clone(), what, source }
    }
}

/// Makes the name of a new file durable.
fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(word: &str) -> String {
        format!("the line of {word}")
    }

    fn open(path: &Path) -> Log {
        Log::open(path, |_: String| true).unwrap()
    }

    fn words(path: &Path) -> Result<Vec<String>, LogError> {
        let mut seen = Vec::new();
        Log::open(path, |line: String| {
            seen.extend(line.split(' ').next_back().map(str::to_owned));
            true
        })?;
        Ok(seen)
    }

    #[test]
    fn lines_survive_reopening() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plc.jsonl");
        let mut log = open(&path);
        log.append(&line("one")).unwrap();
        log.append(&line("two")).unwrap();
        assert_eq!(words(&path).unwrap(), ["one", "two"]);
    }

    #[test]
    fn a_torn_last_line_is_cut_at_every_length() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plc.jsonl");
        let mut log = open(&path);
        log.append(&line("one")).unwrap();
        let whole = std::fs::metadata(&path).unwrap().len();
        log.append(&line("two")).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        for cut in usize::try_from(whole).unwrap() + 1..bytes.len() {
            std::fs::write(&path, &bytes[..cut]).unwrap();
            assert_eq!(words(&path).unwrap(), ["one"], "cut at {cut}");
            assert_eq!(std::fs::metadata(&path).unwrap().len(), whole);
        }
        let mut log = open(&path);
        log.append(&line("three")).unwrap();
        assert_eq!(words(&path).unwrap(), ["one", "three"]);
    }

    #[test]
    fn a_last_line_of_zeros_is_cut() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plc.jsonl");
        open(&path).append(&line("one")).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.extend([0; 40]);
        bytes.push(b'\n');
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(words(&path).unwrap(), ["one"]);
    }

    #[test]
    fn a_damaged_line_in_the_middle_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plc.jsonl");
        let mut log = open(&path);
        log.append(&line("one")).unwrap();
        log.append(&line("two")).unwrap();
        let text = std::fs::read_to_string(&path).unwrap().replacen("one", "o\"e", 1);
        std::fs::write(&path, text).unwrap();
        assert!(matches!(words(&path), Err(LogError::Damaged { line: 1, .. })));
    }
}
