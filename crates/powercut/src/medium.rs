//! Images of ext4: made, mounted over a loop device, and checked. It runs the system's own programs, as root.
//!
//! Mounts lie in the process's own mount namespace (see `main`), so that none outlives it, however it ends.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Size of the disk under test, bytes: the store wants 64 MiB free, and what is never written costs nothing.
const DISK_BYTES: u64 = 256 * 1024 * 1024;

/// Journal of the file system, MiB: small, so that a short load wraps it.
const JOURNAL_MIB: &str = "size=4";

/// Where programs of the administrator are.
const FOLDERS: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

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
    command.args(["-q", "-F", "-b", "4096", "-O", "metadata_csum,64bit", "-N", "4096", "-J", JOURNAL_MIB]);
    command.args(["-E", extended]).arg(image);
    match run(&mut command)? {
        Said { success: true, .. } => Ok(()),
        said => bail!("mkfs.ext4: {}", said.text),
    }
}

/// Checks and mends a file system that does not mount, as the box does; a text when it cannot be mended.
pub type Check = fn(&Path) -> Result<(), String>;

/// What became of a disk.
#[derive(Debug)]
pub struct Mounted<T> {
    /// What the examination gave; `None` when it could not be mounted.
    pub examined: Option<T>,
    /// Whether it mounted only after a check had mended it.
    pub mended: bool,
    /// What is wrong with the file system.
    pub wrong: Vec<String>,
}

/// Mounts an image, which replays its journal, has it examined, and looks whether the file system is sound.
///
/// # Errors
/// When the test's own work fails.
pub fn mounted<T>(
    disk: &Path,
    point: &Path,
    check: Check,
    examine: impl FnOnce(&Path) -> T,
) -> Result<Mounted<T>> {
    let mut outcome = Mounted { examined: None, mended: false, wrong: Vec::new() };
    let mount = || run(program("mount").args(["-t", "ext4", "-o", "loop,noatime"]).arg(disk).arg(point));
    let mut said = mount()?;
    if !said.success {
        match check(disk) {
            Ok(()) => (outcome.mended, said) = (true, mount()?),
            Err(why) => outcome.wrong.push(format!("the file system cannot be mended: {why}")),
        }
    }
    if said.success {
        outcome.examined = Some(examine(point));
        unmount(point)?;
    } else {
        outcome.wrong.push(format!("the file system does not mount: {}", said.text));
    }
    let said = run(program("e2fsck").args(["-f", "-n"]).arg(disk))?;
    if !said.success {
        outcome.wrong.push(format!("the file system is not clean: {}", said.text));
    }
    Ok(outcome)
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

/// A program of the system. It has its whole path: searching for it would cost a copy of this process, which is large.
pub(crate) fn program(name: &str) -> Command {
    let found = FOLDERS.iter().map(|folder| Path::new(folder).join(name)).find(|path| path.exists());
    let mut command = Command::new(found.unwrap_or_else(|| PathBuf::from(name)));
    command.env("PATH", FOLDERS.join(":")).env("LC_ALL", "C").stdin(Stdio::null());
    command
}

pub(crate) fn run(command: &mut Command) -> Result<Said> {
    let shown = format!("{}", command.get_program().display());
    let done = command.output().with_context(|| format!("cannot start {shown}"))?;
    let text = [done.stdout, done.stderr].concat();
    let text = String::from_utf8_lossy(&text).trim().to_owned();
    Ok(Said { success: done.status.success(), text })
}
