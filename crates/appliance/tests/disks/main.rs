//! The storage part on real disks: loop devices with real tables and real ext4, with a cut at every step of a move.
//!
//! A cut is what a power cut is to a file system: what is not on the disk is forgotten (ext4's own shutdown), the rest
//! comes back from the journal. Needs root; without it there are no loop devices.

#![cfg(test)]

mod first_start;
mod trouble;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};

use appliance::storage::{self, Answer, Config, CopyState, Identity, Limits, Platform, Writers};
use control::placement::{Placement, PlacementStatus};
use platform::volumes::{CheckResult, Holds, MountPlace, SeenDisk, VolumeError, VolumeId, Volumes};
use platform::{DeviceError, DiskKind};
use platform_linux::{LinuxVolumes, forget_unwritten};

const MIB: u64 = 1024 * 1024;

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Loop devices are root's; without them the tests say so and are not run.
fn can_make_disks() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let is_root = status.lines().any(|line| line.starts_with("Uid:\t0\t"));
    let can = is_root && Path::new("/dev/loop-control").exists();
    if !can {
        eprintln!("not checked: only root has loop devices");
    }
    can
}

/// Held while a loop device is chosen, so that a number that is free for a moment is not taken by another test.
fn choosing() -> MutexGuard<'static, ()> {
    static CHOOSING: Mutex<()> = Mutex::new(());
    CHOOSING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An image in a file, attached as a loop device until it is dropped.
#[derive(Debug)]
struct Loop {
    node: String,
}

impl Loop {
    fn attach(image: &Path) -> Self {
        let _chosen = choosing();
        let node = run("losetup", &["-P", "-f", "--show", image.to_str().unwrap()]);
        // For kernels that read no tables themselves; others know the partitions already, or there are none.
        let _known = Command::new("partx").args(["-a", &node]).output();
        Self { node }
    }

    fn name(&self) -> &str {
        self.node.trim_start_matches("/dev/")
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _detached = Command::new("losetup").args(["-d", &self.node]).status();
    }
}

/// A card as it is flashed (MBR, fourth partition of 16 MiB for data) and an SSD.
struct Bench {
    card: Loop,
    ssd: Loop,
    dir: tempfile::TempDir,
}

impl Drop for Bench {
    fn drop(&mut self) {
        for folder in ["live", "scratch/target", "scratch/probe", "boot"] {
            let folder = self.dir.path().join(folder);
            let _unmounted = Command::new("umount").arg("-l").arg(folder).output();
        }
    }
}

/// Makes an image in a file that takes no room.
fn image(path: &Path, head: &[u8], bytes: u64) {
    fs::write(path, head).unwrap();
    fs::OpenOptions::new().write(true).open(path).unwrap().set_len(bytes).unwrap();
}

/// A master boot record with these partitions: type, start and size in MiB.
fn table(partitions: [(u8, u32, u32); 4]) -> Vec<u8> {
    let mut table = vec![0_u8; 440];
    table.extend(b"prch\0\0");
    for (kind, start, size) in partitions {
        table.extend([0, 0, 0, 0, kind, 0, 0, 0]);
        table.extend((start * 2048).to_le_bytes());
        table.extend((size * 2048).to_le_bytes());
    }
    table.extend([0x55, 0xaa]);
    table
}

const NONE: (u8, u32, u32) = (0, 0, 0);

impl Bench {
    fn new() -> Self {
        Self::with(&table([NONE, NONE, NONE, (0x83, 4, 16)]), 64 * MIB)
    }

    /// With this at the start of the card.
    fn with(head: &[u8], card_bytes: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (card, ssd) = (dir.path().join("card.img"), dir.path().join("ssd.img"));
        image(&card, head, card_bytes);
        image(&ssd, b"", 64 * MIB);
        Self { card: Loop::attach(&card), ssd: Loop::attach(&ssd), dir }
    }

    fn ssd_image(&self) -> fs::File {
        fs::OpenOptions::new().write(true).open(self.dir.path().join("ssd.img")).unwrap()
    }

    fn live(&self) -> PathBuf {
        self.dir.path().join("live")
    }

    fn volumes(&self, with_ssd: bool) -> LinuxVolumes {
        let scratch = self.dir.path().join("scratch");
        let volumes = LinuxVolumes::new(&self.live(), &scratch).only(self.card.name(), DiskKind::Sd, true);
        if with_ssd { volumes.only(self.ssd.name(), DiskKind::UsbSsd, false) } else { volumes }
    }

    /// What a power cut leaves: nothing that was not written, nothing mounted.
    fn cut(&self) {
        for folder in ["live", "scratch/target", "scratch/probe"] {
            let folder = self.dir.path().join(folder);
            // What is not mounted is refused, which is as good.
            if is_mounted(&folder) {
                forget_unwritten(&folder).unwrap();
                run("umount", &[folder.to_str().unwrap()]);
            }
        }
    }

    /// The marks of both disks: (generation, state).
    fn marks(&self) -> Vec<(u64, CopyState)> {
        let mut marks = Vec::new();
        for disk in self.volumes(true).scan().unwrap() {
            for volume in disk.volumes {
                if let Holds::Marked(bytes) = volume.holds {
                    let identity = Identity::parse(&bytes).unwrap();
                    marks.push((identity.generation, identity.state));
                }
            }
        }
        marks
    }
}

fn is_mounted(folder: &Path) -> bool {
    let folder = folder.to_str().unwrap();
    fs::read_to_string("/proc/mounts").unwrap().lines().any(|line| line.split(' ').nth(1) == Some(folder))
}

#[derive(Debug)]
struct Nobody;

impl Writers for Nobody {
    fn allow(&mut self, _folder: &Path) {}
    fn stop(&mut self, _torn_off: bool) {}
    fn stopped(&mut self) -> bool {
        true
    }
}

/// Counts every order and refuses all from one on, as a machine without power does.
#[derive(Debug)]
struct Power<V> {
    inner: V,
    /// Called just before a disk is erased.
    before_provision: Hook,
    left: Arc<AtomicUsize>,
    off: Arc<AtomicBool>,
}

/// Something that happens at a moment of the test's choice.
struct Hook(Box<dyn FnMut() + Send>);

impl std::fmt::Debug for Hook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hook")
    }
}

fn has_power(left: &AtomicUsize, off: &AtomicBool) -> bool {
    let was = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
    if was.is_err() {
        off.store(true, Ordering::Relaxed);
    }
    was.is_ok()
}

impl<V: Volumes> Power<V> {
    fn take(&self) -> Result<(), VolumeError> {
        if has_power(&self.left, &self.off) { Ok(()) } else { Err(VolumeError::Gone) }
    }
}

impl<V: Volumes> Volumes for Power<V> {
    fn plugged(&mut self) -> u64 {
        self.inner.plugged()
    }
    fn scan(&mut self) -> Result<Vec<SeenDisk>, DeviceError> {
        if self.off.load(Ordering::Relaxed) { Ok(Vec::new()) } else { self.inner.scan() }
    }
    fn provision(&mut self, seen: &SeenDisk, id: &VolumeId, mark: &[u8]) -> Result<(), VolumeError> {
        self.take()?;
        (self.before_provision.0)();
        self.inner.provision(seen, id, mark)?;
        self.take()
    }
    fn prepare_boot(&mut self, seen: &SeenDisk) -> Result<(), VolumeError> {
        self.take()?;
        self.inner.prepare_boot(seen)
    }
    fn used_bytes(&mut self, place: MountPlace) -> Result<u64, VolumeError> {
        self.inner.used_bytes(place)
    }
    fn check(&mut self, volume: &VolumeId, repair: bool) -> Result<CheckResult, VolumeError> {
        self.take()?;
        self.inner.check(volume, repair)
    }
    fn mount(&mut self, volume: &VolumeId, place: MountPlace) -> Result<PathBuf, VolumeError> {
        self.take()?;
        self.inner.mount(volume, place)
    }
    fn unmount(&mut self, place: MountPlace, torn_off: bool) -> Result<(), VolumeError> {
        self.take()?;
        self.inner.unmount(place, torn_off)
    }
    fn mark(&mut self, volume: &VolumeId, identity: &[u8]) -> Result<(), VolumeError> {
        self.take()?;
        self.inner.mark(volume, identity)?;
        self.take()
    }
    fn note_jump(&mut self, volume: &VolumeId) -> Result<(), VolumeError> {
        self.take()?;
        self.inner.note_jump(volume)
    }
    fn forget_cached(&mut self, folder: &Path) -> Result<(), VolumeError> {
        self.take()?;
        self.inner.forget_cached(folder)
    }
    fn random(&mut self) -> Result<[u8; 16], DeviceError> {
        self.inner.random()
    }
}

/// Runs until the wanted state is reported, or the power is gone; says yes to every question. Gives the last state.
fn run_until(
    volumes: impl Volumes + 'static,
    left: &Arc<AtomicUsize>,
    wanted: fn(&PlacementStatus) -> bool,
) -> PlacementStatus {
    run_with(volumes, left, wanted, Hook(Box::new(|| ())), || ())
}

/// [`run_until`], with something that happens just before a disk is erased, and at each look of a copy.
fn run_with(
    volumes: impl Volumes + 'static,
    left: &Arc<AtomicUsize>,
    wanted: fn(&PlacementStatus) -> bool,
    before_provision: Hook,
    mut while_copying: impl FnMut() + Send + 'static,
) -> PlacementStatus {
    let off = Arc::new(AtomicBool::new(false));
    let last = Arc::new(Mutex::new(PlacementStatus::default()));
    let (answers, taken) = mpsc::channel();
    let volumes = Power { inner: volumes, before_provision, left: Arc::clone(left), off: Arc::clone(&off) };
    let (reported, ended) = (Arc::clone(&last), Arc::clone(&off));
    let report = move |status: &PlacementStatus| {
        if let Some(question) = &status.question {
            let _sent = answers.send(Answer { question: question.id, yes: true });
        }
        if wanted(status) {
            ended.store(true, Ordering::Relaxed);
        }
        *reported.lock().unwrap() = status.clone();
    };
    let (left, cut) = (Arc::clone(left), Arc::clone(&off));
    let platform = Platform {
        volumes: Box::new(volumes),
        writers: Box::new(Nobody),
        answers: taken,
        go_on: Box::new(move || {
            while_copying();
            has_power(&left, &cut)
        }),
        report: Box::new(report),
    };
    storage::run(
        &Config { limits: Limits { target_bytes_min: 32 * MIB, target_free_bytes_min: 0 } },
        platform,
        &off,
    );
    last.lock().unwrap().clone()
}

fn unlimited() -> Arc<AtomicUsize> {
    Arc::new(AtomicUsize::new(usize::MAX))
}

fn is_live(status: &PlacementStatus) -> bool {
    matches!(status.data, Placement::Live { .. })
}

fn is_moved(status: &PlacementStatus) -> bool {
    matches!(&status.data, Placement::Live { disk } if disk.starts_with(DiskKind::UsbSsd.label()))
}

/// Fills the data of a box that lives on its card, with what the PDS has: folders, files of all sizes, rights.
fn fill(folder: &Path) {
    fs::create_dir_all(folder.join("pds/blobs/ab")).unwrap();
    fs::write(folder.join("pds/store.sqlite"), vec![7; 3_000_000]).unwrap();
    fs::write(folder.join("pds/empty"), b"").unwrap();
    for number in 0..4 {
        fs::write(folder.join(format!("pds/blobs/ab/{number}")), vec![number; 10_000]).unwrap();
    }
    run("chmod", &["600", folder.join("pds/store.sqlite").to_str().unwrap()]);
    run("chown", &["-R", "4711:4712", folder.join("pds").to_str().unwrap()]);
    run("sync", &["-f", folder.to_str().unwrap()]);
}

fn is_filled(folder: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let store = folder.join("pds/store.sqlite");
    fs::read(&store).is_ok_and(|bytes| bytes == vec![7; 3_000_000])
        && fs::metadata(&store).is_ok_and(|meta| meta.mode() & 0o777 == 0o600 && meta.uid() == 4711)
        && (0..4).all(|number| {
            fs::read(folder.join(format!("pds/blobs/ab/{number}")))
                .is_ok_and(|bytes| bytes == vec![number; 10_000])
        })
        && folder.join("pds/empty").exists()
}

/// Mounts what is alive and tells whether all is there; gives the disk's words.
fn look(bench: &Bench) -> String {
    let live = bench.live();
    let seen = Arc::new(Mutex::new((false, String::new())));
    #[derive(Debug)]
    struct Look(Arc<Mutex<(bool, String)>>);
    impl Writers for Look {
        fn allow(&mut self, folder: &Path) {
            self.0.lock().unwrap().0 = is_filled(folder);
        }
        fn stop(&mut self, _torn_off: bool) {}
        fn stopped(&mut self) -> bool {
            true
        }
    }
    let off = Arc::new(AtomicBool::new(false));
    let (_answers, taken) = mpsc::channel();
    let (ended, words) = (Arc::clone(&off), Arc::clone(&seen));
    let platform = Platform {
        volumes: Box::new(bench.volumes(true)),
        writers: Box::new(Look(Arc::clone(&seen))),
        answers: taken,
        go_on: Box::new(|| true),
        report: Box::new(move |status| match &status.data {
            Placement::Live { disk } => {
                words.lock().unwrap().1.clone_from(disk);
                ended.store(true, Ordering::Relaxed);
            }
            Placement::Held { title, why } => panic!("held: {title}: {why}"),
            Placement::Starting | Placement::Moving { .. } => {}
        }),
    };
    storage::run(
        &Config { limits: Limits { target_bytes_min: u64::MAX, target_free_bytes_min: 0 } },
        platform,
        &off,
    );
    let (filled, disk) = seen.lock().unwrap().clone();
    assert!(filled, "something is missing in {} on {disk}; {:?}", live.display(), bench.marks());
    disk
}

fn founded() -> Bench {
    let bench = Bench::new();
    let status = run_until(bench.volumes(false), &unlimited(), is_live);
    assert!(is_live(&status), "{status:?}");
    let mut volumes = bench.volumes(false);
    let disks = volumes.scan().unwrap();
    let place = disks[0].volumes.iter().find(|volume| volume.is_data_place).unwrap();
    assert!(place.size_bytes > 50 * MIB, "grown from 16 MiB to {}", place.size_bytes);
    let folder = volumes.mount(&place.id, MountPlace::Live).unwrap();
    fill(&folder);
    volumes.unmount(MountPlace::Live, false).unwrap();
    bench
}

#[test]
fn a_move_with_a_cut_at_every_step_leaves_one_living_copy_with_everything() {
    if !can_make_disks() {
        return;
    }
    let mut cuts = 0;
    for steps in 0.. {
        let bench = founded();
        let left = Arc::new(AtomicUsize::new(steps));
        run_until(bench.volumes(true), &left, is_moved);
        let finished = left.load(Ordering::Relaxed) > 0;
        bench.cut();
        let before = bench.marks();
        let disk = look(&bench);
        assert!(!disk.is_empty(), "after {steps} steps: {before:?}");
        let whole = bench.marks().iter().filter(|(_, state)| *state == CopyState::Whole).count();
        assert_eq!(whole, 1, "after {steps} steps: {before:?} -> {:?}", bench.marks());
        if finished {
            let newest = bench.marks().into_iter().max_by_key(|(generation, _)| *generation).unwrap();
            assert_eq!(newest, (2, CopyState::Whole));
            break;
        }
        cuts += 1;
    }
    println!("{cuts} cuts");
    assert!(cuts > 30, "only {cuts} cuts");
}

#[test]
fn a_disk_that_was_swapped_after_the_consent_is_not_written() {
    if !can_make_disks() {
        return;
    }
    let bench = founded();
    let mut volumes = bench.volumes(true);
    let ssd =
        |volumes: &mut LinuxVolumes| volumes.scan().unwrap().into_iter().find(|disk| !disk.is_boot).unwrap();
    let consented = ssd(&mut volumes);
    run("mkfs.ext4", &["-q", &bench.ssd.node]);
    let before = fs::read(bench.dir.path().join("ssd.img")).unwrap();
    let id = VolumeId::random([3; 16]);
    assert!(matches!(volumes.provision(&consented, &id, b"{}"), Err(VolumeError::Changed)));
    let other = SeenDisk { attached: Some(0), ..ssd(&mut volumes) };
    assert!(matches!(volumes.provision(&other, &id, b"{}"), Err(VolumeError::Changed)));
    assert!(before == fs::read(bench.dir.path().join("ssd.img")).unwrap(), "it was written to");
}

#[test]
fn a_data_disk_runs_nothing() {
    use std::os::unix::fs::PermissionsExt;

    if !can_make_disks() {
        return;
    }
    let bench = founded();
    let mut volumes = bench.volumes(false);
    let disks = volumes.scan().unwrap();
    let place = disks[0].volumes.iter().find(|volume| volume.is_data_place).unwrap();
    let folder = volumes.mount(&place.id, MountPlace::Live).unwrap();
    let program = folder.join("program");
    fs::copy("/bin/true", &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o4755)).unwrap();
    let started = Command::new(&program).status();
    volumes.unmount(MountPlace::Live, false).unwrap();
    assert_eq!(started.unwrap_err().kind(), std::io::ErrorKind::PermissionDenied);
}
