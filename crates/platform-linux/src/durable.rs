//! Replaces a file so that a power cut leaves the old one or the new one, and never half of either.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// Writes the content beside the file, makes it durable, and then gives it the name, durably.
///
/// # Errors
/// When any step fails; the file is then the old one or, if only the last sync failed, either of the two after a cut.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let mut file = File::create(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
}
