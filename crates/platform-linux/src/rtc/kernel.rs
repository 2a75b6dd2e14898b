//! A clock chip that the kernel drives: `/dev/rtcN` and its folder in sysfs.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use platform::Battery;
use platform::board::RtcChip;

use super::date::Date;
use super::edge::{Chip, Shown};

/// Nanoseconds from a write to the PCF8523's next second: it is stopped while written, and its first second is short
/// (NXP data sheet PCF8523, section 8.8: 0.507813 to 0.507935 s).
const PCF8523_FIRST_TICK_NS: i64 = 507_874_000;

/// What other chips are tried with; the reading after the setting corrects it.
const OTHER_FIRST_TICK_NS: i64 = 1_000_000_000;

/// Bits of RTC_VL_READ (`linux/rtc.h`).
const VL_DATA_INVALID: libc::c_uint = 1;
const VL_BACKUP_LOW: libc::c_uint = 1 << 1;
const VL_BACKUP_EMPTY: libc::c_uint = 1 << 2;

/// Charge below which a Pi 5's battery is called low, microvolts: its manganese-lithium cell (3.0 V) is discharged at
/// 2.0 V, where the regulator still keeps time.
const PI_BATTERY_LOW_UV: u64 = 2_300_000;

/// Below this there is no battery, microvolts.
const PI_BATTERY_NONE_UV: u64 = 100_000;

/// `struct rtc_time`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RtcTime {
    second: libc::c_int,
    minute: libc::c_int,
    hour: libc::c_int,
    day: libc::c_int,
    /// From 0.
    month: libc::c_int,
    /// From 1900.
    year: libc::c_int,
    weekday: libc::c_int,
    day_of_year: libc::c_int,
    daylight: libc::c_int,
}

mod calls {
    //! `linux/rtc.h`.
    use super::RtcTime;

    nix::ioctl_read!(rtc_rd_time, b'p', 0x09, RtcTime);
    nix::ioctl_write_ptr!(rtc_set_time, b'p', 0x0a, RtcTime);
    nix::ioctl_read!(rtc_vl_read, b'p', 0x13, libc::c_uint);
}

/// A chip behind a kernel driver.
#[derive(Debug)]
pub(crate) struct KernelRtc {
    kind: RtcChip,
    /// `/sys/class/rtc/rtcN`.
    folder: PathBuf,
    /// Held open: the kernel lets only one process open it, so that nobody else sets the chip.
    device: File,
}

impl KernelRtc {
    /// Opens the chip of a sysfs folder. Fails when somebody else holds it.
    pub(crate) fn open(kind: RtcChip, folder: &Path, dev: &Path) -> io::Result<Self> {
        let number = folder.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let device = OpenOptions::new().read(true).open(dev.join(number))?;
        Ok(Self { kind, folder: folder.to_owned(), device })
    }

    /// Reads the driver's warnings; `None` when it has none to give.
    fn warnings(&self) -> Option<libc::c_uint> {
        let mut flags: libc::c_uint = 0;
        #[expect(unsafe_code, reason = "the ioctl has no safe wrapper")]
        // SAFETY: the file is open, and the pointer is to a live integer of the size that the ioctl's number states.
        let done = unsafe { calls::rtc_vl_read(self.device.as_raw_fd(), &raw mut flags) };
        done.is_ok().then_some(flags)
    }
}

impl Chip for KernelRtc {
    fn shown(&mut self) -> io::Result<Shown> {
        let mut time = RtcTime::default();
        #[expect(unsafe_code, reason = "the ioctl has no safe wrapper")]
        // SAFETY: the file is open, and the pointer is to a live struct with the kernel's layout.
        let done = unsafe { calls::rtc_rd_time(self.device.as_raw_fd(), &raw mut time) };
        match done {
            // Drivers answer so when the chip's stop flag is set: there is a chip, and its time means nothing.
            Err(nix::errno::Errno::EINVAL) => Ok(Shown::Stopped),
            Err(errno) => Err(errno.into()),
            Ok(_) => second_of(&time)
                .map(Shown::Second)
                .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the chip shows no date")),
        }
    }

    fn is_stopped(&mut self) -> io::Result<bool> {
        Ok(self.warnings().is_some_and(|flags| flags & VL_DATA_INVALID != 0))
    }

    fn write(&mut self, unix_s: i64) -> io::Result<()> {
        let time = time_of(unix_s).ok_or(io::ErrorKind::InvalidInput)?;
        #[expect(unsafe_code, reason = "the ioctl has no safe wrapper")]
        // SAFETY: the file is open, and the pointer is to a live struct with the kernel's layout, which is only read.
        let done = unsafe { calls::rtc_set_time(self.device.as_raw_fd(), &raw const time) };
        done.map(drop).map_err(io::Error::from)
    }

    fn was_written(&mut self) -> io::Result<()> {
        // Drivers clear the stop flag when they write the time.
        Ok(())
    }

    fn first_tick_ns(&self) -> i64 {
        match self.kind {
            RtcChip::Pcf8523 => PCF8523_FIRST_TICK_NS,
            RtcChip::Ds3231 | RtcChip::RpiRtc | RtcChip::Other => OTHER_FIRST_TICK_NS,
        }
    }

    fn battery(&mut self) -> Battery {
        // Only the Pi 5's driver has this file.
        if let Ok(text) = fs::read_to_string(self.folder.join("battery_voltage")) {
            return text.trim().parse().map_or(Battery::Unknown, pi_battery);
        }
        self.warnings().map_or(Battery::Unknown, battery_of_warnings)
    }
}

fn pi_battery(microvolts: u64) -> Battery {
    match microvolts {
        none if none < PI_BATTERY_NONE_UV => Battery::Missing,
        low if low < PI_BATTERY_LOW_UV => Battery::Low,
        _ => Battery::Good,
    }
}

fn battery_of_warnings(flags: libc::c_uint) -> Battery {
    if flags & VL_BACKUP_EMPTY != 0 {
        Battery::Missing
    } else if flags & VL_BACKUP_LOW != 0 {
        Battery::Low
    } else {
        Battery::Good
    }
}

fn second_of(time: &RtcTime) -> Option<i64> {
    let part = |value: libc::c_int| u8::try_from(value).ok();
    let date = Date {
        year: i64::from(time.year) + 1900,
        month: part(time.month.checked_add(1)?)?,
        day: part(time.day)?,
        hour: part(time.hour)?,
        minute: part(time.minute)?,
        second: part(time.second)?,
    };
    date.unix_s()
}

fn time_of(unix_s: i64) -> Option<RtcTime> {
    let date = Date::of_unix(unix_s);
    Some(RtcTime {
        second: date.second.into(),
        minute: date.minute.into(),
        hour: date.hour.into(),
        day: date.day.into(),
        month: libc::c_int::from(date.month) - 1,
        year: libc::c_int::try_from(date.year - 1900).ok()?,
        weekday: libc::c_int::from(date.weekday()) - 1,
        ..RtcTime::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_form_of_a_date_goes_both_ways() {
        let time = time_of(1_795_401_296).unwrap();
        assert_eq!((time.year, time.month, time.day, time.hour), (126, 10, 23, 2));
        assert_eq!((time.minute, time.second, time.weekday), (34, 56, 1));
        assert_eq!(second_of(&time), Some(1_795_401_296));
        assert_eq!(second_of(&RtcTime { month: 12, ..time }), None);
        assert_eq!(second_of(&RtcTime { second: -1, ..time }), None);
    }

    #[test]
    fn warnings_and_voltages_tell_how_the_battery_is() {
        assert_eq!(battery_of_warnings(0), Battery::Good);
        assert_eq!(battery_of_warnings(VL_BACKUP_LOW | VL_DATA_INVALID), Battery::Low);
        assert_eq!(battery_of_warnings(VL_BACKUP_EMPTY), Battery::Missing);
        assert_eq!(
            [0, 2_000_000, 3_020_000].map(pi_battery),
            [Battery::Missing, Battery::Low, Battery::Good]
        );
    }

    #[test]
    fn the_calls_have_the_numbers_of_the_header() {
        assert_eq!(size_of::<RtcTime>(), 36);
        assert_eq!(nix::request_code_read!(b'p', 0x09, size_of::<RtcTime>()), 0x8024_7009);
        assert_eq!(nix::request_code_write!(b'p', 0x0a, size_of::<RtcTime>()), 0x4024_700a);
    }
}
