//! Each rule of RFC 4330 section 5 and RFC 5905 section A.5.1.1, broken alone.

use proptest::prelude::*;

use super::*;

/// 2026-11-23, microseconds and as an NTP timestamp.
const NOW_US: i64 = 1_795_401_296_000_000;

fn ntp(unix_us: i64) -> u64 {
    let wide = (i128::from(unix_us) << 32).div_euclid(1_000_000) + (2_208_988_800_i128 << 32);
    u64::try_from(wide.rem_euclid(1 << 64)).unwrap()
}

/// An honest answer: version 4, mode 4, stratum 2, 20 ms root delay, 5 ms dispersion, 1 ms held.
fn honest(question: &Question, unix_us: i64) -> Vec<u8> {
    let mut bytes = vec![0; PACKET_BYTES];
    bytes[0] = (4 << 3) | 4;
    bytes[1] = 2;
    bytes[2] = 6;
    bytes[3] = (-20_i8).cast_unsigned();
    bytes[4..8].copy_from_slice(&1_311_u32.to_be_bytes());
    bytes[8..12].copy_from_slice(&328_u32.to_be_bytes());
    bytes[12..16].copy_from_slice(&[10, 0, 0, 1]);
    bytes[16..24].copy_from_slice(&ntp(unix_us - 30_000_000).to_be_bytes());
    bytes[24..32].copy_from_slice(&question.bytes[40..48]);
    bytes[32..40].copy_from_slice(&ntp(unix_us).to_be_bytes());
    bytes[40..48].copy_from_slice(&ntp(unix_us + 1_000).to_be_bytes());
    bytes
}

/// Breaks one rule.
type Spoil = fn(&mut [u8]);

/// Judges an answer that was 41 ms under way.
async fn judge(question: &Question, bytes: &[u8]) -> Result<Sample, SntpError> {
    question.judge(bytes, 5_000_000_000, 5_041_000_000, NOW_US - 86_400_000_000).await
}

#[tokio::test]
async fn an_honest_answer_is_measured() {
    let question = Question::new().await.unwrap();
    let sample = judge(&question, &honest(&question, NOW_US)).await.unwrap();
    assert_eq!(sample.boottime_ns, 5_020_500_000);
    assert!(sample.unix_us.abs_diff(NOW_US + 500) <= 1, "{}", sample.unix_us - NOW_US);
    // Half of 40 ms on the way, half of 20 ms root delay, 5 ms dispersion.
    assert!((35_000..35_020).contains(&sample.error_us), "{}", sample.error_us);
    assert_eq!(sample.leap, Leap::None);
}

#[tokio::test]
async fn a_question_is_a_version_4_request_that_tells_nothing_about_our_clock() {
    let (one, other) = (Question::new().await.unwrap(), Question::new().await.unwrap());
    assert_eq!(one.bytes[0], (4 << 3) | 3);
    assert_eq!(one.bytes[1..40], [0; 39]);
    assert_ne!(one.bytes[40..48], other.bytes[40..48]);
}

#[tokio::test]
async fn each_broken_rule_is_noticed() {
    let question = Question::new().await.unwrap();
    let cases: [(&str, Spoil); 13] = [
        ("the server has no time itself", |bytes| bytes[0] |= 0b1100_0000),
        ("it is of another version than the question", |bytes| bytes[0] = (3 << 3) | 4),
        ("it is of another version than the question", |bytes| bytes[0] = (5 << 3) | 4),
        ("it is not of a server", |bytes| bytes[0] = (4 << 3) | 5),
        ("its stratum is impossible", |bytes| bytes[1] = 16),
        ("its root distance is a second or more", |bytes| bytes[4..8].copy_from_slice(&[0, 1, 0, 0])),
        ("its root distance is a second or more", |bytes| bytes[8..12].copy_from_slice(&[0, 1, 0, 0])),
        ("its root distance is a second or more", |bytes| bytes[4..8].copy_from_slice(&[0xff; 4])),
        ("it counts in whole seconds", |bytes| bytes[3] = 0),
        ("it was set in its own future", |bytes| {
            bytes[16..24].copy_from_slice(&ntp(NOW_US + 5_000_000).to_be_bytes());
        }),
        ("it has no receive time", |bytes| bytes[32..40].fill(0)),
        ("it has no transmit time", |bytes| bytes[40..48].fill(0)),
        ("it left before the question arrived", |bytes| {
            bytes[40..48].copy_from_slice(&ntp(NOW_US - 1_000).to_be_bytes());
        }),
    ];
    for (expected, spoil) in cases {
        let mut bytes = honest(&question, NOW_US);
        spoil(&mut bytes);
        match judge(&question, &bytes).await {
            Err(SntpError::Wrong(why)) => assert_eq!(why, expected),
            other => panic!("{expected}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_server_cannot_have_held_the_question_longer_than_it_was_away() {
    let question = Question::new().await.unwrap();
    let mut bytes = honest(&question, NOW_US);
    bytes[40..48].copy_from_slice(&ntp(NOW_US + 60_000).to_be_bytes());
    assert!(matches!(judge(&question, &bytes).await, Err(SntpError::Wrong(why)) if why.contains("held")));
}

#[tokio::test]
async fn what_repeats_another_stamp_or_is_short_is_no_answer() {
    let question = Question::new().await.unwrap();
    let mut forged = honest(&question, NOW_US);
    forged[31] ^= 1;
    assert!(matches!(judge(&question, &forged).await, Err(SntpError::Stray)));
    let short = &honest(&question, NOW_US)[..47];
    assert!(matches!(judge(&question, short).await, Err(SntpError::Stray)));
    assert!(matches!(judge(&question, &[]).await, Err(SntpError::Stray)));
}

#[tokio::test]
async fn a_kiss_of_death_is_told_apart_and_must_answer_the_question_too() {
    let question = Question::new().await.unwrap();
    let kiss = |code: &[u8; 4]| {
        let mut bytes = honest(&question, NOW_US);
        bytes[0] |= 0b1100_0000;
        bytes[1] = 0;
        bytes[12..16].copy_from_slice(code);
        bytes
    };
    for (code, expected) in [(b"DENY", Kiss::Leave), (b"RSTR", Kiss::Leave), (b"RATE", Kiss::Slower)] {
        let judged = judge(&question, &kiss(code)).await;
        assert!(matches!(judged, Err(SntpError::Kiss(kiss)) if kiss == expected), "{judged:?}");
    }
    assert!(matches!(judge(&question, &kiss(b"INIT")).await, Err(SntpError::Wrong(_))));
    let mut forged = kiss(b"DENY");
    forged[24] ^= 1;
    assert!(matches!(judge(&question, &forged).await, Err(SntpError::Stray)));
}

#[tokio::test]
async fn leap_warnings_and_the_era_after_2036_are_read() {
    let question = Question::new().await.unwrap();
    let mut bytes = honest(&question, NOW_US);
    bytes[0] |= 0b0100_0000;
    assert_eq!(judge(&question, &bytes).await.unwrap().leap, Leap::Insert);
    // 2036-02-07T06:28:16Z and a second, from a floor in 2034.
    let after = 2_085_978_497_000_000;
    let bytes = honest(&question, after);
    let pivot_us = 2_030_000_000_000_000;
    let sample = question.judge(&bytes, 0, 10_000_000, pivot_us).await.unwrap();
    assert!(sample.unix_us.abs_diff(after + 500) <= 1);
    // The wrap between the two stamps of one answer.
    let bytes = honest(&question, 2_085_978_496_000_000 - 500);
    let sample = question.judge(&bytes, 0, 10_000_000, pivot_us).await.unwrap();
    assert!(sample.unix_us.abs_diff(2_085_978_496_000_000) <= 2);
}

proptest! {
    /// Nobody's bytes make it panic, and none pass that do not repeat the stamp.
    #[test]
    fn no_bytes_are_taken_for_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..96)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let question = Question::new().await.unwrap();
            prop_assert!(judge(&question, &bytes).await.is_err());
            // Even when they repeat it, the time that they give has a width, or they break a rule.
            let mut aimed = bytes;
            aimed.resize(PACKET_BYTES, 0);
            aimed[24..32].copy_from_slice(&question.bytes[40..48]);
            if let Ok(sample) = judge(&question, &aimed).await {
                prop_assert!(sample.error_us > 0);
            }
            Ok(())
        })?;
    }
}
