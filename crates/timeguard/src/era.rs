//! NTP timestamps to UTC: 32 bits of seconds wrap every 136 years, next on 2036-02-07.
//!
//! The floor says which era it is: the reading within 68 years of it is meant (RFC 5905 section 6).

/// Seconds from 1900 to 1970.
const UNIX_EPOCH_S: i128 = 2_208_988_800;

/// Gives UTC (microseconds since 1970) of a 64-bit NTP timestamp, in the era nearest to a pivot (same unit).
#[must_use]
pub fn ntp_to_unix_us(ntp: u64, pivot_us: i64) -> i64 {
    const ERA: i128 = 1 << 64;
    let pivot = ((i128::from(pivot_us) << 32) / 1_000_000) + (UNIX_EPOCH_S << 32);
    let ahead = (i128::from(ntp) - pivot).rem_euclid(ERA);
    let nearest = if ahead > ERA / 2 { ahead - ERA } else { ahead };
    let unix_us = ((pivot + nearest - (UNIX_EPOCH_S << 32)) * 1_000_000) >> 32;
    i64::try_from(unix_us).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// 2026-11-23, microseconds.
    const PIVOT_US: i64 = 1_795_401_296_000_000;

    #[test]
    fn the_wrap_of_2036_is_crossed() {
        assert_eq!(ntp_to_unix_us(0, PIVOT_US), 2_085_978_496_000_000);
        assert_eq!(ntp_to_unix_us(u64::MAX, PIVOT_US) / 1_000_000, 2_085_978_495);
        assert_eq!(ntp_to_unix_us(0x8000_0000, PIVOT_US), 2_085_978_496_500_000);
    }

    #[test]
    fn a_server_somewhat_before_the_floor_is_not_moved_to_the_next_century() {
        let ntp = u64::try_from(UNIX_EPOCH_S + 1_000_000_000).unwrap() << 32;
        assert_eq!(ntp_to_unix_us(ntp, PIVOT_US), 1_000_000_000_000_000);
    }

    proptest! {
        #[test]
        fn any_time_within_68_years_survives(off_s in -2_100_000_000_i64..2_100_000_000, us in 0_i64..1_000_000) {
            let unix_us = PIVOT_US + off_s * 1_000_000 + us;
            let wide = (i128::from(unix_us) << 32).div_euclid(1_000_000) + (UNIX_EPOCH_S << 32);
            let ntp = u64::try_from(wide.rem_euclid(1 << 64)).unwrap();
            prop_assert!((ntp_to_unix_us(ntp, PIVOT_US) - unix_us).abs() <= 1);
        }
    }
}
