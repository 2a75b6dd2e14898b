//! The machine: one boot, and in it a PDS for each load, each with a recording disk of its own.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use testbed::block::{Recorder, Server, serve};
use testbed::{Attach, Disk, HOST_IN_GUEST, Job, Machine, Setup, free_port, plc};

use crate::load::{self, ADMIN_PASSWORD, Plan};
use crate::medium::{make_image, program, run};
use crate::pds::Run;
use crate::session::Notes;

/// Port of the first PDS in the guest; the others follow.
const FIRST_PORT: u16 = 3_000;

/// Connects the guest to the emulated network.
pub(crate) const NETWORK_UP: &str = "ip link set lo up; ip link set eth0 up; ip addr add 10.0.2.15/24 dev eth0; \
                                     ip route add default via 10.0.2.2";

/// Wait for a PDS to answer: a second on its own, more beside others on a busy host.
const START_LIMIT: Duration = Duration::from_secs(120);

/// Name of the program, and of the library that plants faults, in the guest.
const PROGRAM: &str = "/usr/bin/perch-pds";
const FAULTS: &str = "/usr/lib/faults.so";

/// What is wrong in one PDS, on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The database is never synced, as with `synchronous=OFF`.
    SynchronousOff,
    /// The disk answers every second flush without doing it.
    LostFlush,
    /// The folder of a blob is not synced after the blob got its name.
    BlobFolderUnsynced,
    /// A signing key is not synced before its account.
    KeyUnsynced,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::SynchronousOff, Self::LostFlush, Self::BlobFolderUnsynced, Self::KeyUnsynced];

    /// What the library in the guest is to do; nothing for a fault of the disk.
    fn in_guest(self) -> Option<&'static str> {
        match self {
            Self::SynchronousOff => Some("database"),
            Self::BlobFolderUnsynced => Some("blob-folders"),
            Self::KeyUnsynced => Some("keys"),
            Self::LostFlush => None,
        }
    }
}

/// One PDS and what it shall do.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    /// What is wrong with it.
    pub fault: Option<Fault>,
    /// Its load.
    pub plan: Plan,
}

/// A PDS in the guest, as the host sees it.
struct Vessel {
    disk: Arc<Recorder>,
    socket: PathBuf,
    host_port: u16,
    guest_port: u16,
    order: Order,
}

/// Boots a machine with the programs in a folder, runs the loads side by side, and cuts the power.
///
/// # Errors
/// When the machine does not come up or a load fails; what the machine said is in the error.
pub fn record(programs: &Path, source_root: &Path, orders: &[Order]) -> Result<Vec<Run>> {
    let scratch = tempfile::tempdir().context("no room for the disks' logs")?;
    let image = scratch.path().join("image");
    make_image(&image)?;
    let mut vessels = Vec::new();
    for (number, order) in (0_u16..).zip(orders) {
        let disk = Arc::new(Recorder::new(&image, scratch.path())?);
        let socket = scratch.path().join(format!("disk{number}"));
        let (host_port, guest_port) = (free_port()?, FIRST_PORT + number);
        vessels.push(Vessel { disk, socket, host_port, guest_port, order: *order });
    }
    let servers = vessels.iter().map(|vessel| serve(&vessel.socket, Arc::clone(&vessel.disk)));
    let servers = servers.collect::<Result<Vec<Server>, _>>()?;
    let plc_url = format!("http://{HOST_IN_GUEST}:{}", plc::serve()?);
    let faults = build_faults(source_root, scratch.path())?;
    let machine = Machine::boot(&setup(programs, &faults, &vessels))?;
    machine.sh(NETWORK_UP)?;
    let mut jobs = Vec::new();
    for (letter, vessel) in ('a'..='z').zip(&vessels) {
        jobs.push(machine.start(&start_script(letter, vessel, &plc_url))?);
    }
    for vessel in &vessels {
        let asked = format!("wget -q -O /dev/null http://127.0.0.1:{}/xrpc/_health", vessel.guest_port);
        if let Err(late) = machine.wait_for(&asked, START_LIMIT) {
            bail!("no PDS answers in the guest: {late}\n{}", last_words(&machine, &jobs));
        }
    }
    let ledgers = run_loads(&vessels);
    let ledgers = match ledgers {
        Ok(ledgers) => ledgers,
        Err(error) => {
            return Err(error.context(last_words(&machine, &jobs)));
        }
    };
    machine.cut_power();
    for server in servers {
        server.join()?;
    }
    let runs = vessels.iter().zip(ledgers).map(|(vessel, ledger)| {
        let log = vessel.disk.finish()?;
        let lossy = vessel.order.fault == Some(Fault::LostFlush);
        let log = if lossy { log.with_lost_flushes(0, 0, 2)? } else { log };
        Ok(Run { log, ledger, plc_url: plc_url.clone(), data: PathBuf::from("pds") })
    });
    runs.collect()
}

/// Ends the programs in the guest and gives what they wrote.
fn last_words(machine: &Machine, jobs: &[Job]) -> String {
    let ended = jobs.iter().filter_map(|job| machine.stop(job).ok());
    let said: Vec<String> = ended.map(|done| done.error_text()).collect();
    said.join("\n")
}

fn run_loads(vessels: &[Vessel]) -> Result<Vec<crashfs::Ledger>> {
    let loads: Vec<_> = vessels
        .iter()
        .map(|vessel| {
            let address = format!("127.0.0.1:{}", vessel.host_port);
            let notes = Arc::new(Notes::new(Arc::clone(&vessel.disk)));
            let plan = vessel.order.plan;
            std::thread::spawn(move || load::run(&address, &notes, plan))
        })
        .collect();
    let mut ledgers = Vec::new();
    for (load, vessel) in loads.into_iter().zip(vessels) {
        let ended = load.join().map_err(|_| anyhow::anyhow!("the load failed by a bug"))?;
        ledgers.push(ended.with_context(|| format!("the load of {:?}", vessel.order.fault))?);
    }
    Ok(ledgers)
}

fn setup(programs: &Path, faults: &Path, vessels: &[Vessel]) -> Setup {
    let forwards: Vec<_> = vessels.iter().map(|vessel| (vessel.host_port, vessel.guest_port)).collect();
    let mut setup = Setup::new()
        .network(&forwards)
        .host_file(PROGRAM, 0o755, programs.join("perch-pds"))
        .host_file(FAULTS, 0o755, faults);
    for (number, vessel) in vessels.iter().enumerate() {
        // Virtio has no FUA: the guest's kernel flushes before and after instead.
        setup = setup.disk(Disk::nbd(&format!("recorder{number}"), &vessel.socket, Attach::Virtio));
    }
    setup
}

/// Mounts a disk as the device does and runs a PDS on it.
fn start_script(letter: char, vessel: &Vessel, plc_url: &str) -> String {
    let port = vessel.guest_port;
    let fault = vessel.order.fault.and_then(Fault::in_guest);
    let fault = fault.map(|what| format!("LD_PRELOAD={FAULTS} PERCH_TEST_FAULT={what} ")).unwrap_or_default();
    format!(
        "mkdir -p /disk{letter} && mount -t ext4 -o noatime /dev/vd{letter} /disk{letter} && {fault}\
         PERCH_PDS_DEV_MODE=true PERCH_PDS_LISTEN_ADDRESS=0.0.0.0 PERCH_PDS_PORT={port} PERCH_PDS_RATE_LIMITS=false \
         PERCH_PDS_ADMIN_PASSWORD={ADMIN_PASSWORD} PERCH_PDS_DATA_DIR=/disk{letter}/pds PERCH_PDS_PLC_URL={plc_url} PERCH_PDS_LOG_LEVEL=warn exec {PROGRAM}"
    )
}

/// Builds the library that plants faults: the product has no switch for them.
fn build_faults(source_root: &Path, folder: &Path) -> Result<PathBuf> {
    let library = folder.join("faults.so");
    let source = source_root.join("tests/powercut/faults.c");
    let mut compiler = program("aarch64-linux-gnu-gcc");
    compiler.args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"]).arg(&library).arg(source);
    let said = run(&mut compiler)?;
    if said.success { Ok(library) } else { bail!("the faults do not compile: {}", said.text) }
}
