//! The storage policy's hands on a real Linux: partition tables, ext4 by its standard programs, mounts, marks.
//!
//! Each call does one thing and decides nothing. What is not ours is opened for reading only, and never mounted in a
//! way that writes to it.

mod block;
mod boot;
mod gpt;
mod mbr;

use std::collections::HashMap;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::statvfs::statvfs;
use platform::disk::{AttachedDisk, Content, FileSystem, Partition};
use platform::volumes::{
    CheckResult, Holds, IDENTITY_BYTES_MAX, IDENTITY_FILE, MountPlace, SEQUENCE_JUMP_FILE, SeenDisk,
    SeenVolume, VolumeError, VolumeId, Volumes,
};
use platform::{DeviceError, DiskKind, Disks};

use crate::disk::LinuxDisks;
use crate::durable::replace;
pub use block::forget_unwritten;

/// How long the kernel may take to show a new partition: it needs milliseconds, a busy device manager a second.
const NODE_WAIT_MAX: Duration = Duration::from_secs(10);

/// How long a mount may count as busy after its last user: a program starts within milliseconds, seconds on a card that
/// is slow.
const BUSY_MAX: Duration = Duration::from_secs(5);

/// Pause between two tries to unmount.
const BUSY_PAUSE: Duration = Duration::from_millis(10);

/// Where the programs are; the service's own search path may lack some of it.
const PROGRAMS: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// Bytes that are cleared at both ends of a disk, so that no old table or file system shows through.
const CLEARED_BYTES: u64 = 1024 * 1024;

/// The folder of the PDS in the data.
const PDS_FOLDER: &str = "pds";

/// Block of the second superblock in a file system of blocks of 4,096 bytes: the first of the second group, which every
/// disk over 128 MiB has.
const SECOND_SUPERBLOCK: &str = "32768";

/// The disks of this machine, as the storage policy handles them.
#[derive(Debug)]
pub struct LinuxVolumes {
    disks: LinuxDisks,
    live: PathBuf,
    target: PathBuf,
    probe: PathBuf,
    mounted: HashMap<MountPlace, VolumeId>,
    /// The disk that was started from, once it was found, as name and number of its plugging-in: what told it may
    /// change, such as its signature.
    boot: Option<(String, Option<u64>)>,
    /// Devices that stand for disks in tests: name, kind, whether it was started from.
    stand_ins: Vec<(String, DiskKind, bool)>,
    first_look: Option<FirstLook>,
}

/// What is done with the list of disks before anybody else sees it; true asks for a new list.
struct FirstLook(Box<Look>);

type Look = dyn FnMut(&[AttachedDisk]) -> bool + Send;

impl std::fmt::Debug for FirstLook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FirstLook")
    }
}

impl LinuxVolumes {
    /// Mounts the data at `live`; `scratch` is a folder on tmpfs for the other mounts.
    #[must_use]
    pub fn new(live: &Path, scratch: &Path) -> Self {
        Self {
            disks: LinuxDisks::new(),
            live: live.to_owned(),
            target: scratch.join("target"),
            probe: scratch.join("probe"),
            mounted: HashMap::new(),
            boot: None,
            stand_ins: Vec::new(),
            first_look: None,
        }
    }

    /// Shows each new list of disks to this first: a bridge that must leave the fast way does so before the disk behind
    /// it is used. It tells whether it changed something, and the list is then taken anew.
    #[must_use]
    pub fn looked_at_first_by(mut self, look: impl FnMut(&[AttachedDisk]) -> bool + Send + 'static) -> Self {
        self.first_look = Some(FirstLook(Box::new(look)));
        self
    }

    /// Unmounts what an earlier user of these folders left mounted, such as a supervisor that was killed: its programs
    /// have been ended, and what is mounted without our knowledge would count as somebody else's.
    ///
    /// # Errors
    /// When something there is still used after a few seconds.
    pub fn detach_left(&self) -> Result<(), VolumeError> {
        for folder in [&self.probe, &self.target, &self.live] {
            // Several mounts may lie on each other.
            loop {
                match unmount_free(folder) {
                    // Nothing is mounted there, or there is no such folder.
                    Err(Errno::EINVAL | Errno::ENOENT) => break,
                    Ok(()) => {}
                    Err(errno) => return Err(failed("unmount it")(errno.into())),
                }
            }
        }
        Ok(())
    }

    /// Handles these devices and no others, such as loop devices that stand for disks.
    #[must_use]
    pub fn only(mut self, name: &str, kind: DiskKind, is_boot: bool) -> Self {
        self.disks = self.disks.including(name);
        self.stand_ins.push((name.to_owned(), kind, is_boot));
        self
    }

    fn list(&self) -> Result<Vec<AttachedDisk>, DeviceError> {
        let mut listed = self.disks.list()?;
        if !self.stand_ins.is_empty() {
            listed.retain_mut(|disk| {
                let stand_in = self.stand_ins.iter().find(|(name, _, _)| *name == disk.name);
                stand_in.is_some_and(|(_, kind, is_boot)| {
                    (disk.kind, disk.boots) = (*kind, *is_boot);
                    true
                })
            });
        }
        let is_it = |disk: &AttachedDisk| self.boot.as_ref().is_some_and(|boot| *boot == plugging_in(disk));
        if listed.iter().any(is_it) {
            for disk in &mut listed {
                disk.boots = is_it(disk);
            }
        }
        Ok(listed)
    }

    fn see(&self, disk: &AttachedDisk) -> SeenDisk {
        let mut volumes: Vec<SeenVolume> =
            disk.partitions.iter().map(|partition| self.see_partition(disk, partition)).collect();
        let whole = match &disk.content {
            Content::Blank | Content::Table { .. } => None,
            Content::FileSystem { file_system } => Some(words(file_system)),
            Content::Unknown => Some("unknown data".to_owned()),
            Content::Unreadable => Some("data that cannot be read".to_owned()),
        };
        let whole = whole.filter(|_| volumes.is_empty());
        volumes.extend(whole.map(|words| SeenVolume {
            id: VolumeId::new(&disk.name),
            number: 0,
            size_bytes: disk.id.size_bytes,
            is_data_place: false,
            holds: Holds::Foreign(words),
        }));
        SeenDisk {
            facts: disk.facts(),
            serial: format!("{} {}", disk.id.serial, disk.id.wwid),
            attached: plugging_in(disk).1,
            is_boot: disk.boots,
            volumes,
        }
    }

    fn see_partition(&self, disk: &AttachedDisk, partition: &Partition) -> SeenVolume {
        let id = VolumeId::new(partition.part_uuid.as_deref().unwrap_or(&partition.name));
        let by_type = partition.part_type.as_deref() == Some(gpt::DATA_TYPE);
        let of_image = boot::place_of_image(disk, partition);
        let is_data_place = by_type || of_image.is_some();
        let holds = match &partition.content {
            _ if of_image == Some(boot::Place::BeingMade) => Holds::Nothing,
            Content::Blank => Holds::Nothing,
            Content::FileSystem { file_system } if file_system.kind == "ext4" => {
                self.look_inside(&id, partition, is_data_place, file_system)
            }
            Content::FileSystem { file_system } => Holds::Foreign(words(file_system)),
            Content::Unreadable if is_data_place => Holds::Unreadable("it cannot be read".to_owned()),
            Content::Unknown | Content::Unreadable | Content::Table { .. } => {
                Holds::Foreign("unknown data".to_owned())
            }
        };
        SeenVolume { id, number: partition.number, size_bytes: partition.size_bytes, is_data_place, holds }
    }

    fn look_inside(
        &self,
        id: &VolumeId,
        partition: &Partition,
        is_data_place: bool,
        file_system: &FileSystem,
    ) -> Holds {
        if let Some(folder) = self.folder_of(id).filter(|folder| partition.mounted_at.contains(folder)) {
            return inside(&folder).unwrap_or_else(|error| Holds::Unreadable(error.to_string()));
        }
        if !partition.mounted_at.is_empty() || partition.held {
            return Holds::Foreign(format!("{}, in use", words(file_system)));
        }
        // Without its journal an ext4 is not written by a mount, and may show a state of before: enough to know ours.
        let first = self.with_probe(&partition.node, MsFlags::MS_RDONLY, "noload", inside);
        let is_ours = is_data_place || matches!(first, Ok(Holds::Marked(_)));
        if !is_ours {
            return Holds::Foreign(words(file_system));
        }
        match self.with_probe(&partition.node, MsFlags::MS_RDONLY, "", inside) {
            Ok(holds) => holds,
            Err(_) => Holds::Unreadable("its file system does not mount".to_owned()),
        }
    }

    /// Mounts for the time of one call.
    fn with_probe<T>(
        &self,
        node: &Path,
        flags: MsFlags,
        options: &str,
        work: impl FnOnce(&Path) -> io::Result<T>,
    ) -> io::Result<T> {
        mount_ext4(node, &self.probe, flags, options)?;
        let result = work(&self.probe);
        unmount_free(&self.probe)?;
        result
    }

    fn folder_of(&self, id: &VolumeId) -> Option<PathBuf> {
        let (place, _) = self.mounted.iter().find(|(_, mounted)| *mounted == id)?;
        Some(self.path_of(*place))
    }

    fn path_of(&self, place: MountPlace) -> PathBuf {
        match place {
            MountPlace::Live => self.live.clone(),
            MountPlace::Target => self.target.clone(),
        }
    }

    /// Finds a partition by its id, which must be there once.
    fn find(&self, id: &VolumeId) -> Result<(AttachedDisk, Partition), VolumeError> {
        let mut found = Vec::new();
        for disk in self.list()? {
            if let Some(partition) = disk.partition(id.as_str()).cloned() {
                found.push((disk, partition));
            }
        }
        match found.len() {
            0 => Err(VolumeError::Gone),
            1 => found.pop().ok_or(VolumeError::Gone),
            _ => Err(VolumeError::Changed),
        }
    }

    /// Finds the disk again and compares it with what was seen.
    fn same(&self, as_seen: &SeenDisk) -> Result<AttachedDisk, VolumeError> {
        let listed = self.list()?;
        let disk =
            listed.into_iter().find(|disk| disk.name == as_seen.facts.name).ok_or(VolumeError::Gone)?;
        if self.see(&disk) == *as_seen { Ok(disk) } else { Err(VolumeError::Changed) }
    }

    /// Does something in a volume's topmost folder, which is mounted for it where it is not.
    fn in_folder(
        &self,
        id: &VolumeId,
        work: impl FnOnce(&Path) -> io::Result<()>,
    ) -> Result<(), VolumeError> {
        let result = match self.folder_of(id) {
            Some(folder) => work(&folder),
            None => {
                let (_, partition) = self.find(id)?;
                self.with_probe(&partition.node, MsFlags::empty(), "errors=remount-ro", work)
            }
        };
        result.map_err(failed("write to it"))
    }
}

impl Volumes for LinuxVolumes {
    fn plugged(&mut self) -> u64 {
        let mut hasher = DefaultHasher::new();
        let mut names: Vec<_> =
            fs::read_dir("/sys/block").into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        names.sort();
        for path in names {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let is_stand_in = self.stand_ins.iter().any(|(stand_in, _, _)| *stand_in == name);
            if is_stand_in || !name.starts_with("loop") && !name.starts_with("ram") {
                (name, fs::read_to_string(path.join("diskseq")).ok()).hash(&mut hasher);
                fs::read_to_string(path.join("size")).ok().hash(&mut hasher);
            }
        }
        hasher.finish()
    }

    fn scan(&mut self) -> Result<Vec<SeenDisk>, DeviceError> {
        let mut disks = self.list()?;
        if let Some(FirstLook(look)) = &mut self.first_look
            && look(&disks)
        {
            disks = self.list()?;
        }
        let mut boots = disks.iter().filter(|disk| disk.boots);
        if let (Some(boot), None) = (boots.next(), boots.next()) {
            self.boot = Some(plugging_in(boot));
        }
        Ok(disks.iter().map(|disk| self.see(disk)).collect())
    }

    fn provision(&mut self, as_seen: &SeenDisk, id: &VolumeId, identity: &[u8]) -> Result<(), VolumeError> {
        let disk_guid = VolumeId::random(self.random()?);
        let disk = self.same(as_seen)?;
        if disk.is_in_use() || disk.boots || disk.read_only {
            return Err(VolumeError::Changed);
        }
        // While it is open its name is not given to another disk, so that every program below reaches this one.
        let keep = File::open(&disk.node).map_err(failed("open it"))?;
        self.same(as_seen)?;
        let size = disk.id.size_bytes;
        let block_bytes = u64::from(disk.logical_block_bytes);
        let layout = gpt::one_partition(size, block_bytes, disk_guid.as_str(), id.as_str());
        let layout = layout.ok_or_else(|| failed("partition it")(io::ErrorKind::StorageFull.into()))?;
        let cleared = usize::try_from(CLEARED_BYTES).unwrap_or(0);
        let mut pieces = vec![(0, vec![0; cleared]), (size.saturating_sub(CLEARED_BYTES), vec![0; cleared])];
        // Where the file system will begin, too: an old one there would be found by its remains.
        pieces.push((gpt::ALIGN_BYTES, vec![0; cleared]));
        let (start_bytes, size_bytes) = (layout.start_bytes, layout.size_bytes);
        pieces.extend(layout.pieces);
        block::write_pieces(&disk.node, &pieces).map_err(failed("partition it"))?;
        block::reread(&disk.node).map_err(failed("have its partitions read"))?;
        if !Path::new("/sys/block").join(&disk.name).join(first_of(&disk.name)).exists() {
            block::add(&disk.node, 1, start_bytes, size_bytes).map_err(failed("have its partition known"))?;
        }
        let since = Instant::now();
        let partition = loop {
            match self.find(id) {
                Ok((_, partition)) if partition.node.exists() => break partition,
                _ if since.elapsed() >= NODE_WAIT_MAX => return Err(VolumeError::Gone),
                _ => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        make_file_system(&partition.node)?;
        let marked = self.with_probe(&partition.node, MsFlags::empty(), "", |folder| {
            replace(&folder.join(IDENTITY_FILE), identity)
        });
        drop(keep);
        marked.map_err(failed("mark it"))
    }

    fn prepare_boot(&mut self, as_seen: &SeenDisk) -> Result<(), VolumeError> {
        let random = self.random()?;
        let disk = self.same(as_seen)?;
        let place = as_seen.volumes.iter().find(|volume| volume.is_data_place).ok_or(VolumeError::Changed)?;
        if !disk.boots || !matches!(place.holds, Holds::Nothing | Holds::EmptyFileSystem) {
            return Err(VolumeError::Changed);
        }
        let partition = disk.partition(place.id.as_str()).ok_or(VolumeError::Changed)?;
        let steps = boot::Steps::plan(&disk, random).map_err(failed("prepare it"))?;
        steps.claim().map_err(failed("write its table"))?;
        steps.tell_kernel(partition.size_bytes).map_err(failed("grow its partition"))?;
        make_file_system(&partition.node)?;
        steps.finish().map_err(failed("write its table"))
    }

    fn used_bytes(&mut self, place: MountPlace) -> Result<u64, VolumeError> {
        let stat = statvfs(&self.path_of(place)).map_err(|errno| failed("measure it")(errno.into()))?;
        Ok(stat.blocks().saturating_sub(stat.blocks_free()).saturating_mul(stat.fragment_size()))
    }

    fn check(&mut self, volume: &VolumeId, repair: bool) -> Result<CheckResult, VolumeError> {
        let (_, partition) = self.find(volume)?;
        check_ext4(&partition.node, repair)
    }

    fn mount(&mut self, volume: &VolumeId, place: MountPlace) -> Result<PathBuf, VolumeError> {
        let (_, partition) = self.find(volume)?;
        let folder = self.path_of(place);
        if self.mounted.contains_key(&place) {
            return Err(failed("mount it")(io::ErrorKind::ResourceBusy.into()));
        }
        mount_ext4(&partition.node, &folder, MsFlags::empty(), "errors=remount-ro")
            .map_err(failed("mount it"))?;
        self.mounted.insert(place, volume.clone());
        Ok(folder)
    }

    fn unmount(&mut self, place: MountPlace, torn_off: bool) -> Result<(), VolumeError> {
        if !self.mounted.contains_key(&place) {
            return Ok(());
        }
        let folder = self.path_of(place);
        let unmounted = if torn_off { umount2(&folder, MntFlags::MNT_DETACH) } else { unmount_free(&folder) };
        match unmounted {
            Ok(()) | Err(Errno::EINVAL) => {}
            Err(errno) => return Err(failed("unmount it")(errno.into())),
        }
        self.mounted.remove(&place);
        Ok(())
    }

    fn mark(&mut self, volume: &VolumeId, identity: &[u8]) -> Result<(), VolumeError> {
        self.in_folder(volume, |folder| replace(&folder.join(IDENTITY_FILE), identity))
    }

    fn note_jump(&mut self, volume: &VolumeId) -> Result<(), VolumeError> {
        let note = format!("{}\n", VolumeId::random(self.random()?));
        self.in_folder(volume, |folder| {
            let pds = folder.join(PDS_FOLDER);
            // Without a folder of the PDS there are no numbers that anybody could have seen.
            if pds.is_dir() { replace(&pds.join(SEQUENCE_JUMP_FILE), note.as_bytes()) } else { Ok(()) }
        })
    }

    fn forget_cached(&mut self, folder: &Path) -> Result<(), VolumeError> {
        let forget = || {
            File::open(folder)?.sync_all()?;
            fs::write("/proc/sys/vm/drop_caches", "1")
        };
        forget().map_err(failed("read it anew"))
    }

    fn random(&mut self) -> Result<[u8; 16], DeviceError> {
        let mut bytes = [0; 16];
        let fill = |bytes: &mut [u8]| File::open("/dev/urandom")?.read_exact(bytes);
        fill(&mut bytes).map_err(|error| DeviceError::new("system", "give random bytes", error))?;
        Ok(bytes)
    }
}

/// What is in a mounted ext4, as far as it concerns us.
fn inside(folder: &Path) -> io::Result<Holds> {
    match File::open(folder.join(IDENTITY_FILE)) {
        Ok(file) => {
            let mut bytes = Vec::new();
            file.take(IDENTITY_BYTES_MAX + 1).read_to_end(&mut bytes)?;
            return Ok(Holds::Marked(bytes));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    for entry in fs::read_dir(folder)? {
        // A mark that a cut left half written was the first thing here.
        if !["lost+found", "perch-data.json.new"]
            .iter()
            .any(|own| entry.as_ref().is_ok_and(|e| e.file_name() == **own))
        {
            return Ok(Holds::Foreign("ext4 with files".to_owned()));
        }
    }
    Ok(Holds::EmptyFileSystem)
}

/// The kernel's name of a disk and its number of this plugging-in.
fn plugging_in(disk: &AttachedDisk) -> (String, Option<u64>) {
    let sequence = fs::read_to_string(Path::new("/sys/block").join(&disk.name).join("diskseq"));
    (disk.name.clone(), sequence.ok().and_then(|text| text.trim().parse().ok()))
}

/// The kernel's name of a disk's first partition.
fn first_of(disk: &str) -> String {
    let between = if disk.ends_with(|last: char| last.is_ascii_digit()) { "p" } else { "" };
    format!("{disk}{between}1")
}

fn words(file_system: &FileSystem) -> String {
    match file_system.label.as_str() {
        "" => file_system.kind.clone(),
        label => format!("{} \"{label}\"", file_system.kind),
    }
}

fn mount_ext4(node: &Path, folder: &Path, flags: MsFlags, options: &str) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let always = MsFlags::MS_NOATIME | MsFlags::MS_NODEV | MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    mount(Some(node), folder, Some("ext4"), always | flags, Some(options))?;
    Ok(())
}

/// Unmounts what nobody of ours uses. While another thread starts a program the new process has our open files for a
/// moment, until it becomes that program: the mount counts as busy then.
fn unmount_free(folder: &Path) -> nix::Result<()> {
    let since = Instant::now();
    loop {
        match umount2(folder, MntFlags::empty()) {
            Err(Errno::EBUSY) if since.elapsed() < BUSY_MAX => std::thread::sleep(BUSY_PAUSE),
            ended => return ended,
        }
    }
}

/// Makes an ext4: no label, no discard (which is proven first, elsewhere), half a per cent kept for root.
fn make_file_system(node: &Path) -> Result<(), VolumeError> {
    let options = ["-q", "-F", "-b", "4096", "-m", "0.5", "-E", "nodiscard", "-O", "metadata_csum,64bit"];
    run("mkfs.ext4", &options, node, &[0]).map(|_| ())
}

/// Checks an ext4 that is not mounted, and mends what a power cut leaves; with `repair`, everything that can be.
///
/// A disk that writes 512 bytes at a time may lose half of the superblock, which the kernel writes in its place at each
/// mount. Then neither the kernel nor a plain check takes the file system; the second copy of the superblock does.
///
/// # Errors
/// When the check cannot be made.
pub fn check_ext4(node: &Path, repair: bool) -> Result<CheckResult, VolumeError> {
    /// e2fsck(8): the check could not be made, as when there is no superblock.
    const NO_CHECK: i32 = 8;
    // e2fsck(8): 1 and 2 are mended, 4 is left as it is.
    let result = |code| match code {
        0 => CheckResult::Clean,
        1..=3 => CheckResult::Mended,
        _ => CheckResult::Damaged,
    };
    const GOOD: [i32; 8] = [0, 1, 2, 3, 4, 5, 6, 7];
    if repair {
        return run("e2fsck", &["-f", "-y"], node, &GOOD).map(result);
    }
    match run("e2fsck", &["-p"], node, &[&GOOD[..], &[NO_CHECK]].concat())? {
        NO_CHECK => run("e2fsck", &["-p", "-b", SECOND_SUPERBLOCK, "-B", "4096"], node, &GOOD).map(result),
        code => Ok(result(code)),
    }
}

/// Runs a program on a device; its exit code must be one of these.
fn run(program: &'static str, options: &[&str], node: &Path, good: &[i32]) -> Result<i32, VolumeError> {
    let output = Command::new(program)
        .env("PATH", PROGRAMS)
        .args(options)
        .arg(node)
        .stdin(Stdio::null())
        .output()
        .map_err(failed(program))?;
    match output.status.code() {
        Some(code) if good.contains(&code) => Ok(code),
        code => {
            let said = String::from_utf8_lossy(&output.stderr);
            let line = said.lines().next_back().unwrap_or_default();
            Err(failed(program)(io::Error::other(format!("it ended with {code:?}: {line}"))))
        }
    }
}

fn failed(operation: &'static str) -> impl FnOnce(io::Error) -> VolumeError {
    move |source| VolumeError::Failed(DeviceError::new("data disk", operation, source))
}
