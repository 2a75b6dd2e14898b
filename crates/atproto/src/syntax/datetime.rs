//! Timestamps as records carry them.

use platform::time::TrustedTime;

use super::text_identifier;

/// Holds a timestamp's text, such as `2026-11-23T02:34:56.789Z`, exactly as it was written.
///
/// The intersection of RFC 3339, ISO 8601 and WHATWG: capital `T` and `Z`, a zone is required (never `-00:00`),
/// years 0000 to 9999, no leap second. At most 64 characters. Source: atproto specification "Lexicon", `datetime`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Datetime(Box<str>);

/// Longest timestamp, in characters: 20 for the fixed part leave room for any sensible fraction.
const DATETIME_BYTES_MAX: usize = 64;

const SECONDS_PER_DAY: i64 = 86_400;
/// Unix time of 0000-01-01T00:00:00Z, in seconds. Earlier moments have no four-digit year.
const YEAR_ZERO_UNIX_S: i64 = -62_167_219_200;

impl Datetime {
    fn check(text: &str) -> Result<(), &'static str> {
        read(text).map(drop)
    }

    fn from_checked(text: Box<str>) -> Self {
        Self(text)
    }

    /// Writes a moment with milliseconds and `Z`.
    pub fn at(now: TrustedTime) -> Self {
        Self(now.to_rfc3339().into_boxed_str())
    }

    /// Gives the moment in microseconds since 1970-01-01T00:00:00Z; finer digits are cut off.
    pub fn unix_micros(&self) -> i64 {
        read(&self.0).unwrap_or_default()
    }
}

text_identifier!(Datetime, "datetime");

/// Takes `count` digits from the front of the text.
fn take_digits(text: &mut &[u8], count: usize) -> Result<u32, &'static str> {
    let (digits, rest) = text.split_at_checked(count).ok_or("too short")?;
    let mut number = 0;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return Err("a digit is missing");
        }
        number = number * 10 + u32::from(digit - b'0');
    }
    *text = rest;
    Ok(number)
}

/// Takes one given character from the front of the text.
fn take(text: &mut &[u8], wanted: u8) -> Result<(), &'static str> {
    match text.split_first() {
        Some((first, rest)) if *first == wanted => {
            *text = rest;
            Ok(())
        }
        _ => Err("not of the form YYYY-MM-DDTHH:MM:SS.sssZ"),
    }
}

/// Checks the text and gives its moment in Unix microseconds.
fn read(text: &str) -> Result<i64, &'static str> {
    if text.len() > DATETIME_BYTES_MAX {
        return Err("longer than 64 characters");
    }
    let rest = &mut text.as_bytes();
    let year = take_digits(rest, 4)?;
    take(rest, b'-')?;
    let month = take_digits(rest, 2)?;
    take(rest, b'-')?;
    let day = take_digits(rest, 2)?;
    take(rest, b'T')?;
    let hour = take_digits(rest, 2)?;
    take(rest, b':')?;
    let minute = take_digits(rest, 2)?;
    take(rest, b':')?;
    let second = take_digits(rest, 2)?;
    let micros = take_fraction(rest)?;
    let zone_s = take_zone(rest)?;
    if !rest.is_empty() {
        return Err("something follows the zone");
    }
    if day == 0 || day > days_in_month(year, month) {
        return Err("no such month or day");
    }
    if hour > 23 || minute > 59 || second > 59 {
        return Err("no such time of day");
    }
    let unix_s = days_from_epoch(year, month, day) * SECONDS_PER_DAY
        + i64::from(hour * 3600 + minute * 60 + second)
        - zone_s;
    if unix_s < YEAR_ZERO_UNIX_S {
        return Err("before the year 0000");
    }
    Ok(unix_s * 1_000_000 + micros)
}

/// Takes an optional `.` with digits; gives microseconds.
fn take_fraction(text: &mut &[u8]) -> Result<i64, &'static str> {
    let Some((b'.', after)) = text.split_first() else {
        return Ok(0);
    };
    let count = after.iter().take_while(|b| b.is_ascii_digit()).count();
    let (digits, rest) = after.split_at(count);
    if digits.is_empty() {
        return Err("no digits after the point");
    }
    *text = rest;
    let mut micros = 0;
    for place in 0..6 {
        micros = micros * 10 + digits.get(place).map_or(0, |digit| i64::from(digit - b'0'));
    }
    Ok(micros)
}

/// Takes `Z` or `+HH:MM`; gives the offset in seconds.
fn take_zone(text: &mut &[u8]) -> Result<i64, &'static str> {
    let sign = match text.split_first() {
        Some((b'Z', rest)) => {
            *text = rest;
            return Ok(0);
        }
        Some((b'+', rest)) => {
            *text = rest;
            1
        }
        Some((b'-', rest)) => {
            *text = rest;
            -1
        }
        _ => return Err("the time zone is missing"),
    };
    let hours = take_digits(text, 2)?;
    take(text, b':')?;
    let minutes = take_digits(text, 2)?;
    if hours > 23 || minutes > 59 {
        return Err("no such time zone");
    }
    if sign < 0 && hours == 0 && minutes == 0 {
        return Err("the zone -00:00 is not allowed");
    }
    Ok(sign * i64::from(hours * 3600 + minutes * 60))
}

/// Gives the number of days of a month of the Gregorian calendar; 0 for a month that does not exist.
fn days_in_month(year: u32, month: u32) -> u32 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => 0,
    }
}

/// Counts days from 1970-01-01, with years that begin in March so that the leap day comes last.
fn days_from_epoch(year: u32, month: u32, day: u32) -> i64 {
    let (year, month, day) = (i64::from(year), i64::from(month), i64::from(day));
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    /// Days from 0000-03-01 to 1970-01-01.
    const DAYS_TO_EPOCH: i64 = 719_468;
    era * 146_097 + day_of_era - DAYS_TO_EPOCH
}
