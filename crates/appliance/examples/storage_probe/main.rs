//! `storage_probe HOST:PORT CARD [SSD]`: the storage part on these disks, for the power-cut test in the test machine.
//!
//! It says yes to everything and ends when the data lives on the last of the disks. In place of the PDS it keeps files, and
//! tells whoever listens at the port of each when it is synced, in one line that is answered before it goes on:
//! `kept PATH BYTES VALUE` for a file of so many bytes of that value, `stopped` when the writers have ended.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::ExitCode;

use appliance::storage::{Attended, Config, Limits, Writers};
use control::placement::{Placement, PlacementStatus};
use platform::DiskKind;
use platform_linux::LinuxVolumes;

/// Smallest SSD that is taken, and room that must stay free on it, bytes: the disks of the test are small.
const TARGET_BYTES_MIN: u64 = 32 * 1024 * 1024;
const FREE_BYTES_MIN: u64 = 1024 * 1024;

/// Files that a box has before its data moves, bytes: some of several writes, an empty one, many small ones.
const FIRST_FILES: [usize; 12] =
    [3_000_000, 0, 70_000, 10_000, 9_999, 4_096, 512, 1, 300_000, 20_000, 20_001, 5];

/// A file that is written whenever the data has come alive, bytes.
const LATER_BYTES: usize = 6_000;

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            drop(writeln!(io::stderr(), "error: {error}"));
            ExitCode::from(2)
        }
    }
}

fn run() -> io::Result<bool> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (host, card, ssd) = match words.as_slice() {
        [host, card] => (host, card, None),
        [host, card, ssd] => (host, card, Some(ssd)),
        _ => return Err(io::Error::other("usage: storage_probe HOST:PORT CARD [SSD]")),
    };
    let volumes = LinuxVolumes::new(Path::new("/data"), Path::new("/run/storage"));
    let mut volumes = volumes.only(card, DiskKind::Sd, true);
    if let Some(ssd) = ssd {
        volumes = volumes.only(ssd, DiskKind::UsbSsd, false);
    }
    let wanted = if ssd.is_some() { DiskKind::UsbSsd } else { DiskKind::Sd };
    let attended = Attended {
        volumes: Box::new(volumes),
        writers: Box::new(Keeper { host: TcpStream::connect(host)? }),
        says_yes: true,
        config: Config {
            limits: Limits { target_bytes_min: TARGET_BYTES_MIN, target_free_bytes_min: FREE_BYTES_MIN },
        },
    };
    let is_wanted = move |status: &PlacementStatus| match &status.data {
        Placement::Live { disk } => disk.starts_with(wanted.label()),
        Placement::Held { .. } => status.question.is_none(),
        Placement::Starting | Placement::Moving { .. } => false,
    };
    let last = attended.run_until(is_wanted);
    writeln!(io::stdout(), "{last:?}")?;
    Ok(matches!(last.data, Placement::Live { .. }))
}

/// Keeps files where the PDS would.
#[derive(Debug)]
struct Keeper {
    host: TcpStream,
}

impl Keeper {
    fn tell(&mut self, line: &str) -> io::Result<()> {
        writeln!(self.host, "{line}")?;
        BufReader::new(&self.host).read_line(&mut String::new()).map(drop)
    }

    fn keep(&mut self, folder: &Path) -> io::Result<()> {
        let pds = folder.join("pds");
        let known = if pds.is_dir() { fs::read_dir(&pds)?.count() } else { 0 };
        let sizes: &[usize] = if known == 0 { &FIRST_FILES } else { &[LATER_BYTES] };
        fs::create_dir_all(&pds)?;
        File::open(folder)?.sync_all()?;
        for (number, bytes) in (known..).zip(sizes) {
            let value = u8::try_from(number % 250 + 1).unwrap_or(1);
            let mut file = File::create(pds.join(format!("{number}")))?;
            file.write_all(&vec![value; *bytes])?;
            file.sync_all()?;
            File::open(&pds)?.sync_all()?;
            self.tell(&format!("kept pds/{number} {bytes} {value}"))?;
        }
        Ok(())
    }
}

impl Writers for Keeper {
    fn allow(&mut self, folder: &Path) {
        if let Err(error) = self.keep(folder) {
            drop(writeln!(io::stderr(), "error: {error}"));
            // What was not told is nobody's promise; the test misses it and says so.
        }
    }

    fn stop(&mut self, _torn_off: bool) {
        drop(self.tell("stopped"));
    }

    fn stopped(&mut self) -> bool {
        true
    }
}
