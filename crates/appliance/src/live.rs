//! What the screen shows and why, as a file for the panel and `perchctl`.

use std::path::{Path, PathBuf};

use control::Status;
use control::file::{self, FileError};
use control::status::Stamped;
use platform::screen::{FRAME_BYTES, Frame};
use platform::time::BootId;
use serde::{Deserialize, Serialize};

use crate::front::Live;

/// Names the file on a command line.
#[derive(Clone, Debug, clap::Args)]
pub struct LiveFile {
    /// The file that the box's supervisor writes.
    #[arg(
        long = "live",
        value_name = "FILE",
        default_value = "/run/perch/appliance/live.json",
        global = true
    )]
    pub path: PathBuf,
}

/// The file's form: the status, and the picture as hexadecimal digits.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Written {
    status: Status,
    frame: String,
}

/// Replaces the file.
///
/// # Errors
/// When it cannot be written; readers then say after 15 s that nobody answers.
pub fn write(path: &Path, live: &Live, boot_id: BootId, boottime_ns: u64) -> Result<(), FileError> {
    let frame = live.frame.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let status = Written { status: live.status.clone(), frame };
    file::replace(path, &Stamped { boot_id, boottime_ns, status })
}

/// Reads the file; `None` when there is none.
///
/// # Errors
/// When it is no such file.
pub fn read(path: &Path) -> Result<Option<Stamped<Live>>, FileError> {
    let stamped: Option<Stamped<Written>> = file::read(path)?;
    Ok(stamped.map(|stamped| {
        let Written { status, frame } = stamped.status;
        let live = Live { status, frame: frame_of(&frame) };
        Stamped { boot_id: stamped.boot_id, boottime_ns: stamped.boottime_ns, status: live }
    }))
}

/// A picture that is no picture is dark.
fn frame_of(digits: &str) -> Frame {
    let mut bytes = [0_u8; FRAME_BYTES];
    for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks(2)) {
        *byte =
            std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok()).unwrap_or(0);
    }
    Frame::from_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::screen::{Page, draw};

    #[test]
    fn status_and_picture_arrive_as_they_were() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("live.json");
        assert!(read(&path).unwrap().is_none());
        let mut status = Status::default();
        status.system.hostname = "perch".to_owned();
        let live = Live { frame: draw(Page::Home, &status), status };
        write(&path, &live, BootId::from_bytes([1; 16]), 7).unwrap();
        let seen = read(&path).unwrap().unwrap();
        assert_eq!((seen.boottime_ns, seen.status.status), (7, live.status));
        assert_eq!(seen.status.frame, live.frame);
        assert_eq!(frame_of("zz"), Frame::new());
    }
}
