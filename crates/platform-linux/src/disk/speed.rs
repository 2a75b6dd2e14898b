//! Measures how fast a disk makes small writes durable.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use platform::DeviceError;
use platform::disk::speed::{SpeedTest, WriteSpeed};

/// The file that is written and removed.
const FILE: &str = ".perch-speed-test";
/// Its size, bytes: larger than the eraser block of most cards (4 MiB), so that writes do not all meet one.
const FILE_BYTES: u64 = 5 * 1024 * 1024;
/// Size of each write, bytes.
const WRITE_BYTES: u64 = 4096;
/// Writes, at most: enough for a median, 800 KiB in all.
const WRITES_MAX: u32 = 200;
/// When measuring ends, however few writes were done: a card at 1 write a second is judged by ten.
const TIME_MAX: Duration = Duration::from_secs(10);

/// Measures by writing 4 KiB pieces at scattered places of a file, each with fdatasync.
#[derive(Clone, Copy, Debug, Default)]
pub struct LinuxSpeedTest;

/// Removes the file whatever happens.
#[derive(Debug)]
struct Removed(PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        // What cannot be removed stays: 5 MiB, taken over by the next measurement.
        drop(std::fs::remove_file(&self.0));
    }
}

fn measure(folder: &Path) -> std::io::Result<Option<WriteSpeed>> {
    let path = Removed(folder.join(FILE));
    let mut file = File::options().create(true).truncate(true).write(true).open(&path.0)?;
    let block = vec![0x5A; 64 * 1024];
    for _ in 0..FILE_BYTES / block.len() as u64 {
        file.write_all(&block)?;
    }
    file.sync_all()?;
    let piece = vec![0xA5; usize::try_from(WRITE_BYTES).unwrap_or(0)];
    let start = Instant::now();
    let mut each_us = Vec::new();
    for number in 0..WRITES_MAX {
        if start.elapsed() >= TIME_MAX {
            break;
        }
        // Steps by a number without common factors with the count of places: every place once, never in order.
        let place = u64::from(number) * 467 % (FILE_BYTES / WRITE_BYTES);
        let before = Instant::now();
        file.write_all_at(&piece, place * WRITE_BYTES)?;
        file.sync_data()?;
        each_us.push(u32::try_from(before.elapsed().as_micros()).unwrap_or(u32::MAX));
    }
    Ok(WriteSpeed::of(each_us))
}

impl SpeedTest for LinuxSpeedTest {
    fn measure(&self, folder: &Path) -> Result<WriteSpeed, DeviceError> {
        let failed = |error| DeviceError::new("data disk", "measure its speed", error);
        measure(folder)
            .and_then(|speed| speed.ok_or_else(|| std::io::Error::from(std::io::ErrorKind::TimedOut)))
            .map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_measured_and_left_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let speed = LinuxSpeedTest.measure(dir.path()).unwrap();
        assert!(speed.writes > 0 && speed.worst_us >= speed.median_us);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        assert!(LinuxSpeedTest.measure(&dir.path().join("absent")).is_err());
    }
}
