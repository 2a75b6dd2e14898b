//! A Maxim DS3231 as its data sheet (19-5170, revision 10) describes it: all 19 registers, drift, a stopped oscillator.
//!
//! Its time runs on the host's monotonic clock; the host's wall clock plays no part.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use super::I2cDevice;

/// Registers (data sheet figure 1, "Timekeeping Registers").
const SECONDS: usize = 0x00;
const MINUTES: usize = 0x01;
const HOURS: usize = 0x02;
const DATE: usize = 0x04;
const MONTH: usize = 0x05;
const YEAR: usize = 0x06;
const CONTROL: usize = 0x0e;
const STATUS: usize = 0x0f;
const AGING: usize = 0x10;
const TEMPERATURE_HIGH: usize = 0x11;
const TEMPERATURE_LOW: usize = 0x12;
const REGISTERS: usize = 0x13;

/// Oscillator stop flag, bit 7 of the status register: set at first power and whenever the oscillator stopped.
pub const OSF: u8 = 0x80;
/// 32 kHz output enable, the status bit that is set at power-up.
const EN32KHZ: u8 = 0x08;
/// Busy: read only.
const BUSY: u8 = 0x04;
/// Flags that can only be written to 0: the stop flag and both alarms.
const WRITE_ZERO_ONLY: u8 = OSF | 0x03;
/// State of the control register at power-up: INTCN, RS2, RS1.
const CONTROL_AT_POWER_UP: u8 = 0x1c;
/// Twelve hours instead of twenty-four, bit 6 of the hours; bit 5 is then the afternoon.
const TWELVE_HOURS: u8 = 0x40;
const AFTERNOON: u8 = 0x20;
/// Century, bit 7 of the month: toggles when the years run over.
const CENTURY: u8 = 0x80;

/// One step of the aging register, parts per million at +25 °C ("Aging Offset"); positive values slow the clock.
const AGING_STEP_PPM: f64 = 0.1;

/// 2000-01-01T00:00:00Z: year 00, where the century bit is 0.
const YEAR_2000: i64 = 946_684_800;

const SECONDS_PER_DAY: i64 = 86_400;

#[derive(Debug)]
struct Chip {
    /// Unix seconds at `since`.
    base_s: f64,
    since: Instant,
    running: bool,
    drift_ppm: f64,
    twelve_hours: bool,
    registers: [u8; REGISTERS],
    pointer: usize,
    /// The time as it was when the current access began: "buffered to prevent errors".
    buffered: [u8; 7],
}

/// A clock chip; clones are the same chip.
#[derive(Clone, Debug)]
pub struct Ds3231 {
    chip: Arc<Mutex<Chip>>,
}

impl Ds3231 {
    /// Makes a chip that has kept the time on its battery: it shows `unix_s` now, and its stop flag is clear.
    #[must_use]
    pub fn showing(unix_s: i64) -> Self {
        let mut registers = [0; REGISTERS];
        put(&mut registers, CONTROL, CONTROL_AT_POWER_UP);
        put(&mut registers, STATUS, EN32KHZ);
        put(&mut registers, TEMPERATURE_HIGH, 25);
        let chip = Chip {
            base_s: seconds(unix_s),
            since: Instant::now(),
            running: true,
            drift_ppm: 0.0,
            twelve_hours: false,
            registers,
            pointer: 0,
            buffered: [0; 7],
        };
        Self { chip: Arc::new(Mutex::new(chip)) }
    }

    /// Makes a chip whose battery was empty: it starts in 2000 with the stop flag set.
    #[must_use]
    pub fn without_battery() -> Self {
        let chip = Self::showing(YEAR_2000);
        chip.set_osf(true);
        chip
    }

    /// Gives the time that it shows, Unix seconds with their fraction.
    #[must_use]
    pub fn unix_s(&self) -> f64 {
        self.lock().now_s()
    }

    /// Makes it show another time, as if somebody had set it in another machine.
    pub fn show(&self, unix_s: i64) {
        let mut chip = self.lock();
        chip.base_s = seconds(unix_s);
        chip.since = Instant::now();
    }

    /// Makes it run fast (positive) or slow by so many parts per million.
    pub fn set_drift_ppm(&self, ppm: f64) {
        let mut chip = self.lock();
        chip.settle();
        chip.drift_ppm = ppm;
    }

    /// Stops the oscillator: the time stands still and the stop flag is set.
    pub fn stop(&self) {
        let mut chip = self.lock();
        chip.settle();
        chip.running = false;
        drop(chip);
        self.set_osf(true);
    }

    /// Lets it run again. The flag stays: only a write clears it.
    pub fn start(&self) {
        let mut chip = self.lock();
        chip.settle();
        chip.running = true;
    }

    /// Sets or clears the oscillator stop flag.
    pub fn set_osf(&self, set: bool) {
        let mut chip = self.lock();
        let status = chip.register(STATUS);
        put(&mut chip.registers, STATUS, if set { status | OSF } else { status & !OSF });
    }

    /// Tells whether the oscillator stop flag is set.
    #[must_use]
    pub fn osf(&self) -> bool {
        self.lock().register(STATUS) & OSF != 0
    }

    /// Sets what the thermometer says, quarters of a degree Celsius ("Temperature Registers").
    pub fn set_temperature_quarters(&self, quarters: i16) {
        let [high, low] = (quarters << 6).to_be_bytes();
        let mut chip = self.lock();
        put(&mut chip.registers, TEMPERATURE_HIGH, high);
        put(&mut chip.registers, TEMPERATURE_LOW, low);
    }

    /// Gives a register as a read would show it now.
    #[must_use]
    pub fn register(&self, at: u8) -> u8 {
        let mut chip = self.lock();
        chip.buffer();
        chip.visible(usize::from(at))
    }

    fn lock(&self) -> MutexGuard<'_, Chip> {
        self.chip.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl I2cDevice for Ds3231 {
    fn write(&mut self, bytes: &[u8]) -> bool {
        let mut chip = self.lock();
        chip.buffer();
        let Some((pointer, values)) = bytes.split_first() else { return true };
        chip.pointer = usize::from(*pointer) % REGISTERS;
        let mut time_written = false;
        let mut seconds_written = false;
        for value in values {
            let at = chip.pointer;
            time_written |= at <= YEAR;
            seconds_written |= at == SECONDS;
            chip.store(at, *value);
            chip.advance();
        }
        if time_written {
            chip.take_buffered(seconds_written);
        }
        true
    }

    fn read(&mut self, buffer: &mut [u8]) -> bool {
        let mut chip = self.lock();
        chip.buffer();
        for byte in buffer {
            *byte = chip.visible(chip.pointer);
            chip.advance();
        }
        true
    }
}

impl Chip {
    fn now_s(&self) -> f64 {
        if !self.running {
            return self.base_s;
        }
        let aging = f64::from(i8::from_le_bytes([self.register(AGING)]));
        let ppm = self.drift_ppm - aging * AGING_STEP_PPM;
        self.base_s + self.since.elapsed().as_secs_f64() * (1.0 + ppm / 1e6)
    }

    /// Makes the present the new base, before the rate changes.
    fn settle(&mut self) {
        self.base_s = self.now_s();
        self.since = Instant::now();
    }

    fn register(&self, at: usize) -> u8 {
        self.registers.get(at).copied().unwrap_or_default()
    }

    fn visible(&self, at: usize) -> u8 {
        self.buffered.get(at).copied().unwrap_or_else(|| self.register(at))
    }

    /// The pointer runs over from 12h to 00h, where the time is buffered again.
    fn advance(&mut self) {
        self.pointer = (self.pointer + 1) % REGISTERS;
        if self.pointer == 0 {
            self.buffer();
        }
    }

    fn store(&mut self, at: usize, value: u8) {
        match at {
            SECONDS..=YEAR => put(&mut self.buffered, at, value),
            STATUS => {
                let old = self.register(STATUS);
                let kept = old & (BUSY | (WRITE_ZERO_ONLY & value));
                put(&mut self.registers, at, kept | (value & EN32KHZ));
            }
            TEMPERATURE_HIGH | TEMPERATURE_LOW => {}
            AGING => {
                self.settle();
                put(&mut self.registers, at, value);
            }
            _ => put(&mut self.registers, at, value),
        }
    }

    /// Fills the buffer from the running time.
    fn buffer(&mut self) {
        let (whole, _) = split(self.now_s());
        let (days, second) = (whole.div_euclid(SECONDS_PER_DAY), whole.rem_euclid(SECONDS_PER_DAY));
        let (year, month, date) = civil_from_days(days);
        let hour = second / 3600;
        let hours = if self.twelve_hours {
            let shown = if hour % 12 == 0 { 12 } else { hour % 12 };
            bcd(shown) | TWELVE_HOURS | if hour >= 12 { AFTERNOON } else { 0 }
        } else {
            bcd(hour)
        };
        let century = if year >= 2100 { CENTURY } else { 0 };
        self.buffered = [
            bcd(second % 60),
            bcd(second / 60 % 60),
            hours,
            // 1970-01-01 was a Thursday; Sunday is day 1.
            bcd((days + 4).rem_euclid(7) + 1),
            bcd(date),
            bcd(month) | century,
            bcd(year.rem_euclid(100)),
        ];
    }

    /// Takes the written registers as the new time. Writing the seconds starts a whole second ("Clock and Calendar":
    /// the countdown chain is reset); otherwise the running second goes on.
    fn take_buffered(&mut self, seconds_written: bool) {
        let (_, fraction) = split(self.now_s());
        let register = |at: usize| self.buffered.get(at).copied().unwrap_or_default();
        let hours = register(HOURS);
        self.twelve_hours = hours & TWELVE_HOURS != 0;
        let hour = if self.twelve_hours {
            from_bcd(hours & 0x1f) % 12 + if hours & AFTERNOON != 0 { 12 } else { 0 }
        } else {
            from_bcd(hours & 0x3f)
        };
        let century = if register(MONTH) & CENTURY != 0 { 2100 } else { 2000 };
        let days = days_from_civil(
            century + from_bcd(register(YEAR)),
            from_bcd(register(MONTH) & 0x1f),
            from_bcd(register(DATE)),
        );
        let second = hour * 3600 + from_bcd(register(MINUTES)) * 60 + from_bcd(register(SECONDS) & 0x7f);
        self.base_s = seconds(days * SECONDS_PER_DAY + second) + if seconds_written { 0.0 } else { fraction };
        self.since = Instant::now();
    }
}

fn put(bytes: &mut [u8], at: usize, value: u8) {
    if let Some(byte) = bytes.get_mut(at) {
        *byte = value;
    }
}

fn bcd(value: i64) -> u8 {
    u8::try_from(value / 10 * 16 + value % 10).unwrap_or(0xff)
}

fn from_bcd(value: u8) -> i64 {
    i64::from(value >> 4) * 10 + i64::from(value & 0x0f)
}

#[expect(clippy::cast_precision_loss, reason = "seconds of any year of the chip are exact in an f64")]
fn seconds(whole: i64) -> f64 {
    whole as f64
}

/// Whole seconds and their fraction.
#[expect(clippy::cast_possible_truncation, reason = "the chip's years end in 2199")]
fn split(seconds: f64) -> (i64, f64) {
    (seconds.floor() as i64, seconds - seconds.floor())
}

/// Year, month and day of a count of days since 1970 (H. Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let part = (5 * day_of_year + 2) / 153;
    let month = if part < 10 { part + 3 } else { part - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day_of_year - (153 * part + 2) / 5 + 1)
}

/// The reverse of [`civil_from_days`].
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-23T10:11:12Z, a Monday.
    const THEN: i64 = 1_795_428_672;

    fn read(chip: &mut Ds3231, from: u8, bytes: usize) -> Vec<u8> {
        let mut buffer = vec![0; bytes];
        assert!(chip.write(&[from]));
        assert!(chip.read(&mut buffer));
        buffer
    }

    #[test]
    fn time_is_in_binary_coded_decimals() {
        let mut chip = Ds3231::showing(THEN);
        chip.stop();
        assert_eq!(read(&mut chip, 0, 7), [0x12, 0x11, 0x10, 0x02, 0x23, 0x11, 0x26]);
    }

    #[test]
    fn a_written_time_is_read_back() {
        let mut chip = Ds3231::without_battery();
        assert!(chip.write(&[0, 0x56, 0x34, 0x23, 0x03, 0x29, 0x02, 0x28]));
        chip.stop();
        // 2028-02-29T23:34:56Z.
        assert_eq!(split(chip.unix_s()).0, 1_835_480_096);
        assert_eq!(read(&mut chip, 4, 3), [0x29, 0x02, 0x28]);
    }

    #[test]
    fn twelve_hours_are_understood() {
        let mut chip = Ds3231::showing(THEN);
        chip.stop();
        assert!(chip.write(&[2, TWELVE_HOURS | AFTERNOON | 0x12]));
        assert_eq!(split(chip.unix_s()).0, THEN + 2 * 3600);
        assert_eq!(read(&mut chip, 2, 1), [0x72]);
    }

    #[test]
    fn the_century_bit_stands_for_the_next_century() {
        let mut chip = Ds3231::showing(4_102_444_800);
        chip.stop();
        assert_eq!(read(&mut chip, 5, 2), [0x81, 0x00]);
    }

    #[test]
    fn the_stop_flag_can_be_cleared_but_not_set_by_a_write() {
        let mut chip = Ds3231::without_battery();
        assert_eq!(read(&mut chip, 0x0f, 1), [0x88]);
        assert!(chip.write(&[0x0f, 0x08]));
        assert!(!chip.osf());
        assert!(chip.write(&[0x0f, 0x88]));
        assert!(!chip.osf());
    }

    #[test]
    fn the_pointer_runs_over_after_the_last_register() {
        let mut chip = Ds3231::showing(THEN);
        chip.stop();
        chip.set_temperature_quarters(-3);
        assert_eq!(read(&mut chip, 0x11, 3), [0xff, 0x40, 0x12]);
    }

    #[test]
    fn a_stopped_oscillator_keeps_its_time_and_says_so() {
        let chip = Ds3231::showing(THEN);
        chip.stop();
        let (first, second) = (chip.unix_s(), chip.unix_s());
        assert!(chip.osf() && (first - second).abs() < f64::EPSILON);
    }
}
