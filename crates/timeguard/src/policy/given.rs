//! What comes while the guard runs: the servers that DHCP gives, and the memory of a disk that is mounted late.

use control::status::TimeState;

use super::source::Source;
use super::timeline::to_i64;
use super::{Action, GIVEN_OPERATOR, Guard, Input, Moment, Saved, Server};

/// Servers of DHCP that are asked. Four: they have one vote together, and a network could name hundreds.
const GIVEN_MAX: usize = 4;

/// How far above the build a remembered floor may be, microseconds: 20 years, as for the chip. A damaged file must not
/// shut out the true time for good.
const FLOOR_OVER_BUILD_US: i64 = 20 * 366 * 86_400_000_000;

impl Guard {
    /// Gives a server by its number, while it is one.
    #[must_use]
    pub fn server(&self, id: usize) -> Option<&Server> {
        self.sources.iter().find(|source| source.id == id).map(|source| &source.server)
    }

    pub(super) fn source(&mut self, id: usize) -> Option<&mut Source> {
        self.sources.iter_mut().find(|source| source.id == id)
    }

    /// Takes the servers that DHCP gives now in the place of those that it gave before, and says what to do.
    ///
    /// Those that are named again keep their answers. A name of the configuration stays its operator's.
    pub fn take_given(&mut self, names: &[String], now: Moment) -> Vec<Action> {
        let configured: Vec<String> = self.config.servers.iter().map(|server| server.name.clone()).collect();
        let mut wanted: Vec<&String> = Vec::new();
        for name in names {
            if !configured.contains(name) && !wanted.contains(&name) && wanted.len() < GIVEN_MAX {
                wanted.push(name);
            }
        }
        self.sources.retain(|source| {
            source.server.operator != GIVEN_OPERATOR || wanted.contains(&&source.server.name)
        });
        let poll_s = self.config.poll_s.max(16);
        for name in wanted {
            let known =
                |source: &Source| source.server.operator == GIVEN_OPERATOR && source.server.name == *name;
            if !self.sources.iter().any(known) {
                let server = Server { name: name.clone(), operator: GIVEN_OPERATOR.to_owned() };
                self.sources.push(Source::new(self.next_server, server, poll_s));
                self.next_server += 1;
            }
        }
        self.handle(Input::Tick, now)
    }

    /// Takes what was kept from before, when the disk that has it comes after the start; what to do follows with the
    /// next input.
    pub fn remember(&mut self, saved: Saved, now: Moment) {
        let build_us = to_i64(self.config.build_us);
        let floor_us = to_i64(saved.floor_us);
        if floor_us <= build_us.saturating_add(FLOOR_OVER_BUILD_US) {
            self.floor_us = self.floor_us.max(floor_us);
        }
        self.chip.remember(&saved, self.boot_id);
        if self.config.saved.rtc_set_us.is_none() {
            self.config.saved.rtc_set_us = saved.rtc_set_us;
            self.config.saved.rtc_set_boot = saved.rtc_set_boot;
        }
        self.config.saved.rtc_drift = self.chip.drift();
        self.config.saved.floor_us = u64::try_from(self.floor_us).unwrap_or_default();
        // A chip that was believed before its past was known may be behind it.
        let steady_us = self.steady_us(now);
        let passed = self.estimate.is_some_and(|(_, estimate)| {
            let latest_us = estimate.unix_us(steady_us).saturating_add_unsigned(estimate.bound_at(steady_us));
            latest_us < self.floor_us
        });
        if passed {
            self.estimate = None;
            self.state = TimeState::Unknown;
        }
    }
}

#[cfg(test)]
mod tests {
    use control::status::SourceState;
    use platform::time::BootId;

    use super::super::{Config, Leap, RtcConfig, Sample};
    use super::*;

    /// 2026-11-23, microseconds.
    const NOW_US: i64 = 1_795_401_296_000_000;
    const DAY_US: u64 = 86_400_000_000;

    fn guard(servers: usize) -> Guard {
        let servers =
            (0..servers).map(|i| Server { name: format!("t{i}"), operator: format!("o{i}") }).collect();
        let floor_us = u64::try_from(NOW_US).unwrap() - DAY_US;
        let config = Config {
            servers,
            build_us: floor_us,
            saved: Saved::default(),
            rtc: None,
            may_set_clock: false,
            poll_s: 64,
        };
        Guard::new(config, BootId::from_bytes([1; 16]), at(0))
    }

    fn at(second: u64) -> Moment {
        let realtime_us = NOW_US + i64::try_from(second).unwrap() * 1_000_000;
        Moment { boottime_ns: second * 1_000_000_000, realtime_us }
    }

    fn answer(guard: &mut Guard, id: usize, second: u64, off_us: i64) {
        let now = at(second);
        let unix_us = now.realtime_us + off_us;
        let sample = Sample { boottime_ns: now.boottime_ns, unix_us, error_us: 1_000, leap: Leap::None };
        guard.handle(Input::Sample(id, sample), now);
    }

    fn asked(actions: &[Action]) -> Vec<usize> {
        let id = |action: &Action| match action {
            Action::Query(id) => Some(*id),
            _ => None,
        };
        actions.iter().filter_map(id).collect()
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn servers_of_dhcp_are_asked_and_have_one_vote_together() {
        let mut guard = guard(2);
        let actions = guard.take_given(&names(&["router", "router", "second", "t0"]), at(0));
        assert_eq!(asked(&actions), [0, 1, 2, 3]);
        for id in 0..2 {
            answer(&mut guard, id, 1, 0);
        }
        assert_eq!(guard.state(), TimeState::Unknown);
        answer(&mut guard, 2, 1, 0);
        answer(&mut guard, 3, 1, 0);
        assert_eq!(guard.state(), TimeState::Synced, "two operators and the network are three");
        let ballot = guard.ballot.unwrap();
        assert_eq!((ballot.agreeing, ballot.voters), (3, 3));
    }

    #[test]
    fn a_network_that_names_many_liars_has_one_vote_against_three() {
        let mut guard = guard(3);
        guard.take_given(&names(&["a", "b", "c", "d", "e", "f"]), at(0));
        for id in 0..3 {
            answer(&mut guard, id, 1, 0);
        }
        for id in 3..9 {
            answer(&mut guard, id, 1, 3_600_000_000);
        }
        assert_eq!(guard.state(), TimeState::Synced);
        let status = guard.status(at(1));
        let liars = status.sources.iter().filter(|source| source.answers == SourceState::Disagrees);
        assert_eq!(liars.count(), GIVEN_MAX);
        assert!(status.unix_us.unwrap().abs_diff(u64::try_from(at(1).realtime_us).unwrap()) < 2_000);
    }

    #[test]
    fn a_new_network_takes_the_old_ones_servers_away_and_late_answers_count_for_nobody() {
        let mut guard = guard(2);
        guard.take_given(&names(&["old", "kept"]), at(0));
        answer(&mut guard, 3, 1, 0);
        let actions = guard.take_given(&names(&["kept", "new"]), at(2));
        assert_eq!(asked(&actions), [4], "what is kept is not asked anew");
        assert_eq!(guard.server(2), None);
        assert_eq!(guard.server(4).unwrap().name, "new");
        answer(&mut guard, 2, 3, 0);
        let shown: Vec<_> = guard.status(at(3)).sources.into_iter().map(|source| source.answers).collect();
        assert_eq!(shown.len(), 4);
        assert_eq!(shown[3], SourceState::Unasked);
    }

    #[test]
    fn a_memory_that_comes_late_raises_the_floor() {
        let mut guard = guard(4);
        let saved = Saved { floor_us: u64::try_from(NOW_US).unwrap() + DAY_US, ..Saved::default() };
        guard.remember(saved, at(0));
        for id in 0..4 {
            answer(&mut guard, id, 1, 0);
        }
        assert_eq!(guard.state(), TimeState::Unknown);
        assert!(guard.status(at(1)).why_untrusted.unwrap().contains("passed already"));
    }

    #[test]
    fn a_chip_behind_a_late_memory_is_no_longer_believed() {
        let mut guard = guard(4);
        guard.config.rtc = Some(RtcConfig::of(platform::board::RtcChip::Ds3231));
        let (build_us, boot_id) = (guard.config.build_us, guard.boot_id);
        guard.chip = super::super::Chip::new(guard.config.rtc, build_us, &Saved::default(), boot_id);
        let reading = platform::RtcReading {
            unix_us: NOW_US,
            boottime_ns: 0,
            uncertainty_us: 1_000,
            stopped: false,
            driver_first: None,
            battery: platform::Battery::Unknown,
        };
        guard.handle(Input::Chip(Some(reading)), at(0));
        assert_eq!(guard.state(), TimeState::Rtc);
        let saved = Saved { floor_us: u64::try_from(NOW_US).unwrap() + DAY_US, ..Saved::default() };
        guard.remember(saved, at(1));
        assert_eq!(guard.state(), TimeState::Unknown);
    }

    #[test]
    fn a_damaged_memory_of_the_next_century_is_not_believed() {
        let mut guard = guard(4);
        guard.remember(Saved { floor_us: 4_000_000_000_000_000, ..Saved::default() }, at(0));
        for id in 0..4 {
            answer(&mut guard, id, 1, 0);
        }
        assert_eq!(guard.state(), TimeState::Synced);
    }
}
