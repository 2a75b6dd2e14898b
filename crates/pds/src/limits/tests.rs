//! The windows, their ends, and the full table.

use platform::sim::trusted_clock;

use super::*;

const RULE: Rule = Rule { id: 200, points: 3, window_s: 10 };

#[test]
fn window_begins_with_first_use_and_ends_after_its_length() {
    let (clock, sim) = trusted_clock(1_700_000_000_000_000);
    let limiter = Limiter::new(RateLimits::default(), clock);
    for left in [2, 1, 0] {
        assert_eq!(limiter.take(RULE, "a", 1).unwrap().unwrap().remaining, left);
    }
    let err = limiter.take(RULE, "a", 1).unwrap_err();
    assert_eq!((err.status().as_u16(), err.name()), (429, "RateLimitExceeded"));
    assert!(limiter.take(RULE, "b", 1).is_ok(), "another key has its own window");
    sim.advance(std::time::Duration::from_secs(10));
    assert_eq!(limiter.take(RULE, "a", 1).unwrap().unwrap().remaining, 2);
}

#[test]
fn multiplier_raises_and_switch_turns_off() {
    let (clock, _sim) = trusted_clock(1_700_000_000_000_000);
    let raised = Limiter::new(RateLimits { enabled: true, multiplier: 100 }, clock.clone());
    assert_eq!(raised.take(RULE, "a", 299).unwrap().unwrap().remaining, 1);
    let off = Limiter::new(RateLimits { enabled: false, multiplier: 1 }, clock);
    assert_eq!(off.take(RULE, "a", 1_000_000).unwrap(), None);
}

#[test]
fn one_home_counts_as_one_on_ipv6() {
    let (clock, _sim) = trusted_clock(1_700_000_000_000_000);
    let limiter = Limiter::new(RateLimits::default(), clock);
    let first = limiter.take_ip(RULE, "2001:db8::1".parse().unwrap()).unwrap().unwrap();
    let second = limiter.take_ip(RULE, "2001:db8::ffff:2".parse().unwrap()).unwrap().unwrap();
    assert_eq!((first.remaining, second.remaining), (2, 1));
    assert_eq!(limiter.take_ip(RULE, "192.0.2.1".parse().unwrap()).unwrap().unwrap().remaining, 2);
    assert_eq!(limiter.take_ip(RULE, "::ffff:192.0.2.1".parse().unwrap()).unwrap().unwrap().remaining, 1);
}

#[test]
fn full_table_stays_bounded_and_still_limits() {
    let (clock, _sim) = trusted_clock(1_700_000_000_000_000);
    let limiter = Limiter::new(RateLimits::default(), clock);
    let mut refused = 0;
    for i in 0..COUNTERS_MAX + 1000 {
        refused += u32::from(limiter.take(RULE, &i.to_string(), 1).is_err());
    }
    let kept: usize = limiter.shards.iter().map(|s| s.lock().unwrap().len()).sum();
    assert!(kept <= COUNTERS_MAX + SHARDS, "{kept}");
    assert!(refused > 900, "newcomers share a counter: {refused}");
}

#[test]
fn of_several_windows_the_one_with_fewest_points_left_is_told() {
    let (clock, sim) = trusted_clock(1_700_000_000_000_000);
    let limiter = Limiter::new(RateLimits::default(), clock);
    let take = || limiter.take_each(&REQUEST_EMAIL_UPDATE, "did:web:a.example");
    for left in (0..5).rev() {
        let standing = take().unwrap().unwrap();
        assert_eq!((standing.limit, standing.remaining), (5, left));
    }
    assert_eq!(take().unwrap_err().name(), "RateLimitExceeded");
    assert!(
        limiter.take_each(&REQUEST_ACCOUNT_DELETE, "did:web:a.example").is_ok(),
        "each method counts alone"
    );
    for _ in 0..2 {
        sim.advance(std::time::Duration::from_secs(3600));
        for _ in 0..5 {
            take().unwrap();
        }
    }
    sim.advance(std::time::Duration::from_secs(3600));
    let refused = take().unwrap_err();
    assert_eq!(refused.name(), "RateLimitExceeded", "15 a day");
}

#[test]
fn no_two_rules_share_a_counter() {
    let mut ids: Vec<u8> = ALL.iter().map(|rule| rule.id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), ALL.len());
}
