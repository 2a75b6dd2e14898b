//! The stories that a person can type, on a host clock that is real or moved by hand.

use std::time::Duration;

use control::status::TimeState;
use platform::time::{BootId, Untrusted};

use super::*;

const NOW_US: u64 = 1_795_401_296_000_000;

/// A host whose clocks follow tokio's paused time.
#[derive(Debug)]
struct PausedHost {
    started: tokio::time::Instant,
}

impl BootClock for PausedHost {
    fn boottime_ns(&self) -> u64 {
        1_000_000_000 + u64::try_from(self.started.elapsed().as_nanos()).unwrap()
    }

    fn realtime_us(&self) -> i64 {
        i64::try_from(NOW_US + u64::try_from(self.started.elapsed().as_micros()).unwrap()).unwrap()
    }

    fn boot_id(&self) -> BootId {
        BootId::from_bytes([3; 16])
    }
}

/// A world that runs, and its clock.
struct Story {
    host: Arc<PausedHost>,
    world: SimWorld,
    clock: Clock,
}

impl Story {
    /// Runs a story in a started world.
    async fn tell<F: Future<Output = ()>>(seed: u64, story: impl FnOnce(Arc<Self>) -> F) {
        let host = Arc::new(PausedHost { started: tokio::time::Instant::now() });
        let world = SimWorld::new(host.clone(), seed);
        let clock = world.clock();
        let shutdown = CancellationToken::new();
        let told = Arc::new(Self { host, world: world.clone(), clock });
        let ending = async {
            story(told).await;
            shutdown.cancel();
        };
        tokio::join!(world.run(shutdown.clone()), ending);
    }

    /// Lets time pass, and checks all the while that trusted time is true within its bound.
    async fn pass(&self, span: Duration) {
        const STEP: Duration = Duration::from_millis(50);
        let until = tokio::time::Instant::now() + span;
        while tokio::time::Instant::now() < until {
            tokio::time::sleep(STEP).await;
            if let Ok(now) = self.clock.now() {
                let off_us = i64::try_from(now.unix_micros()).unwrap() - self.host.realtime_us();
                assert!(off_us.unsigned_abs() <= now.error_bound_us(), "off by {off_us} us: {now:?}");
            }
        }
    }

    fn command(&self, line: &str) {
        self.world.command(line.parse().unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn trust_is_reached_within_two_seconds_of_start() {
    Story::tell(1, |story| async move {
        story.pass(Duration::from_secs(2)).await;
        assert!(story.clock.now().unwrap().error_bound_us() <= 100_000);
        assert_eq!(story.world.status().state, TimeState::Synced);
        story.pass(Duration::from_secs(600)).await;
        assert!(story.clock.now().unwrap().error_bound_us() <= 100_000);
        assert!(story.inner_sets() > 0, "the chip was set");
    })
    .await;
}

impl Story {
    fn inner_sets(&self) -> u64 {
        self.world.inner.chip.sets()
    }
}

#[tokio::test(start_paused = true)]
async fn a_foreign_jump_is_refused_and_healed_by_the_servers() {
    Story::tell(2, |story| async move {
        story.pass(Duration::from_secs(5)).await;
        story.command("clock +600");
        assert!(matches!(story.clock.now().unwrap_err().why, Untrusted::RealtimeDisagrees { .. }));
        story.pass(Duration::from_secs(3)).await;
        assert!(story.clock.now().is_ok());
        assert!((story.world.boot_clock().realtime_us() - story.host.realtime_us()).abs() < 1_000_000);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn without_servers_and_chip_a_jump_is_refused_until_servers_are_back() {
    Story::tell(3, |story| async move {
        story.pass(Duration::from_secs(5)).await;
        story.command("ntp off");
        story.command("rtc dead");
        story.pass(Duration::from_secs(20)).await;
        assert_eq!(story.world.status().state, TimeState::Holdover);
        assert!(story.clock.now().is_ok(), "the extrapolation is good for hours");
        story.command("clock +600");
        story.pass(Duration::from_secs(30)).await;
        assert_eq!(story.world.status().state, TimeState::Suspect);
        assert!(story.clock.now().unwrap_err().to_string().contains("10 min ahead"));
        story.command("ntp on");
        story.pass(Duration::from_secs(3)).await;
        assert!(story.clock.now().is_ok());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn without_servers_the_chip_heals_a_jump() {
    Story::tell(4, |story| async move {
        story.pass(Duration::from_secs(5)).await;
        story.command("ntp off");
        story.pass(Duration::from_secs(20)).await;
        story.command("clock -86400");
        assert!(story.clock.now().is_err());
        story.pass(Duration::from_secs(2)).await;
        assert!(story.clock.now().is_ok());
        assert_eq!(story.world.status().state, TimeState::Holdover);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn clock_at_1970_then_ntp() {
    Story::tell(5, |story| async move {
        story.pass(Duration::from_secs(5)).await;
        story.command("rtc dead");
        story.command("ntp off");
        story.command("clock 1970");
        story.pass(Duration::from_secs(40)).await;
        assert_eq!(story.world.status().state, TimeState::Unknown);
        assert!(story.clock.now().unwrap_err().to_string().contains("No time server answers"));
        story.command("ntp on");
        story.pass(Duration::from_secs(3)).await;
        assert_eq!(story.world.status().state, TimeState::Synced);
        assert!(story.clock.now().is_ok());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_power_cut_with_a_good_chip_is_over_in_a_moment() {
    Story::tell(6, |story| async move {
        story.pass(Duration::from_secs(5)).await;
        story.command("ntp off");
        story.command("clock 1970");
        assert!(story.clock.now().is_err());
        story.pass(Duration::from_secs(4)).await;
        assert_eq!(story.world.status().state, TimeState::Rtc);
        assert!(story.clock.now().is_ok());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn one_liar_among_four_changes_nothing_and_two_end_the_agreement() {
    Story::tell(7, |story| async move {
        story.pass(Duration::from_secs(5)).await;
        story.command("ntp lie 1");
        story.pass(Duration::from_secs(60)).await;
        let status = story.world.status();
        assert_eq!(status.state, TimeState::Synced);
        let liars = status.sources.iter().filter(|s| s.answers == control::status::SourceState::Disagrees);
        assert_eq!(liars.count(), 1);
        for line in ["ntp lie 2", "ntp lie 3", "ntp lie 4"] {
            story.command(line);
            story.pass(Duration::from_secs(60)).await;
            assert_eq!(story.world.status().state, TimeState::Holdover, "{line}");
            assert!(story.clock.now().is_ok());
        }
        story.command("ntp on");
        story.pass(Duration::from_secs(5)).await;
        assert_eq!(story.world.status().state, TimeState::Synced);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_cold_box_among_two_liars_of_four_is_never_trusted() {
    Story::tell(8, |story| async move {
        story.pass(Duration::from_secs(2)).await;
        story.command("rtc dead");
        story.command("ntp lie 2");
        story.command("clock 1970");
        story.pass(Duration::from_secs(300)).await;
        assert!(story.clock.now().unwrap_err().to_string().contains("contradict"));
    })
    .await;
}

#[test]
fn the_lines_that_the_issue_names_are_understood() {
    assert_eq!("clock +600".parse(), Ok(TimeFault::ClockJump { seconds: 600 }));
    assert_eq!("clock -5".parse(), Ok(TimeFault::ClockJump { seconds: -5 }));
    assert_eq!("clock 1970".parse(), Ok(TimeFault::Clock1970));
    assert_eq!("ntp off".parse(), Ok(TimeFault::NtpOff));
    assert_eq!("ntp on".parse(), Ok(TimeFault::NtpOn));
    assert_eq!("ntp lie 1".parse(), Ok(TimeFault::NtpLie { liars: 1 }));
    assert_eq!(" rtc  dead ".parse(), Ok(TimeFault::RtcDead));
    for wrong in ["", "clock", "clock 600", "clock +x", "ntp lie 5", "ntp lie", "rtc"] {
        assert_eq!(wrong.parse::<TimeFault>(), Err(TimeFaultError), "{wrong}");
    }
}
