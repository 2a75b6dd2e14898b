//! The storage part, the supervisor's driver and programs that are none, together: the data is mounted before the PDS
//! starts and left before it is unmounted.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use control::placement::Placement;
use control::request::Deed;
use control::users::{User, Users};
use platform::board::Memory;
use platform::sim::SimPower;
use platform::volumes::{CheckResult, MountPlace, SeenDisk, VolumeError, VolumeId, Volumes};
use platform::{DeviceError, PowerRequest};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::data;
use super::run::{Addresses, Box_, run};
use super::run_tests::{Fakes, until};
use crate::children::{self, Paths};
use crate::gather::OwnStatus;
use crate::storage::tests::{card, whole};

/// Disks that the test plugs in and pulls; what is done to them goes into the journal of the programs.
#[derive(Clone, Debug)]
struct FakeVolumes {
    disks: Arc<Mutex<Vec<SeenDisk>>>,
    folder: PathBuf,
    programs: Fakes,
}

impl FakeVolumes {
    fn note(&self, what: &str) {
        self.programs.inner.lock().unwrap().journal.push(what.to_owned());
    }
}

impl Volumes for FakeVolumes {
    fn plugged(&mut self) -> u64 {
        self.disks.lock().unwrap().len() as u64
    }
    fn scan(&mut self) -> Result<Vec<SeenDisk>, DeviceError> {
        Ok(self.disks.lock().unwrap().clone())
    }
    fn provision(&mut self, _: &SeenDisk, _: &VolumeId, _: &[u8]) -> Result<(), VolumeError> {
        panic!("nobody agreed to that");
    }
    fn prepare_boot(&mut self, _: &SeenDisk) -> Result<(), VolumeError> {
        Ok(())
    }
    fn used_bytes(&mut self, _: MountPlace) -> Result<u64, VolumeError> {
        Ok(0)
    }
    fn check(&mut self, _: &VolumeId, _: bool) -> Result<CheckResult, VolumeError> {
        Ok(CheckResult::Clean)
    }
    fn mount(&mut self, _: &VolumeId, _: MountPlace) -> Result<PathBuf, VolumeError> {
        self.note("mount");
        Ok(self.folder.clone())
    }
    fn unmount(&mut self, _: MountPlace, torn_off: bool) -> Result<(), VolumeError> {
        self.note(if torn_off { "detach" } else { "unmount" });
        Ok(())
    }
    fn mark(&mut self, _: &VolumeId, _: &[u8]) -> Result<(), VolumeError> {
        Ok(())
    }
    fn note_jump(&mut self, _: &VolumeId) -> Result<(), VolumeError> {
        Ok(())
    }
    fn forget_cached(&mut self, _: &Path) -> Result<(), VolumeError> {
        Ok(())
    }
    fn random(&mut self) -> Result<[u8; 16], DeviceError> {
        Ok([7; 16])
    }
}

/// A box with its data on a card.
struct World {
    folder: tempfile::TempDir,
    programs: Fakes,
    disks: Arc<Mutex<Vec<SeenDisk>>>,
    own: OwnStatus,
    power: SimPower,
    deed: mpsc::Sender<Deed>,
    tasks: tokio::task::JoinSet<std::io::Result<()>>,
}

impl World {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let paths = Paths { bin: "/usr/bin".into(), run: folder.path().into(), data: data.clone() };
        // Folders can be given to oneself without being root.
        let own_user = std::fs::metadata("/proc/self").unwrap();
        let user = User { uid: own_user.uid(), gid: own_user.gid() };
        let users = Users { pds: Some(user), ..Users::default() };
        let (programs, power, own) = (Fakes::default(), SimPower::default(), OwnStatus::default());
        let disks = Arc::new(Mutex::new(vec![card(whole(1, "card-04"))]));
        let volumes = FakeVolumes { disks: Arc::clone(&disks), folder: data, programs: programs.clone() };
        let (_wish, wishes) = mpsc::channel(1);
        let (deed, deeds) = mpsc::channel(1);
        let parts = Box_ {
            processes: Box::new(programs.clone()),
            watchdog: None,
            power: Box::new(power.clone()),
            programs: children::ours(&paths, &users, &Memory::default(), &[]),
            data: data::manage(Box::new(volumes), users, &own).unwrap(),
            paths,
            network: None,
            addresses: Addresses::default(),
            interfaces: None,
            wifi_file: None,
            safe_mode: None,
            own: own.clone(),
            wishes,
            deeds,
        };
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(run(parts, CancellationToken::new()));
        Self { folder, programs, disks, own, power, deed, tasks }
    }

    fn journal(&self) -> Vec<String> {
        self.programs.inner.lock().unwrap().journal.clone()
    }

    async fn until(&self, what: &str) {
        until(what, || self.journal().last().is_some_and(|last| last == what)).await;
    }
}

#[tokio::test]
async fn the_pds_starts_on_mounted_data_and_has_ended_before_it_is_unmounted_and_the_power_goes() {
    let mut world = World::start();
    world.until("start pds").await;
    assert_eq!(world.journal(), ["mount", "start pds"]);
    assert!(world.folder.path().join("data/pds").is_dir(), "its folder was made first");
    let live =
        || matches!(world.own.get().placement, Some(placed) if matches!(placed.data, Placement::Live { .. }));
    until("the data's place in the status", live).await;
    world.deed.send(Deed::PowerOff).await.unwrap();
    until("the end", || world.power.requests() == [PowerRequest::Off]).await;
    assert_eq!(world.journal(), ["mount", "start pds", "terminate pds", "unmount"]);
    while let Some(ended) = world.tasks.join_next().await {
        ended.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_pulled_disk_ends_the_pds_at_once_and_its_return_starts_it_again() {
    let world = World::start();
    world.until("start pds").await;
    let pulled = world.disks.lock().unwrap().pop().unwrap();
    // Neither waits for the other.
    until("both", || world.journal().len() == 4).await;
    let mut done = world.journal().split_off(2);
    done.sort();
    assert_eq!(done, ["detach", "kill pds"]);
    let held =
        || matches!(world.own.get().placement, Some(placed) if matches!(placed.data, Placement::Held { .. }));
    until("the page that says which disk to plug in", held).await;
    let back = SeenDisk { attached: Some(2), ..pulled };
    world.disks.lock().unwrap().push(back);
    until("the second start", || world.journal().iter().filter(|line| *line == "start pds").count() == 2)
        .await;
}

#[tokio::test]
async fn a_reset_erases_at_the_next_mount_and_the_box_keeps_its_disk() {
    let world = World::start();
    world.until("start pds").await;
    let data = world.folder.path().join("data");
    std::fs::write(data.join("pds/perch.sqlite"), "accounts").unwrap();
    std::fs::write(data.join(platform::volumes::IDENTITY_FILE), "ours").unwrap();
    world.deed.send(Deed::FactoryReset).await.unwrap();
    until("the restart", || world.power.requests() == [PowerRequest::Restart]).await;
    assert!(data.join("pds/perch.sqlite").exists(), "nothing is erased under a running PDS");
    let own = OwnStatus::default();
    let volumes =
        FakeVolumes { disks: Arc::clone(&world.disks), folder: data.clone(), programs: Fakes::default() };
    let mut again = data::manage(Box::new(volumes), Users::default(), &own).unwrap();
    assert_eq!(again.words.recv().await, Some(data::Word::Allow));
    assert!(!data.join("pds/perch.sqlite").exists());
    assert!(data.join(platform::volumes::IDENTITY_FILE).exists());
    again.close.unwrap().store(true, std::sync::atomic::Ordering::Relaxed);
}
