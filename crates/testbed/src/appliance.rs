//! The whole box as a machine: the root file system's own files (`image/overlay`), the programs built for aarch64, a
//! card, display, clock chip and watchdog; and around it a home network with time servers and a directory of identities.
//!
//! What the real image has comes from the same files. It decides nothing about the box.

use std::{
    fs,
    io::{Seek, SeekFrom, Write},
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

use crate::{
    Attach, Disk, HOST_IN_GUEST, I2cBus, Machine, Setup, TestbedError,
    host::output,
    i2c::{
        ds3231::Ds3231,
        oled::{Controller, Oled},
    },
    plc,
    time_server::{HONEST, TimeServer, Utc},
};

/// Our programs on the device.
const PROGRAMS: [&str; 5] = ["perch-appliance", "perch-pds", "perch-timeguard", "perch-panel", "perchctl"];

/// Where `board/qemu-virt/board.toml` has display and clock chip on the bus.
pub const DISPLAY_ADDRESS: u8 = 0x3c;
pub const CHIP_ADDRESS: u8 = 0x68;
/// Its lines of button and light.
pub const BUTTON_LINE: u32 = 17;
pub const LIGHT_LINE: u32 = 27;

/// Ports of PDS and panel in the guest.
const PDS_PORT: u16 = 2583;
const PANEL_PORT: u16 = 8080;

/// Time servers of different operators: as many as the box's own list has at least.
const OPERATORS: [&str; 4] = ["A", "B", "C", "D"];

/// A card of 1 GiB, which an SD card's size must be a power of two; it takes room on the host only as it fills.
const CARD_BYTES: u64 = 1 << 30;
const SECTOR_BYTES: u64 = 512;
/// The image's partitions: type, first sector, sectors. Boot partition, two system slots, data (DESIGN's layout, with
/// smaller slots), each at a multiple of 4 MiB.
const PARTITIONS: [(u8, u32, u32); 4] =
    [(0x0c, 8_192, 131_072), (0x0c, 139_264, 32_768), (0x0c, 172_032, 32_768), (0x83, 204_800, 1_892_352)];
/// The disk signature in the partition table, which all cards of one image have until they are started.
const CARD_SIGNATURE: u32 = 0x7065_7263;

/// The box before it is switched on, and what stays outside it.
#[derive(Debug)]
pub struct Appliance {
    /// The wires to display and clock chip.
    pub bus: I2cBus,
    /// The display.
    pub display: Oled,
    /// The clock chip, which shows this computer's time.
    pub chip: Ds3231,
    /// The time servers that the box asks.
    pub time_servers: Vec<TimeServer>,
    /// UTC as the time servers tell it.
    pub utc: Utc,
    /// The port of this computer's loopback that leads to the PDS.
    pub pds_port: u16,
    /// The port that leads to the panel.
    pub panel_port: u16,
    /// The owner's settings for this network, the text of `perch.toml`.
    pub settings: String,
    setup: Setup,
}

impl Appliance {
    /// Puts a box together: `programs` is the folder of `cargo xtask cross`, `card` an image of [`make_card`].
    ///
    /// # Errors
    /// When a file is missing or no time server can be started.
    pub fn new(programs: &Path, card: &Path, pds_port: u16, panel_port: u16) -> Result<Self, TestbedError> {
        let setup = root_files(Setup::new(), programs)?.kernel(&["root=/dev/mmcblk0p2"]).gpio();
        let appliance = Self::around(setup, card, pds_port, panel_port)?;
        let settings = appliance.settings.clone();
        Ok(appliance.with(|setup| setup.file("/boot/perch.toml", 0o600, settings.as_bytes())))
    }

    /// Puts the devices and the home network of a box around a machine that brings its own system; its owner's settings are
    /// the caller's to put where that system reads them.
    ///
    /// # Errors
    /// When no time server can be started.
    pub fn around(setup: Setup, card: &Path, pds_port: u16, panel_port: u16) -> Result<Self, TestbedError> {
        let utc = Utc::of_this_computer()?;
        let start = |_| TimeServer::start((Ipv4Addr::LOCALHOST, 0).into(), utc, HONEST);
        let time_servers = OPERATORS.iter().map(start).collect::<Result<Vec<_>, _>>()?;
        let settings = settings(&time_servers, pds_port, plc::serve()?);
        let (bus, display) = (I2cBus::new(), Oled::new(Controller::Ssd1306));
        let chip = Ds3231::showing(utc.us() / 1_000_000);
        bus.plug(DISPLAY_ADDRESS, display.clone());
        bus.plug(CHIP_ADDRESS, chip.clone());
        let setup = setup
            .i2c(&bus)
            .disk(Disk::image(card, Attach::SdCard).id("card"))
            .network(&[(pds_port, PDS_PORT), (panel_port, PANEL_PORT)])
            .watchdog()
            .restarts();
        Ok(Self { bus, display, chip, time_servers, utc, pds_port, panel_port, settings, setup })
    }

    /// Changes the machine, such as its own clock.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(Setup) -> Setup) -> Self {
        self.setup = change(self.setup);
        self
    }

    /// Switches it on and waits until the machine takes commands, which is before the programs of the box serve.
    ///
    /// # Errors
    /// As [`Machine::boot`].
    pub fn boot(&self) -> Result<Machine, TestbedError> {
        Machine::boot(&self.setup)
    }
}

/// The root file system: what the image has, and the agent beside it.
fn root_files(setup: Setup, programs: &Path) -> Result<Setup, TestbedError> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut setup = setup.ext4_programs()?.host_tree("/", &root.join("image/overlay"))?;
    setup = setup.host_tree("/etc/perch/boards", &root.join("board"))?;
    for program in PROGRAMS {
        setup = setup.host_file(&format!("/usr/bin/{program}"), 0o755, programs.join(program));
    }
    let inittab = root.join("image/overlay/etc/inittab");
    let text = fs::read_to_string(&inittab).map_err(TestbedError::file("read", &inittab))?;
    let text = format!("{text}::once:/sbin/testbed-agent\n");
    Ok(setup.file("/etc/inittab", 0o644, text.as_bytes()).link("/sbin/udhcpc", "/bin/busybox"))
}

/// The owner's settings: the emulated network instead of the internet.
fn settings(time_servers: &[TimeServer], pds_port: u16, plc_port: u16) -> String {
    let servers: Vec<String> = OPERATORS
        .iter()
        .zip(time_servers)
        .map(|(operator, server)| {
            format!("{{ name = \"{HOST_IN_GUEST}:{}\", operator = \"{operator}\" }}", server.address().port())
        })
        .collect();
    format!(
        "hostname = \"perch\"\n\
         [time]\nservers = [{}]\ncertificate_hosts = []\nuse_dhcp = false\n\
         [pds]\ndev_mode = true\nhostname = \"localhost\"\npublic_url = \"http://localhost:{pds_port}\"\n\
         listen_address = \"0.0.0.0\"\nport = {PDS_PORT}\nplc_url = \"http://{HOST_IN_GUEST}:{plc_port}\"\n",
        servers.join(", ")
    )
}

/// Makes a card as it is flashed: the image's partition table, and no data yet.
///
/// # Errors
/// When it cannot be written.
pub fn make_card(path: &Path) -> Result<(), TestbedError> {
    let file = || TestbedError::file("write", path);
    let mut card = fs::File::create(path).map_err(file())?;
    card.set_len(CARD_BYTES).map_err(file())?;
    card.seek(SeekFrom::Start(440)).map_err(file())?;
    card.write_all(&partition_table()).map_err(file())
}

/// Tells whether the data's file system on a card was left in order: unmounted, and without a fault.
///
/// # Errors
/// When there is no `dumpe2fs`.
pub fn is_clean(card: &Path) -> Result<bool, TestbedError> {
    let (_, first, _) = PARTITIONS[3];
    let offset = u64::from(first) * SECTOR_BYTES;
    let place = format!("{}?offset={offset}", card.display());
    let about = output(Path::new("/"), "dumpe2fs", &["-h", &place])?;
    let unmounted = !String::from_utf8_lossy(&about).contains("needs_recovery");
    Ok(unmounted && output(Path::new("/"), "e2fsck", &["-fn", &place]).is_ok())
}

/// The end of a master boot record, from its disk signature at byte 440 on.
fn partition_table() -> Vec<u8> {
    let mut table = CARD_SIGNATURE.to_le_bytes().to_vec();
    table.extend([0, 0]);
    for (kind, first, sectors) in PARTITIONS {
        // Not active; the addresses by cylinder and head are too large to be told.
        table.extend([0, 0xfe, 0xff, 0xff, kind, 0xfe, 0xff, 0xff]);
        table.extend(first.to_le_bytes());
        table.extend(sectors.to_le_bytes());
    }
    table.extend([0x55, 0xaa]);
    table
}

/// Where `cargo xtask cross --quick` puts the programs for aarch64.
#[must_use]
pub fn programs() -> PathBuf {
    crate::cache().join("../cross/aarch64-unknown-linux-gnu/quick")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_partitions_fill_the_card_without_overlap() {
        let mut end = 8_192;
        for (_, first, sectors) in PARTITIONS {
            assert_eq!(first, end);
            assert_eq!(first % 8_192, 0, "aligned to 4 MiB");
            end = first + sectors;
        }
        assert_eq!(u64::from(end) * SECTOR_BYTES, CARD_BYTES);
        assert_eq!(partition_table().len(), 512 - 440);
    }
}
