//! The clock chip of a board: which one it is, read and set on the second's edge.
//!
//! It reports; whether a chip is believed is the time guard's to decide (`timeguard::policy`).

mod date;
mod driver_first;
mod ds3231;
mod edge;
mod i2c;
mod kernel;

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use platform::board::{RtcChip, RtcWiring};
use platform::time::BootClock;
use platform::{DeviceError, DriverFirst, KernelLog, Rtc, RtcReading};

use crate::{LinuxClock, LinuxKernelLog};
use ds3231::Ds3231;
use edge::{Chip, Pace, Reading};
use i2c::I2cRegisters;
use kernel::KernelRtc;

/// What errors call it.
const DEVICE: &str = "clock chip";

/// Clock chips in sysfs that are looked at; a Pi has two at most.
const CHIPS_MAX: usize = 16;

/// Longest name of a chip, bytes.
const NAME_BYTES_MAX: u64 = 256;

/// Names of drivers that mean a chip of which something is known.
const DRIVERS: &[(&str, RtcChip)] = &[("rtc-pcf8523", RtcChip::Pcf8523), ("rpi-rtc", RtcChip::RpiRtc)];

/// Names of drivers for the DS3231 and its kin, which hide that it stopped.
const HIDING_DRIVERS: &[&str] = &["rtc-ds1307", "rtc-ds3232", "ds3232"];

/// The clock chip of this machine.
#[derive(Debug)]
pub struct LinuxRtc {
    chip: Box<dyn Chip>,
    kind: RtcChip,
    clock: LinuxClock,
    driver_first: Option<DriverFirst>,
}

impl LinuxRtc {
    /// Finds the chip of a board, or another one that the kernel drives; `None` when there is none.
    ///
    /// A DS3231 is spoken to directly, with or without a driver. Others are found by their names in sysfs; their
    /// numbers are the order of probing and mean nothing.
    #[must_use]
    pub fn find(wiring: Option<&RtcWiring>, clock: &LinuxClock) -> Option<Self> {
        let (kind, chip) = find_chip(wiring, Path::new("/sys/class/rtc"), Path::new("/dev"))?;
        let driver_first = wiring.filter(|_| kind == RtcChip::Ds3231).and_then(had_before);
        Some(Self { chip, kind, clock: clock.clone(), driver_first })
    }

    /// Tells whether a kernel driver had the chip first in this boot and may have hidden that it stopped.
    #[must_use]
    pub fn driver_first(&self) -> Option<DriverFirst> {
        self.driver_first
    }

    /// Tells what sort of chip it is.
    #[must_use]
    pub fn kind(&self) -> RtcChip {
        self.kind
    }
}

impl Rtc for LinuxRtc {
    fn read(&mut self) -> Result<RtcReading, DeviceError> {
        let failed = |source| DeviceError::new(DEVICE, "read the time", source);
        let reading = edge::read(self.chip.as_mut(), &mut RealPace(&self.clock)).map_err(failed)?;
        let battery = self.chip.battery();
        Ok(match reading {
            Reading::Running(edge) => RtcReading {
                unix_us: edge.unix_s.saturating_mul(1_000_000),
                boottime_ns: edge.boottime_ns,
                uncertainty_us: edge.uncertainty_ns.div_ceil(1_000),
                stopped: false,
                driver_first: self.driver_first,
                battery,
            },
            Reading::Stopped { unix_s } => RtcReading {
                unix_us: unix_s.unwrap_or_default().saturating_mul(1_000_000),
                boottime_ns: self.clock.boottime_ns(),
                uncertainty_us: 1_000_000,
                stopped: true,
                driver_first: self.driver_first,
                battery,
            },
        })
    }

    fn set(&mut self, unix_us: i64) -> Result<(), DeviceError> {
        let now_ns = i64::try_from(self.clock.boottime_ns()).unwrap_or(i64::MAX);
        let utc_minus_boottime_ns = unix_us.saturating_mul(1_000).saturating_sub(now_ns);
        edge::set(self.chip.as_mut(), &mut RealPace(&self.clock), utc_minus_boottime_ns)
            .map_err(|source| DeviceError::new(DEVICE, "set the time", source))?;
        // From here on the flag is what we left.
        self.driver_first = None;
        Ok(())
    }
}

/// The time of this machine.
struct RealPace<'a>(&'a LinuxClock);

impl Pace for RealPace<'_> {
    fn boottime_ns(&self) -> u64 {
        self.0.boottime_ns()
    }

    fn wait(&mut self, span_ns: u64) {
        std::thread::sleep(Duration::from_nanos(span_ns));
    }
}

fn find_chip(wiring: Option<&RtcWiring>, class: &Path, dev: &Path) -> Option<(RtcChip, Box<dyn Chip>)> {
    if let Some(wiring) = wiring
        && let Some(chip) = wired(wiring, class, dev)
    {
        return Some((wiring.chip, chip));
    }
    let others = named_chips(class);
    let known = others.iter().find_map(|(folder, name)| {
        let driver = name.split(' ').next().unwrap_or_default();
        let (_, kind) = DRIVERS.iter().find(|(known, _)| *known == driver)?;
        open(*kind, folder, dev).map(|chip| (*kind, chip))
    });
    known.or_else(|| {
        others.iter().find_map(|(folder, name)| {
            // Their stop flag is hidden, and where it could be read they were found above.
            let hides = HIDING_DRIVERS.iter().any(|driver| name.starts_with(driver));
            (!hides).then(|| open(RtcChip::Other, folder, dev))?.map(|chip| (RtcChip::Other, chip))
        })
    })
}

/// Tells whether a driver had the DS3231 of a board before us.
fn had_before(wiring: &RtcWiring) -> Option<DriverFirst> {
    let bus = Path::new(wiring.bus.as_deref()?);
    driver_first::driver_first(Path::new("/sys/bus/i2c/devices"), bus, wiring.address?, || {
        LinuxKernelLog::open().map(|log| Box::new(log) as Box<dyn KernelLog>)
    })
}

/// Opens the chip that the board file describes, when it answers.
fn wired(wiring: &RtcWiring, class: &Path, dev: &Path) -> Option<Box<dyn Chip>> {
    if wiring.chip == RtcChip::Ds3231 {
        let bus = Path::new(wiring.bus.as_deref()?);
        let mut chip = Ds3231::new(I2cRegisters::new(bus, wiring.address?));
        return chip.is_stopped().is_ok().then(|| Box::new(chip) as Box<dyn Chip>);
    }
    let named = named_chips(class);
    wiring.names.iter().find_map(|wanted| {
        let (folder, _) = named.iter().find(|(_, name)| name == wanted)?;
        open(wiring.chip, folder, dev)
    })
}

fn open(kind: RtcChip, folder: &Path, dev: &Path) -> Option<Box<dyn Chip>> {
    KernelRtc::open(kind, folder, dev).ok().map(|chip| Box::new(chip) as Box<dyn Chip>)
}

/// Lists the chips that the kernel drives, with their names, in the order of their numbers.
fn named_chips(class: &Path) -> Vec<(PathBuf, String)> {
    let Ok(entries) = fs::read_dir(class) else { return Vec::new() };
    let mut found: Vec<(PathBuf, String)> = entries
        .flatten()
        .take(CHIPS_MAX)
        .filter_map(|entry| Some((entry.path(), name_of(&entry.path()).ok()?)))
        .collect();
    found.sort();
    found
}

fn name_of(folder: &Path) -> io::Result<String> {
    let mut name = String::new();
    fs::File::open(folder.join("name"))?.take(NAME_BYTES_MAX).read_to_string(&mut name)?;
    Ok(name.trim().to_owned())
}

#[cfg(test)]
mod tests;
