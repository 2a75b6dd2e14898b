//! The DS3231's registers, read and written by ourselves.
//!
//! The kernel's driver clears the oscillator-stop flag when it finds the chip, so that a dead battery goes unseen. We
//! therefore need no driver and read the flag with each reading. Registers: DS3231 data sheet (Maxim 19-5170), table 1.

use std::io;

use platform::Battery;

use super::date::Date;
use super::edge::{Chip, Shown};

/// Registers 0x00 to 0x06: seconds to year.
const TIME: u8 = 0x00;

/// Control.
const CONTROL: u8 = 0x0e;

/// Bit of [`CONTROL`] that stops the oscillator while on the battery.
const NOT_ON_BATTERY: u8 = 1 << 7;

/// Status.
const STATUS: u8 = 0x0f;

/// Bit of [`STATUS`]: the oscillator has stopped since somebody cleared this.
const OSCILLATOR_STOPPED: u8 = 1 << 7;

/// Bit of the hours: 12-hour form.
const TWELVE_HOURS: u8 = 1 << 6;

/// Bit of the hours in 12-hour form: afternoon.
const AFTERNOON: u8 = 1 << 5;

/// Bit of the month: the year has passed 99.
const CENTURY: u8 = 1 << 7;

/// Nanoseconds from the write of the seconds to the next second: the write restarts the divider.
const FIRST_TICK_NS: i64 = 1_000_000_000;

/// Registers of a chip on a bus.
pub(crate) trait Registers: Send + std::fmt::Debug {
    /// Reads from a register on, all in one transfer.
    fn read(&mut self, from: u8, into: &mut [u8]) -> io::Result<()>;
    /// Writes from a register on, all in one transfer.
    fn write(&mut self, from: u8, values: &[u8]) -> io::Result<()>;
}

/// A DS3231 on its registers.
#[derive(Debug)]
pub(crate) struct Ds3231<R> {
    registers: R,
}

impl<R: Registers> Ds3231<R> {
    pub(crate) fn new(registers: R) -> Self {
        Self { registers }
    }

    fn register(&mut self, at: u8) -> io::Result<u8> {
        let mut value = [0];
        self.registers.read(at, &mut value)?;
        Ok(value[0])
    }
}

impl<R: Registers> Chip for Ds3231<R> {
    fn shown(&mut self) -> io::Result<Shown> {
        let mut time = [0; 7];
        self.registers.read(TIME, &mut time)?;
        decode(time).map(Shown::Second).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, format!("the chip shows no date: {time:02x?}"))
        })
    }

    fn is_stopped(&mut self) -> io::Result<bool> {
        Ok(self.register(STATUS)? & OSCILLATOR_STOPPED != 0)
    }

    fn write(&mut self, unix_s: i64) -> io::Result<()> {
        let time = encode(unix_s).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, "the chip counts from 2000 to 2099")
        })?;
        self.registers.write(TIME, &time)
    }

    /// Clears the stop flag, which is true only of what came before, and lets the oscillator run on the battery.
    fn was_written(&mut self) -> io::Result<()> {
        let control = self.register(CONTROL)?;
        if control & NOT_ON_BATTERY != 0 {
            self.registers.write(CONTROL, &[control & !NOT_ON_BATTERY])?;
        }
        let status = self.register(STATUS)?;
        self.registers.write(STATUS, &[status & !OSCILLATOR_STOPPED])
    }

    fn first_tick_ns(&self) -> i64 {
        FIRST_TICK_NS
    }

    fn battery(&mut self) -> Battery {
        // It cannot measure its battery; an empty one shows as a stopped oscillator.
        Battery::Unknown
    }
}

fn decode([second, minute, hour, _weekday, day, month, year]: [u8; 7]) -> Option<i64> {
    let hour = if hour & TWELVE_HOURS == 0 {
        from_bcd(hour & 0x3f)?
    } else {
        from_bcd(hour & 0x1f)? % 12 + if hour & AFTERNOON == 0 { 0 } else { 12 }
    };
    let century = if month & CENTURY == 0 { 2000 } else { 2100 };
    let date = Date {
        year: century + i64::from(from_bcd(year)?),
        month: from_bcd(month & 0x1f)?,
        day: from_bcd(day & 0x3f)?,
        hour,
        minute: from_bcd(minute & 0x7f)?,
        second: from_bcd(second & 0x7f)?,
    };
    date.unix_s()
}

fn encode(unix_s: i64) -> Option<[u8; 7]> {
    let date = Date::of_unix(unix_s);
    let year = u8::try_from(date.year - 2000).ok().filter(|year| *year < 100)?;
    Some([
        to_bcd(date.second),
        to_bcd(date.minute),
        to_bcd(date.hour),
        date.weekday(),
        to_bcd(date.day),
        to_bcd(date.month),
        to_bcd(year),
    ])
}

fn from_bcd(value: u8) -> Option<u8> {
    let (tens, ones) = (value >> 4, value & 0xf);
    (tens < 10 && ones < 10).then_some(tens * 10 + ones)
}

fn to_bcd(value: u8) -> u8 {
    ((value / 10) << 4) | (value % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Registers in memory.
    #[derive(Debug, Default)]
    struct Memory {
        values: [u8; 19],
    }

    impl Registers for Memory {
        fn read(&mut self, from: u8, into: &mut [u8]) -> io::Result<()> {
            let from = usize::from(from);
            into.copy_from_slice(&self.values[from..from + into.len()]);
            Ok(())
        }

        fn write(&mut self, from: u8, values: &[u8]) -> io::Result<()> {
            let from = usize::from(from);
            self.values[from..from + values.len()].copy_from_slice(values);
            Ok(())
        }
    }

    #[test]
    fn the_registers_mean_what_the_data_sheet_says() {
        assert_eq!(decode([0x56, 0x34, 0x02, 2, 0x23, 0x11, 0x26]), Some(1_795_401_296));
        assert_eq!(decode([0x56, 0x34, 0x42, 2, 0x23, 0x11, 0x26]), Some(1_795_401_296), "2 in the morning");
        assert_eq!(
            decode([0x56, 0x34, 0x52, 2, 0x23, 0x11, 0x26]),
            Some(1_795_401_296 - 2 * 3_600),
            "12 at night"
        );
        assert_eq!(decode([0x56, 0x34, 0x72, 2, 0x23, 0x11, 0x26]), Some(1_795_401_296 + 10 * 3_600), "noon");
        assert_eq!(decode([0, 0, 0, 1, 1, 0x81, 0]), Some(4_102_444_800), "2100 by the century bit");
        assert_eq!(decode([0xff; 7]), None, "nobody on the bus");
        assert_eq!(decode([0x5a, 0, 0, 1, 1, 1, 0]), None);
        assert_eq!(encode(1_795_401_296), Some([0x56, 0x34, 0x02, 2, 0x23, 0x11, 0x26]));
        assert_eq!(encode(4_102_444_800), None, "beyond its calendar");
        assert_eq!(encode(0), None);
    }

    #[test]
    fn a_setting_clears_the_stop_flag_and_lets_it_run_on_the_battery() {
        let mut chip = Ds3231::new(Memory::default());
        chip.registers.values[usize::from(STATUS)] = 0x8b;
        chip.registers.values[usize::from(CONTROL)] = 0x9c;
        assert!(chip.is_stopped().unwrap());
        chip.write(1_795_401_296).unwrap();
        assert!(chip.is_stopped().unwrap(), "not before the time is written");
        chip.was_written().unwrap();
        assert!(!chip.is_stopped().unwrap());
        assert_eq!(chip.shown().unwrap(), Shown::Second(1_795_401_296));
        assert_eq!(chip.registers.values[usize::from(STATUS)], 0x0b, "the other bits stay");
        assert_eq!(chip.registers.values[usize::from(CONTROL)], 0x1c);
    }
}
