//! UTC as text, RFC 3339 with milliseconds.

/// The last millisecond that four digits of year can write: 9999-12-31T23:59:59.999Z, microseconds.
const LAST_US: u64 = 253_402_300_799_999_000;

/// Writes microseconds since 1970 as `2026-11-23T02:34:56.789Z`. Digits below the millisecond are cut off, and
/// what lies beyond the year 9999 is written as its last millisecond.
#[must_use]
pub fn format_rfc3339_millis(unix_us: u64) -> String {
    let millis = unix_us.min(LAST_US) / 1_000;
    let (seconds, milli) = (millis / 1_000, millis % 1_000);
    let (days, second_of_day) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second_of_day / 3_600, second_of_day / 60 % 60, second_of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

/// Turns days since 1970 into year, month and day of the Gregorian calendar.
///
/// Years are counted from 1 March, so that the leap day is the last of its year, in eras of 400 years.
fn civil(days: u64) -> (u64, u64, u64) {
    /// Days from 0000-03-01 to 1970-01-01.
    const SHIFT: u64 = 719_468;
    /// Days in 400 years.
    const ERA: u64 = 146_097;
    let z = days + SHIFT;
    let (era, day_of_era) = (z / ERA, z % ERA);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Months from March on have lengths that (153 m + 2) / 5 gives the running sum of.
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}
