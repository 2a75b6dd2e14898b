//! What a program says about its own sandbox: one small file, written once after it shut itself in.
//!
//! The file is opened before and written after, since a program may not be able to open it then. While it is empty the
//! program has not shut itself in (yet).

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use platform::confine::Gap;
use platform::time::BootId;
use serde::{Deserialize, Serialize};

/// The file's name in a program's folder of `/run/perch`.
pub const FILE: &str = "sandbox.json";

/// Largest such file that is read, bytes: a gap is a line, and there are six kinds.
const FILE_BYTES_MAX: u64 = 4096;

/// What is in the file.
#[derive(Debug, Serialize, Deserialize)]
struct Said {
    boot_id: BootId,
    gaps: Vec<Gap>,
}

/// Tells the log and the supervisor how far a program is shut in.
#[derive(Debug)]
pub struct SandboxReport(Option<File>);

impl SandboxReport {
    /// Opens the file in the program's folder and empties it; without a folder only the log is told.
    #[must_use]
    pub fn open(folder: Option<&Path>) -> Self {
        let Some(folder) = folder else { return Self(None) };
        let opened = File::create(folder.join(FILE));
        Self(opened.inspect_err(|error| tracing::warn!(%error, "the sandbox is not told of")).ok())
    }

    /// Says what is not enforced; nothing, when all is.
    pub fn say(self, boot_id: BootId, gaps: &[Gap]) {
        if gaps.is_empty() {
            tracing::info!("shut in: files, ports and system calls are limited to what this program needs");
        }
        for gap in gaps {
            tracing::warn!("not shut in everywhere: {gap}");
        }
        let Some(mut file) = self.0 else { return };
        let said = Said { boot_id, gaps: gaps.to_vec() };
        let written = serde_json::to_vec(&said).map_err(Into::into).and_then(|text| file.write_all(&text));
        if let Err(error) = written {
            let error: std::io::Error = error;
            tracing::warn!(%error, "the sandbox is not told of");
        }
    }
}

/// Reads what the program of this folder said since the machine started; `None` when it has not shut itself in.
#[must_use]
pub fn read(folder: &Path, boot_id: BootId) -> Option<Vec<Gap>> {
    let mut text = String::new();
    File::open(folder.join(FILE)).ok()?.take(FILE_BYTES_MAX).read_to_string(&mut text).ok()?;
    let said: Said = serde_json::from_str(&text).ok()?;
    (said.boot_id == boot_id).then_some(said.gaps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_has_said_nothing_until_it_is_shut_in_and_nothing_of_an_earlier_start_counts() {
        let folder = tempfile::tempdir().unwrap();
        let (boot, other) = (BootId::from_bytes([1; 16]), BootId::from_bytes([2; 16]));
        assert_eq!(read(folder.path(), boot), None);
        let gaps = Gap::switched_off();
        SandboxReport::open(Some(folder.path())).say(boot, &gaps);
        assert_eq!(read(folder.path(), boot), Some(gaps));
        assert_eq!(read(folder.path(), other), None);
        let started_again = SandboxReport::open(Some(folder.path()));
        assert_eq!(read(folder.path(), boot), None);
        started_again.say(boot, &[]);
        assert_eq!(read(folder.path(), boot), Some(Vec::new()));
    }
}
