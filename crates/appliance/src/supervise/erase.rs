//! Erasing everything, so that a cut in the middle is finished at the next start.
//!
//! The mark is durable before anything is erased and goes last: half an account is never started from. What stays is the
//! file that says which disk the data lives on: without it a box whose data moved would wait for it for ever.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use platform::volumes::IDENTITY_FILE;

/// The mark in the data folder: everything beside it is to be erased.
const MARK: &str = "erase-everything";

/// Makes the wish durable.
///
/// # Errors
/// When the data folder does not take it; nothing will then be erased.
pub fn mark(data: &Path) -> io::Result<()> {
    File::create(data.join(MARK))?.sync_all()?;
    File::open(data)?.sync_all()
}

/// Erases everything if that was wished. Tells whether it was.
///
/// # Errors
/// When something stays; the mark then stays as well, and the PDS must not be started.
pub fn finish(data: &Path) -> io::Result<bool> {
    if !data.join(MARK).exists() {
        return Ok(false);
    }
    for entry in fs::read_dir(data)? {
        let entry = entry?;
        match entry.file_name() {
            name if name == MARK || name == IDENTITY_FILE || name == "lost+found" => {}
            _ if entry.file_type()?.is_dir() => fs::remove_dir_all(entry.path())?,
            _ => fs::remove_file(entry.path())?,
        }
    }
    File::open(data)?.sync_all()?;
    fs::remove_file(data.join(MARK))?;
    File::open(data)?.sync_all()?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_goes_only_when_marked_and_a_cut_in_the_middle_is_finished() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path();
        let fill = || {
            fs::create_dir_all(data.join("pds/blobs")).unwrap();
            fs::write(data.join("pds/blobs/x"), "x").unwrap();
            fs::write(data.join("note"), "x").unwrap();
            fs::write(data.join(IDENTITY_FILE), "x").unwrap();
        };
        fill();
        assert!(!finish(data).unwrap());
        assert!(data.join("pds/blobs/x").exists());
        mark(data).unwrap();
        // The cut: some of it is gone already.
        fs::remove_file(data.join("note")).unwrap();
        assert!(finish(data).unwrap());
        assert_eq!(fs::read_dir(data).unwrap().count(), 1);
        assert!(data.join(IDENTITY_FILE).exists(), "the box still knows its disk");
        fill();
        assert!(!finish(data).unwrap(), "once");
    }
}
