//! Whether a kernel driver had the DS3231 before us in this boot, and what it found.
//!
//! Drivers before Linux 6.17 clear the stop flag when they find the chip and say "SET TIME!" in the log. The kernel's log is
//! then the only witness. Our own kernels have the driver as a module that nothing loads.

use std::path::Path;
use std::time::Duration;

use platform::{DeviceError, DriverFirst, KernelEvent, KernelLog};

/// Records that are looked at: more than the largest log of a start holds.
const RECORDS_MAX: usize = 100_000;

/// Names the chip as the kernel does: `1-0068`. `None` when the bus is no `i2c-N`.
fn device_name(bus: &Path, address: u8) -> Option<String> {
    let number = bus.file_name()?.to_str()?.strip_prefix("i2c-")?;
    number.parse::<u32>().ok().map(|number| format!("{number}-{address:04x}"))
}

/// Tells what a driver did before us; `None` when none has the chip. `devices` is `/sys/bus/i2c/devices`; the log is opened
/// only when it is needed.
pub(crate) fn driver_first(
    devices: &Path,
    bus: &Path,
    address: u8,
    log: impl FnOnce() -> Result<Box<dyn KernelLog>, DeviceError>,
) -> Option<DriverFirst> {
    let device = device_name(bus, address)?;
    if !devices.join(&device).join("driver").exists() {
        return None;
    }
    let witness = log().and_then(|mut log| witness(log.as_mut(), &device));
    witness.unwrap_or(Some(DriverFirst::Unknown))
}

/// Reads the log from its beginning. `None`: it is whole and has nothing against the chip.
fn witness(log: &mut dyn KernelLog, device: &str) -> Result<Option<DriverFirst>, DeviceError> {
    let mut whole = None;
    for _ in 0..RECORDS_MAX {
        let Some(record) = log.next(Duration::ZERO)? else { break };
        // The first words of a kernel are at 0; what begins later has lost its beginning.
        whole = whole.or(Some(record.at_us == 0));
        match record.event {
            Some(KernelEvent::ClockStopped { device: stopped }) if stopped == device => {
                return Ok(Some(DriverFirst::FoundStopped));
            }
            _ => {}
        }
    }
    Ok(if whole == Some(true) { None } else { Some(DriverFirst::Unknown) })
}

#[cfg(test)]
mod tests {
    use platform::KernelRecord;

    use super::*;

    #[derive(Debug)]
    struct Log(Vec<&'static str>);

    impl KernelLog for Log {
        fn next(&mut self, _limit: Duration) -> Result<Option<KernelRecord>, DeviceError> {
            Ok(self.0.pop().map(|text| KernelRecord::parse(text).unwrap()))
        }
    }

    /// What is told of a chip at 0x68 on bus 1 with a driver, by a log whose last record stands first.
    fn told(records: &[&'static str]) -> Option<DriverFirst> {
        let devices = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(devices.path().join("1-0068/driver")).unwrap();
        let records = records.to_vec();
        let log = || Ok(Box::new(Log(records)) as Box<dyn KernelLog>);
        driver_first(devices.path(), Path::new("/dev/i2c-1"), 0x68, log)
    }

    const BEGINNING: &str = "6,0,0,-;Booting Linux on physical CPU 0x0";

    #[test]
    fn the_log_of_the_whole_start_tells_what_the_driver_found() {
        assert_eq!(
            told(&["4,99,1500000,-;rtc-ds1307 1-0068: SET TIME!", BEGINNING]),
            Some(DriverFirst::FoundStopped)
        );
        assert_eq!(told(&["4,99,1500000,-;rtc-ds1307 0-0068: SET TIME!", BEGINNING]), None, "another chip");
        assert_eq!(told(&[BEGINNING]), None);
    }

    #[test]
    fn a_log_that_lost_its_beginning_or_may_not_be_read_tells_nothing() {
        assert_eq!(told(&["6,700,90000000,-;usb 1-1: new device"]), Some(DriverFirst::Unknown));
        assert_eq!(told(&[]), Some(DriverFirst::Unknown));
        let devices = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(devices.path().join("1-0068/driver")).unwrap();
        let refused =
            || Err(DeviceError::new("kernel log", "read it", std::io::ErrorKind::PermissionDenied.into()));
        let bus = Path::new("/dev/i2c-1");
        assert_eq!(driver_first(devices.path(), bus, 0x68, refused), Some(DriverFirst::Unknown));
    }

    #[test]
    fn without_a_driver_the_log_is_not_asked() {
        let devices = tempfile::tempdir().unwrap();
        let log = || -> Result<Box<dyn KernelLog>, DeviceError> { panic!("asked") };
        assert_eq!(driver_first(devices.path(), Path::new("/dev/i2c-1"), 0x68, log), None);
    }
}
