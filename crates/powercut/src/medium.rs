//! Images of ext4: made, mounted over a loop device, and checked. It runs the system's own programs, as root.
//!
//! Mounts lie in the process's own mount namespace (see `main`), so that none outlives it, however it ends.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;
use testbed::block::{Replay, State};

/// Size of the disk under test, bytes: the store wants 64 MiB free, and what is never written costs nothing.
const DISK_BYTES: u64 = 256 * 1024 * 1024;

/// Journal of the file system, MiB: small, so that a short load wraps it.
const JOURNAL_MIB: &str = "size=4";

/// Where programs of the administrator are.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How long a file system may stay busy after its last user closed it: reads may outlive their store by a moment.
const BUSY_MAX: Duration = Duration::from_secs(20);
const BUSY_PAUSE: Duration = Duration::from_millis(5);

/// Makes an empty file system as the device has it.
///
/// # Errors
/// When `mkfs.ext4` is missing or fails.
pub fn make_image(image: &Path) -> Result<()> {
    let file = File::create(image).with_context(|| format!("making {}", image.display()))?;
    file.set_len(DISK_BYTES).with_context(|| format!("making {}", image.display()))?;
    // Everything is made here: nothing is to come later from the guest's kernel in the background.
    let extended = "lazy_itable_init=0,lazy_journal_init=0,nodiscard";
    let mut command = program("mkfs.ext4");
    command.args(["-q", "-F", "-N", "4096", "-J", JOURNAL_MIB, "-E", extended]).arg(image);
    match run(&mut command)? {
        Said { success: true, .. } => Ok(()),
        said => bail!("mkfs.ext4: {}", said.text),
    }
}

/// One place where states become disks, one after the other.
#[derive(Debug)]
pub struct Medium {
    folder: TempDir,
    file: File,
}

/// A state that was mounted, examined and put away.
#[derive(Debug)]
pub struct Verdict<T> {
    /// What the examination gave; `None` when the disk could not be mounted.
    pub examined: Option<T>,
    /// What is wrong with the file system.
    pub wrong: Vec<String>,
}

impl Medium {
    /// Makes the place, in memory where the system has such.
    ///
    /// # Errors
    /// When there is no room.
    pub fn new() -> Result<Self> {
        let folder = crashfs::scratch().context("no room for a disk")?;
        std::fs::create_dir(folder.path().join("mnt")).context("no room for a disk")?;
        let path = folder.path().join("disk");
        let file = File::options()
            .create(true)
            .truncate(true)
            .read(true)
            .write(true)
            .open(path)
            .context("no room for a disk")?;
        Ok(Self { folder, file })
    }

    fn disk(&self) -> PathBuf {
        self.folder.path().join("disk")
    }

    /// Makes a state the disk, mounts it, which replays its journal, has it examined, and checks the file system.
    ///
    /// # Errors
    /// When the test's own work fails; what the state does not stand is in the verdict.
    pub fn examine<T>(
        &self,
        replay: &Replay<'_>,
        state: &State,
        examine: impl FnOnce(&Path) -> T,
    ) -> Result<Verdict<T>> {
        replay.write_to(state, &self.file).context("writing a state")?;
        let (disk, point) = (self.disk(), self.folder.path().join("mnt"));
        let mut verdict = Verdict { examined: None, wrong: Vec::new() };
        let said = run(program("mount").args(["-t", "ext4", "-o", "loop,noatime"]).arg(&disk).arg(&point))?;
        if said.success {
            verdict.examined = Some(examine(&point));
            unmount(&point)?;
        } else {
            verdict.wrong.push(format!("the file system does not mount: {}", said.text));
        }
        let said = run(program("e2fsck").args(["-f", "-n"]).arg(&disk))?;
        if !said.success {
            verdict.wrong.push(format!("the file system is not clean: {}", said.text));
        }
        Ok(verdict)
    }

    /// Keeps the disk as a state left it, before anything is done with it.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn keep(replay: &Replay<'_>, state: &State, path: &Path) -> Result<()> {
        let file = File::create(path).with_context(|| format!("keeping {}", path.display()))?;
        replay.write_to(state, &file).with_context(|| format!("keeping {}", path.display()))
    }
}

fn unmount(point: &Path) -> Result<()> {
    let until = Instant::now() + BUSY_MAX;
    loop {
        let said = run(program("umount").arg(point))?;
        if said.success {
            return Ok(());
        }
        if Instant::now() > until {
            bail!("umount: {}", said.text);
        }
        std::thread::sleep(BUSY_PAUSE);
    }
}

/// What a program said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) success: bool,
    pub(crate) text: String,
}

pub(crate) fn program(name: &str) -> Command {
    let mut command = Command::new(name);
    command.env("PATH", PATH).env("LC_ALL", "C").stdin(Stdio::null());
    command
}

pub(crate) fn run(command: &mut Command) -> Result<Said> {
    let shown = format!("{}", command.get_program().display());
    let done = command.output().with_context(|| format!("cannot start {shown}"))?;
    let text = [done.stdout, done.stderr].concat();
    let text = String::from_utf8_lossy(&text).trim().to_owned();
    Ok(Said { success: done.status.success(), text })
}
