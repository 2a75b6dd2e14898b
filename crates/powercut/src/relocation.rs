//! The move of the data from a card to an SSD, with the power cut on both at the same moment.
//!
//! The storage part moves files in the machine, on two disks of one log. After each cut it is started on the host, on loop
//! devices that show the two disks, once without the SSD and then with it. The box's own hands are handed in, so that this
//! names no device.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use appliance::storage::{Attended, Config, CopyState, Identity, Limits, Writers};
use control::placement::{Placement, PlacementStatus};
use platform::DiskKind;
use platform::volumes::{Holds, Volumes};
use tempfile::TempDir;
use testbed::block::{Entry, Log, Recorder, serve};
use testbed::{Attach, Disk, HOST_IN_GUEST, Machine, Setup};

use crate::guest::NETWORK_UP;
use crate::judge::{Examiner, Finding, Judging, Report, judge};
use crate::medium::{program, run};

/// Size of each disk, bytes: over 128 MiB, so that an ext4 has a second superblock.
const DISK_BYTES: u64 = 256 * 1024 * 1024;

/// Smallest SSD that is taken, and room that must stay free on it, bytes: the disks of the test are small.
const TARGET_BYTES_MIN: u64 = 32 * 1024 * 1024;
const FREE_BYTES_MIN: u64 = 1024 * 1024;

/// How long a start or a move may take in the emulated machine beside others.
const STEP_LIMIT: Duration = Duration::from_secs(240);

/// The program that does it in the guest.
const PROBE: &str = "/usr/bin/storage_probe";

/// Numbers of the disks in the log.
const CARD: usize = 0;
const SSD: usize = 1;

/// What is wrong with one of the disks, on purpose, from the end of the writers on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The card answers flushes and does none: it may forget that the copy took over from it.
    CardLosesFlushes,
    /// The SSD does: the copy may be verified and not there.
    SsdLosesFlushes,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::CardLosesFlushes, Self::SsdLosesFlushes];
}

/// Makes the box's hands for a folder of the data, one for other mounts, and stand-ins for disks: name, kind, whether the
/// box was started from it.
pub type Hands = fn(&Path, &Path, &[(&str, DiskKind, bool)]) -> Box<dyn Volumes>;

/// A move that was recorded.
#[derive(Debug)]
pub struct Relocation {
    log: Log,
    /// Where the first files were there, and the first cut may be.
    from: usize,
    /// Where the writers had ended, and the copy began.
    stopped: usize,
}

/// Boots a machine with a card as it is flashed and an empty SSD, and lets the data move.
///
/// # Errors
/// When the machine does not come up or the data does not move.
pub fn record(programs: &Path) -> Result<Relocation> {
    let scratch = tempfile::tempdir().context("no room for the disks' logs")?;
    let (card, ssd) = (scratch.path().join("card"), scratch.path().join("ssd"));
    make_card(&card)?;
    let empty = std::fs::File::create(&ssd).and_then(|file| file.set_len(DISK_BYTES));
    empty.context("making a disk")?;
    let card = Arc::new(Recorder::new(&card, scratch.path())?);
    let ssd = Arc::new(card.beside(&ssd, scratch.path())?);
    let mut setup = Setup::new().network(&[]).ext4_programs()?.host_file(
        PROBE,
        0o755,
        programs.join("examples/storage_probe"),
    );
    let mut servers = Vec::new();
    for (name, disk) in [("card", &card), ("ssd", &ssd)] {
        let socket = scratch.path().join(format!("{name}.socket"));
        servers.push(serve(&socket, Arc::clone(disk))?);
        setup = setup.disk(Disk::nbd(name, &socket, Attach::Virtio));
    }
    let port = listen(&card)?;
    let machine = Machine::boot(&setup)?;
    machine.sh(NETWORK_UP)?;
    let step = |disks: &str| -> Result<usize> {
        let done = machine.run_within(&format!("{PROBE} {HOST_IN_GUEST}:{port} {disks}"), STEP_LIMIT)?;
        if done.code != 0 {
            bail!("storage_probe {disks}: {} {}", done.text(), done.error_text());
        }
        Ok(card.mark("a step has ended"))
    };
    let from = step("vda")?;
    step("vda vdb")?;
    machine.cut_power();
    for server in servers {
        server.join()?;
    }
    let log = card.finish()?;
    let is_stop = |entry: &Entry| matches!(entry, Entry::Mark(text) if text == "stopped");
    let stopped = log.entries.iter().skip(from).position(is_stop).context("the writers never ended")?;
    Ok(Relocation { log, from, stopped: from + stopped })
}

/// Puts a file in the place where the box asks the kernel to forget what it has read, in this process's own mounts: a
/// thousand moves must not empty the caches of the whole computer.
///
/// # Errors
/// When the file cannot be made or mounted.
pub fn spare_caches(file: &Path) -> Result<()> {
    std::fs::write(file, b"").with_context(|| format!("making {}", file.display()))?;
    let said = run(program("mount").arg("--bind").arg(file).arg("/proc/sys/vm/drop_caches"))?;
    if said.success { Ok(()) } else { bail!("mount --bind: {}", said.text) }
}

/// Makes a card as it is flashed: an MBR whose fourth partition, of 16 MiB, is for the data.
fn make_card(path: &Path) -> Result<()> {
    let mut table = vec![0_u8; 446 + 3 * 16];
    table.extend([0, 0, 0, 0, 0x83, 0, 0, 0]);
    table.extend(8_192_u32.to_le_bytes());
    table.extend(32_768_u32.to_le_bytes());
    table.extend([0x55, 0xaa]);
    std::fs::write(path, table).context("making a card")?;
    let file = std::fs::OpenOptions::new().write(true).open(path).context("making a card")?;
    file.set_len(DISK_BYTES).context("making a card")
}

/// Marks in the log whatever the guest tells, and answers it. Gives the port.
fn listen(disk: &Arc<Recorder>) -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port to listen at")?;
    let port = listener.local_addr().context("no port to listen at")?.port();
    let disk = Arc::clone(disk);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let Ok(mut out) = stream.try_clone() else { continue };
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                disk.mark(line);
                if out.write_all(b"ok\n").is_err() {
                    break;
                }
            }
        }
    });
    Ok(port)
}

/// A file that was promised: its path below the data, its bytes, and the value of each.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Kept {
    path: PathBuf,
    bytes: usize,
    value: u8,
}

impl Kept {
    /// Reads a mark such as `kept pds/3 4096 7`.
    fn parse(mark: &str) -> Option<Self> {
        let mut words = mark.strip_prefix("kept ")?.split(' ');
        let (path, bytes, value) = (words.next()?, words.next()?, words.next()?);
        Some(Self { path: path.into(), bytes: bytes.parse().ok()?, value: value.parse().ok()? })
    }

    fn is_in(&self, folder: &Path) -> bool {
        let content = std::fs::read(folder.join(&self.path));
        content.is_ok_and(|content| {
            content.len() == self.bytes && content.iter().all(|byte| *byte == self.value)
        })
    }
}

impl Relocation {
    /// Cuts the power on both disks at seeded places, and judges what each cut leaves.
    ///
    /// # Errors
    /// When the test's own work fails.
    pub fn judge(&self, how: Judging<'_>, hands: Hands, tell: impl FnMut(&Report)) -> Result<Report> {
        judge_log(&self.log, Judging { from: self.from, ..how }, hands, tell)
    }

    /// Judges as if a disk had been faulty.
    ///
    /// # Errors
    /// When the test's own work fails.
    pub fn judge_faulty(&self, fault: Fault, how: Judging<'_>, hands: Hands) -> Result<Report> {
        let disk = match fault {
            Fault::CardLosesFlushes => CARD,
            Fault::SsdLosesFlushes => SSD,
        };
        let log = self.log.with_lost_flushes(disk, self.stopped, usize::MAX)?;
        judge_log(&log, Judging { from: self.stopped, ..how }, hands, |_| {})
    }
}

fn judge_log(log: &Log, how: Judging<'_>, hands: Hands, tell: impl FnMut(&Report)) -> Result<Report> {
    judge(
        log,
        how,
        || Ok(Starter { log, hands, folder: crashfs::scratch().context("no place to mount at")? }),
        tell,
    )
}

/// Starts the storage part on what a cut left.
#[derive(Debug)]
struct Starter<'l> {
    log: &'l Log,
    hands: Hands,
    folder: TempDir,
}

impl Examiner for Starter<'_> {
    fn examine(&mut self, disks: &[PathBuf], position: usize) -> Result<Finding> {
        let promised: Vec<Kept> = self.log.entries.iter().take(position).filter_map(kept).collect();
        let attached = disks.iter().map(|disk| Loop::attach(disk)).collect::<Result<Vec<_>>>()?;
        let (Some(card), Some(ssd)) = (attached.get(CARD), attached.get(SSD)) else {
            bail!("a disk is missing")
        };
        let (card, ssd) = ((card.name(), DiskKind::Sd, true), (ssd.name(), DiskKind::UsbSsd, false));
        let mut wrong = Vec::new();
        let alone = self.start(&[card], false, promised.clone(), &mut wrong, "without the SSD");
        if !matches!(alone.data, Placement::Live { .. } | Placement::Held { .. }) {
            wrong.push(format!("without the SSD: {alone:?}"));
        }
        let both = self.start(&[card, ssd], false, promised.clone(), &mut wrong, "at the next start");
        if !matches!(both.data, Placement::Live { .. }) {
            wrong.push(format!("at the next start: {both:?}"));
        }
        self.one_lives(&[card, ssd], None, &mut wrong)?;
        if wrong.is_empty() {
            let moved =
                self.start(&[card, ssd], true, promised.clone(), &mut wrong, "after the move went on");
            if !is_on_ssd(&moved) {
                wrong.push(format!("the move does not go on: {moved:?}"));
            }
            self.one_lives(&[card, ssd], Some(2), &mut wrong)?;
        }
        Ok(Finding { promises: promised.len() * 3, mended: false, wrong })
    }
}

fn kept(entry: &Entry) -> Option<Kept> {
    if let Entry::Mark(text) = entry { Kept::parse(text) } else { None }
}

fn is_on_ssd(status: &PlacementStatus) -> bool {
    matches!(&status.data, Placement::Live { disk } if disk.starts_with(DiskKind::UsbSsd.label()))
}

type StandIn<'n> = (&'n str, DiskKind, bool);

impl Starter<'_> {
    fn hands(&self, disks: &[StandIn<'_>]) -> Box<dyn Volumes> {
        (self.hands)(&self.folder.path().join("live"), &self.folder.path().join("scratch"), disks)
    }

    /// Runs until data is alive, or on the SSD if the questions are answered, or nothing more happens. Whatever comes
    /// alive must hold all that was promised.
    fn start(
        &self,
        disks: &[StandIn<'_>],
        says_yes: bool,
        promised: Vec<Kept>,
        wrong: &mut Vec<String>,
        when: &str,
    ) -> PlacementStatus {
        let (sender, missing) = std::sync::mpsc::channel();
        let attended = Attended {
            volumes: self.hands(disks),
            writers: Box::new(Reader { promised, missing: sender }),
            says_yes,
            config: Config {
                limits: Limits { target_bytes_min: TARGET_BYTES_MIN, target_free_bytes_min: FREE_BYTES_MIN },
            },
        };
        let last = attended.run_until(move |status| match &status.data {
            Placement::Live { .. } => !says_yes || is_on_ssd(status),
            Placement::Held { .. } => !says_yes || status.question.is_none(),
            Placement::Starting | Placement::Moving { .. } => false,
        });
        wrong.extend(
            missing
                .try_iter()
                .map(|kept: Kept| format!("{when}: {} is not as it was kept", kept.path.display())),
        );
        last
    }

    /// Checks that one copy is whole, and of which generation if that is known.
    fn one_lives(
        &self,
        disks: &[StandIn<'_>],
        generation: Option<u64>,
        wrong: &mut Vec<String>,
    ) -> Result<()> {
        let seen = self.hands(disks).scan().context("looking at the disks")?;
        let mut marks = Vec::new();
        for volume in seen.iter().flat_map(|disk| &disk.volumes) {
            if let Holds::Marked(bytes) = &volume.holds {
                match Identity::parse(bytes) {
                    Ok(identity) => marks.push((identity.generation, identity.state)),
                    Err(error) => wrong.push(format!("a mark cannot be read: {error}")),
                }
            }
        }
        let whole: Vec<u64> =
            marks.iter().filter(|(_, state)| *state == CopyState::Whole).map(|(number, _)| *number).collect();
        let is_right = match (whole.as_slice(), generation) {
            ([only], Some(wanted)) => *only == wanted,
            ([_], None) => true,
            _ => false,
        };
        if !is_right {
            wrong.push(format!("not one living copy: {marks:?}"));
        }
        Ok(())
    }
}

/// Reads in place of the PDS, and names what is not there.
#[derive(Debug)]
struct Reader {
    promised: Vec<Kept>,
    missing: std::sync::mpsc::Sender<Kept>,
}

impl Writers for Reader {
    fn allow(&mut self, folder: &Path) {
        for kept in self.promised.iter().filter(|kept| !kept.is_in(folder)) {
            drop(self.missing.send(kept.clone()));
        }
    }

    fn stop(&mut self, _torn_off: bool) {}

    fn stopped(&mut self) -> bool {
        true
    }
}

/// An image that is attached as a loop device until it is dropped.
#[derive(Debug)]
struct Loop {
    node: String,
}

impl Loop {
    fn attach(image: &Path) -> Result<Self> {
        let said = run(program("losetup").args(["-P", "-f", "--show"]).arg(image))?;
        if !said.success {
            bail!("losetup: {}", said.text);
        }
        // For kernels that read no tables themselves; others know the partitions already, or there are none.
        run(program("partx").arg("-a").arg(&said.text))?;
        Ok(Self { node: said.text })
    }

    fn name(&self) -> &str {
        self.node.trim_start_matches("/dev/")
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        drop(run(program("losetup").arg("-d").arg(&self.node)));
    }
}

#[cfg(test)]
mod tests {
    use super::Kept;

    #[test]
    fn a_mark_names_a_file_and_its_content() {
        let kept = Kept::parse("kept pds/3 4096 7").unwrap();
        assert_eq!(kept, Kept { path: "pds/3".into(), bytes: 4096, value: 7 });
        assert_eq!((Kept::parse("stopped"), Kept::parse("kept pds/3 x 7")), (None, None));
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("pds")).unwrap();
        std::fs::write(folder.path().join("pds/3"), [7; 4096]).unwrap();
        assert!(kept.is_in(folder.path()));
        std::fs::write(folder.path().join("pds/3"), [7; 4095]).unwrap();
        assert!(!kept.is_in(folder.path()));
    }
}
