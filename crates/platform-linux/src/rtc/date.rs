//! Calendar dates as clock chips count them, and seconds since 1970. The proleptic Gregorian calendar, no leap seconds.

/// A date and a time of day, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Date {
    pub(crate) year: i64,
    /// 1 to 12.
    pub(crate) month: u8,
    /// 1 to 31.
    pub(crate) day: u8,
    pub(crate) hour: u8,
    pub(crate) minute: u8,
    pub(crate) second: u8,
}

const DAY_S: i64 = 86_400;

/// Days from 0000-03-01 to 1970-01-01: years that begin in March have their leap day last.
const EPOCH_DAYS: i64 = 719_468;

/// Days in 400 years.
const ERA_DAYS: i64 = 146_097;

impl Date {
    /// Takes seconds since 1970 apart.
    pub(crate) fn of_unix(unix_s: i64) -> Self {
        let days = unix_s.div_euclid(DAY_S).saturating_add(EPOCH_DAYS);
        let of_day = unix_s.rem_euclid(DAY_S);
        let era = days.div_euclid(ERA_DAYS);
        let of_era = days.rem_euclid(ERA_DAYS);
        let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year + year / 4 - year / 100);
        let march_month = (5 * of_year + 2) / 153;
        let day = of_year - (153 * march_month + 2) / 5 + 1;
        let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
        let year = year + era * 400 + i64::from(month <= 2);
        Self {
            year,
            month: small(month),
            day: small(day),
            hour: small(of_day / 3_600),
            minute: small(of_day / 60 % 60),
            second: small(of_day % 60),
        }
    }

    /// Gives seconds since 1970; `None` for what is no date.
    pub(crate) fn unix_s(self) -> Option<i64> {
        let in_day = self.hour < 24 && self.minute < 60 && self.second < 60;
        if !in_day || !(1..=12).contains(&self.month) || !(1..=9_999).contains(&self.year) {
            return None;
        }
        let year = self.year - i64::from(self.month <= 2);
        let march_month = (i64::from(self.month) + 9) % 12;
        let of_year = (153 * march_month + 2) / 5 + i64::from(self.day) - 1;
        let of_era = year.rem_euclid(400);
        let days =
            year.div_euclid(400) * ERA_DAYS + of_era * 365 + of_era / 4 - of_era / 100 + of_year - EPOCH_DAYS;
        let clock = i64::from(self.hour) * 3_600 + i64::from(self.minute) * 60 + i64::from(self.second);
        let unix_s = days * DAY_S + clock;
        // The 31st of a month of 30 days would come back as another date.
        (Self::of_unix(unix_s) == self).then_some(unix_s)
    }

    /// Gives the day of the week, Sunday 1 to Saturday 7.
    pub(crate) fn weekday(self) -> u8 {
        /// 1970-01-01 was a Thursday.
        const EPOCH_WEEKDAY: i64 = 4;
        let days = self.unix_s().unwrap_or_default().div_euclid(DAY_S);
        small((days + EPOCH_WEEKDAY).rem_euclid(7) + 1)
    }
}

/// Narrows a value that its making keeps below 256.
fn small(value: i64) -> u8 {
    u8::try_from(value).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_seconds_since_1970_agree() {
        let known = [
            (0, (1970, 1, 1, 0, 0, 0), 5),
            (951_782_399, (2000, 2, 28, 23, 59, 59), 2),
            (951_782_400, (2000, 2, 29, 0, 0, 0), 3),
            (1_795_401_296, (2026, 11, 23, 2, 34, 56), 2),
            (4_102_444_799, (2099, 12, 31, 23, 59, 59), 5),
        ];
        for (unix_s, (year, month, day, hour, minute, second), weekday) in known {
            let date = Date { year, month, day, hour, minute, second };
            assert_eq!((Date::of_unix(unix_s), date.unix_s(), date.weekday()), (date, Some(unix_s), weekday));
        }
        for day in -800_000..800_000 {
            let unix_s = day * DAY_S + 43_210;
            let date = Date::of_unix(unix_s);
            assert!(date.year < 1 || date.unix_s() == Some(unix_s));
        }
    }

    #[test]
    fn what_is_no_date_has_no_seconds() {
        let date = Date { year: 2026, month: 2, day: 29, hour: 0, minute: 0, second: 0 };
        assert_eq!(date.unix_s(), None);
        assert_eq!(Date { day: 0, ..date }.unix_s(), None);
        assert_eq!(Date { day: 1, month: 13, ..date }.unix_s(), None);
        assert_eq!(Date { day: 1, second: 60, ..date }.unix_s(), None);
    }
}
