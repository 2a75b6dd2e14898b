//! Small JSON files that are replaced whole, and read with a limit.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Largest file that is read or written, bytes.
///
/// 64 KiB: a status with its sources takes 2 KiB. A reader with more rights than the writer must not be made to
/// hold what the writer likes.
pub const FILE_BYTES_MAX: u64 = 64 * 1024;

/// Why a file could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The value has no JSON form, or a too long one.
    #[error("cannot put {} into JSON of at most {FILE_BYTES_MAX} bytes", path.display())]
    Encode {
        /// The file.
        path: PathBuf,
        /// The cause, when it is not the length.
        #[source]
        source: Option<serde_json::Error>,
    },
    /// The new content could not be written beside the old.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The file exists and cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The file is longer than any that we write.
    #[error("{} is longer than {FILE_BYTES_MAX} bytes", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// The file does not hold what is expected there.
    #[error("{} does not hold the expected JSON", path.display())]
    Decode {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: serde_json::Error,
    },
}

/// Replaces a file by the JSON of a value: a temporary file beside it, then rename.
///
/// It is not fsynced: these files live on tmpfs and mean nothing after a restart. One writer per file is assumed.
///
/// # Errors
/// [`FileError::Encode`] or [`FileError::Write`]; the old content then stays.
pub fn replace(path: &Path, value: &impl Serialize) -> Result<(), FileError> {
    let bytes = serde_json::to_vec(value)
        .map_err(|source| FileError::Encode { path: path.to_owned(), source: Some(source) })?;
    if u64::try_from(bytes.len()).is_ok_and(|len| len > FILE_BYTES_MAX) {
        return Err(FileError::Encode { path: path.to_owned(), source: None });
    }
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = PathBuf::from(temporary);
    let write = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&temporary)?;
        file.write_all(&bytes)?;
        drop(file);
        std::fs::rename(&temporary, path)
    };
    write().map_err(|source| FileError::Write { path: path.to_owned(), source })
}

/// Reads the value of a file; `None` when there is no such file.
///
/// # Errors
/// [`FileError::Read`], [`FileError::TooLong`] or [`FileError::Decode`].
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, FileError> {
    let mut bytes = Vec::new();
    let fill = |bytes: &mut Vec<u8>| File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(bytes);
    match fill(&mut bytes) {
        Ok(len) if u64::try_from(len).is_ok_and(|len| len <= FILE_BYTES_MAX) => {}
        Ok(_) => return Err(FileError::TooLong { path: path.to_owned() }),
        Err(source) if source.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(FileError::Read { path: path.to_owned(), source }),
    }
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|source| FileError::Decode { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_replaced_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("status.json");
        assert!(read::<Vec<u32>>(&path).unwrap().is_none());
        replace(&path, &vec![1, 2, 3]).unwrap();
        replace(&path, &vec![4]).unwrap();
        assert_eq!(read::<Vec<u32>>(&path).unwrap(), Some(vec![4]));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file stays");
    }

    #[test]
    fn a_long_file_is_neither_written_nor_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("status.json");
        let long = "x".repeat(usize::try_from(FILE_BYTES_MAX).unwrap());
        assert!(matches!(replace(&path, &long), Err(FileError::Encode { source: None, .. })));
        std::fs::write(&path, serde_json::to_vec(&long).unwrap()).unwrap();
        assert!(matches!(read::<String>(&path), Err(FileError::TooLong { .. })));
    }

    #[test]
    fn a_torn_file_is_an_error_and_not_a_value() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("status.json");
        std::fs::write(&path, b"[1, 2").unwrap();
        assert!(matches!(read::<Vec<u32>>(&path), Err(FileError::Decode { .. })));
    }
}
