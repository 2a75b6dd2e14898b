//! The simulated world around the box: its clock, the time servers, the clock chip and the data disk.
//!
//! Everything in it can be made to fail by a [`Command`]; nothing of it can fail by itself.

use std::sync::Arc;

use control::TimeStatus;
use control::status::{DiskCare, StorageStatus};
use platform::sim::SimDisk;
use platform::time::BootClock;
use platform::{Clock, Disk};
use timeguard::sim::SimWorld;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::command::Command;

/// The simulated hardware and network.
#[derive(Debug)]
pub struct World {
    time: SimWorld,
    /// The computer's own clocks, whose CLOCK_REALTIME is the truth here.
    host: Arc<dyn BootClock>,
    disk: SimDisk,
    /// The computer's own disk under the data folder, whose room is the room there is.
    host_disk: Option<Arc<dyn Disk>>,
    plugged: watch::Sender<bool>,
    network: watch::Sender<bool>,
    heal: Arc<Notify>,
}

impl World {
    /// Makes a world in which all is well. Time runs with `host`, whose CLOCK_REALTIME is taken for the truth.
    pub fn new(host: Arc<dyn BootClock>, host_disk: Option<Arc<dyn Disk>>, seed: u64) -> Self {
        let world = Self {
            time: SimWorld::new(Arc::clone(&host), seed),
            host,
            disk: SimDisk::default(),
            host_disk,
            plugged: watch::Sender::new(true),
            network: watch::Sender::new(true),
            heal: Arc::new(Notify::new()),
        };
        world.measure();
        world
    }

    /// The only clock of the services.
    pub fn clock(&self) -> Clock {
        self.time.clock()
    }

    /// The true time, UTC microseconds: what the rest of the world, such as a PLC directory, goes by.
    pub fn true_us(&self) -> u64 {
        u64::try_from(self.host.realtime_us()).unwrap_or(0)
    }

    /// The data disk.
    pub fn disk(&self) -> Arc<dyn Disk> {
        Arc::new(self.disk.clone())
    }

    /// Whether the data disk is plugged in.
    pub fn plugged(&self) -> watch::Receiver<bool> {
        self.plugged.subscribe()
    }

    /// Whether the network is up.
    pub fn network(&self) -> watch::Receiver<bool> {
        self.network.subscribe()
    }

    /// Rings when the owner asks for repos to be healed.
    pub fn heal(&self) -> Arc<Notify> {
        Arc::clone(&self.heal)
    }

    /// Carries out a fault, or its end. Commands that are no faults do nothing here.
    pub fn apply(&self, command: Command) {
        match command {
            Command::Time(fault) => self.time.command(fault),
            Command::SsdPull => {
                self.disk.pull();
                self.plugged.send_replace(false);
            }
            Command::SsdPlug => {
                self.disk.plug();
                self.plugged.send_replace(true);
            }
            Command::DiskFull => self.disk.set_full(true),
            Command::DiskOk => self.disk.set_full(false),
            Command::NetworkDown => drop(self.network.send_replace(false)),
            Command::NetworkUp => drop(self.network.send_replace(true)),
            Command::RepairRepos => self.heal.notify_one(),
            Command::ButtonShort
            | Command::ButtonLong
            | Command::PowerCut
            | Command::Help
            | Command::Quit => {}
        }
    }

    /// The owner holds the button while the screen asks whether a date is right.
    pub fn confirm(&self) {
        if let Some(date_us) = self.time.status().asks_owner_us {
            self.time.owner_accepts(date_us);
        }
    }

    /// What the time guard says.
    pub fn time_status(&self) -> TimeStatus {
        self.time.status()
    }

    /// What the storage says.
    pub fn storage_status(&self) -> StorageStatus {
        self.measure();
        let facts = SimDisk::default().facts();
        let space =
            self.disk.space().ok().or_else(|| self.host_disk.as_ref().and_then(|disk| disk.space().ok()));
        let (total_bytes, free_bytes) = space.map_or((0, 0), |space| (space.total_bytes, space.free_bytes));
        let present = self.disk.is_present();
        let state = appliance::upkeep::state_of(present, false, free_bytes);
        StorageStatus {
            disk: facts.as_ref().map(|facts| facts.model.clone()).unwrap_or_default(),
            kind: facts.map_or(platform::DiskKind::UsbSsd, |facts| facts.kind),
            present,
            state,
            free_bytes,
            total_bytes,
            wear_percent: None,
            care: DiskCare::default(),
        }
    }

    /// Lets time servers and guard run until `shutdown`.
    pub async fn run(&self, shutdown: CancellationToken) {
        self.time.run(shutdown).await;
    }

    /// Takes the room over that the computer's own disk has.
    fn measure(&self) {
        if let Some(space) = self.host_disk.as_ref().and_then(|disk| disk.space().ok()) {
            self.disk.set_space(space);
        }
    }
}
