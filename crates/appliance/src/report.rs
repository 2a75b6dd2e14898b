//! What `perchctl` prints: the whole state on one screen, and each problem with what it means and what to do.
//!
//! Pure text from the status, the same words as on the screen and the panel.

use std::fmt::Write as _;

use control::SystemStatus;
use control::status::{PdsState, Status, StorageState, StorageStatus, TimeStatus};
use platform::disk::endurance::{LifeLeft, YEARS_MAX};

use crate::screen::{count, size, span, time_server, troubles, vote};

/// The lines of an ordinary terminal: what `status` prints fits one.
pub const LINES_MAX: usize = 24;

/// Programs that are listed; a box has five to seven.
const PROGRAMS_MAX: usize = 8;

/// Troubles that are listed by their titles.
const TROUBLES_MAX: usize = 5;

/// The whole state on one screen.
#[must_use]
pub fn status(status: &Status) -> String {
    let mut lines = Vec::new();
    let system = &status.system;
    let up = span(system.uptime_s.saturating_mul(1_000_000));
    lines.push(format!("{} - Perch {}, up for {up}", or(&system.hostname, "this box"), system.version));
    let found = troubles(status);
    if found.is_empty() {
        lines.push("All is well.".to_owned());
    }
    for trouble in found.iter().take(TROUBLES_MAX) {
        lines.push(format!("! {}", trouble.title));
    }
    if found.len() > TROUBLES_MAX {
        lines.push(format!("! and {} more", found.len() - TROUBLES_MAX));
    }
    if !found.is_empty() {
        lines.push("  perchctl doctor says what to do.".to_owned());
    }
    lines.push(format!("Machine   {}", machine(system)));
    lines.push(format!("PDS       {}", pds(status)));
    lines.push(format!(
        "Time      {}",
        status.time.as_ref().map_or("the guard does not answer".to_owned(), time)
    ));
    lines.push(format!("Storage   {}", storage(status)));
    lines.extend(status.storage.as_ref().map(|storage| format!("Disk      {}", disk(storage))));
    let network = if system.network_up { "up" } else { "DOWN" };
    lines.push(format!("Network   {network} {}", system.addresses.join(" ")));
    lines.push(format!("Pages     {}", or(&system.panel_url, "none")));
    for child in system.children.iter().take(PROGRAMS_MAX) {
        let mut line = format!("Program   {}: {}", child.name, child.state.label());
        if child.restarts > 0 {
            // Writing into a string cannot fail.
            let _never = write!(line, ", started again {}", count(child.restarts, "time")).is_err();
        }
        if let Some(why) = &child.why {
            let _never = write!(line, " ({why})").is_err();
        }
        if child.is_loose() {
            line.push_str(", NOT FULLY SHUT IN");
        }
        lines.push(line);
    }
    lines.join("\n") + "\n"
}

/// Each problem: what it is, what it means and what to do.
#[must_use]
pub fn doctor(status: &Status) -> String {
    let found = troubles(status);
    let notes = notes(&status.system);
    if found.is_empty() && notes.is_empty() {
        return "All is well: there is nothing to do.\n".to_owned();
    }
    let mut text = match found.len() {
        0 => "Everything works.\n".to_owned(),
        many => format!("{}, the worst first:\n", count(u64::try_from(many).unwrap_or(0), "problem")),
    };
    for (number, trouble) in (1..).zip(&found) {
        let _never = write!(text, "\n{number}. {}\n   {}\n", trouble.title, trouble.advice).is_err();
    }
    text.push_str(&time_in_full(status));
    for child in status.system.children.iter().filter(|child| child.why.is_some()) {
        let why = child.why.as_deref().unwrap_or_default();
        let _never = write!(text, "\n{} was started again: it {why}.\n", child.name).is_err();
    }
    for note in notes {
        text.push('\n');
        text.push_str(&note);
        text.push('\n');
    }
    text
}

/// What the time guard says itself while the clock is not trusted, and each server's part in it.
fn time_in_full(status: &Status) -> String {
    let Some((time, why)) = status.time.as_ref().and_then(|time| Some((time, time.why_untrusted.as_ref()?)))
    else {
        return String::new();
    };
    let mut text = format!("\nThe clock is not trusted: {why}\n");
    if let Some(told) = time.vote {
        let _never = writeln!(text, "   Vote: {}.", vote(told)).is_err();
    }
    for source in &time.sources {
        let _never =
            writeln!(text, "   {} ({}): {}.", source.name, source.operator, time_server(source)).is_err();
    }
    text
}

/// What keeps nothing from working, and leaves the box less protected than it could be.
fn notes(system: &SystemStatus) -> Vec<String> {
    let mut notes = Vec::new();
    for child in system.children.iter().filter(|child| child.is_loose()) {
        let name = &child.name;
        notes.push(match &child.sandbox {
            None => format!(
                "{name} runs and has not said that it is shut in. If it stays so, it cannot write /run/perch/{name}."
            ),
            Some(gaps) => {
                let gaps: Vec<String> = gaps.iter().map(ToString::to_string).collect();
                format!(
                    "{name} is not fully shut in: {}. It works; somebody who breaks into it would reach further. \
                     A newer kernel, or a start without --sandbox off, closes this.",
                    gaps.join("; ")
                )
            }
        });
    }
    if system.without_limits {
        notes.push(
            "The programs run without memory limits: one that takes too much slows down all. The kernel has no memory \
             controller; on a Pi, add cgroup_enable=memory to cmdline.txt."
                .to_owned(),
        );
    }
    notes
}

fn or<'a>(text: &'a str, otherwise: &'a str) -> &'a str {
    if text.is_empty() { otherwise } else { text }
}

fn pds(status: &Status) -> String {
    let Some(pds) = &status.pds else { return "does not answer".to_owned() };
    match &pds.state {
        PdsState::Starting => "starts".to_owned(),
        PdsState::Stopped { why } => format!("stopped: {why}"),
        PdsState::Serving => {
            let writes = pds.refuses_writes.as_ref().map(|why| format!("; no new posts: {why}"));
            let (accounts, readers) = (count(pds.accounts, "account"), count(pds.subscribers, "reader"));
            format!("{} serves {accounts}, {readers}{}", pds.name, writes.unwrap_or_default())
        }
    }
}

fn time(time: &TimeStatus) -> String {
    let bound = time.error_bound_us.map(|bound| format!(", within {}", span(bound))).unwrap_or_default();
    let told = time.vote.map(|told| format!(", {}", vote(told))).unwrap_or_default();
    format!("{} ({}{bound}{told})", time.clock_text(), time.state.label())
}

fn storage(status: &Status) -> String {
    let Some(storage) = &status.storage else { return "not looked at yet".to_owned() };
    let state = match storage.state {
        StorageState::Ok => "well",
        StorageState::Low => "almost full",
        StorageState::Full => "FULL",
        StorageState::Pulled => "MISSING",
        StorageState::Failing => "FAILING",
    };
    let (free, total) = (size(storage.free_bytes), size(storage.total_bytes));
    format!("{} ({}): {state}, {free} of {total} free", storage.disk, storage.kind.label())
}

/// The board, how warm it is and how its power is.
fn machine(system: &SystemStatus) -> String {
    let mut words = vec![system.board.clone().unwrap_or_else(|| "no board that Perch knows".to_owned())];
    words.extend(system.temperature_mc.map(|warmth| format!("{} C", warmth / 1_000)));
    words.extend(
        match (system.undervoltage, system.was_undervoltage) {
            (Some(true), _) => Some("power is TOO WEAK"),
            (_, Some(true)) => Some("power was too weak"),
            (Some(false), _) => Some("power is well"),
            (None, _) => None,
        }
        .map(str::to_owned),
    );
    words.extend((system.slowed_by_heat == Some(true)).then(|| "slowed by heat".to_owned()));
    words.join(", ")
}

/// What the disk says about itself, and what is written to it.
fn disk(storage: &StorageStatus) -> String {
    let care = &storage.care;
    let mut words = Vec::new();
    words.extend(storage.wear_percent.map(|wear| format!("{wear} % of its life is used")));
    words.extend(match care.life {
        LifeLeft::Years { years: YEARS_MAX.., .. } => Some(format!("{YEARS_MAX} years left or more")),
        LifeLeft::Years { years, .. } => Some(count(u64::from(years), "year") + " left"),
        LifeLeft::TooEarly | LifeLeft::NotTold => None,
    });
    words.extend(care.bytes_per_day.map(|bytes| format!("{} written a day", size(bytes))));
    words.extend(care.speed.map(|speed| format!("{} durable writes a second", speed.per_second())));
    words.push(format!("TRIM {}", care.trim.label()));
    words.extend((care.io_errors > 0).then(|| count(care.io_errors, "error")));
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use control::PdsStatus;
    use control::status::{ChildState, ChildStatus, SourceState, SourceStatus, VoteStatus};
    use platform::Gap;

    use super::*;

    #[test]
    fn the_whole_state_fits_one_screen_however_bad_it_is() {
        let mut bad = Status::default();
        bad.system.safe_mode = Some("The button was held.".to_owned());
        let child = ChildStatus {
            name: "panel".to_owned(),
            state: ChildState::Failing,
            restarts: 7,
            why: Some("ended with code 1: port 80 is taken".to_owned()),
            next_start_s: Some(60),
            sandbox: None,
        };
        bad.system.children = vec![child; 20];
        let text = status(&bad);
        assert!(text.lines().count() <= LINES_MAX, "{text}");
        assert!(
            text.contains("panel: fails again and again, started again 7 times (ended with code 1"),
            "{text}"
        );
        assert!(text.contains("! SAFE MODE"));
    }

    #[test]
    fn the_doctor_tells_why_the_clock_is_not_trusted_and_who_said_what() {
        let source = |name: &str, answers, offset_us| SourceStatus {
            name: name.to_owned(),
            operator: "PTB".to_owned(),
            answers,
            offset_us,
            error_us: None,
        };
        let time = TimeStatus {
            why_untrusted: Some("The time servers contradict each other.".to_owned()),
            vote: Some(VoteStatus { agreeing: 2, voters: 4, needed: 3 }),
            sources: vec![
                source("a.example", SourceState::Disagrees, Some(-600_000_000)),
                source("b.example", SourceState::Silent, None),
            ],
            ..TimeStatus::default()
        };
        let text = doctor(&Status { time: Some(time.clone()), ..Status::default() });
        let wanted = "The clock is not trusted: The time servers contradict each other.\n   Vote: 2 of 4 agree, 3 must.\n   \
                      a.example (PTB): says another time, 10 min apart: ignored.\n   b.example (PTB): does not answer.\n";
        assert!(text.contains(wanted), "{text}");
        assert!(
            !doctor(&Status { time: Some(TimeStatus { why_untrusted: None, ..time }), ..Status::default() })
                .contains("not trusted:")
        );
    }

    #[test]
    fn a_program_that_is_not_shut_in_is_marked_and_explained_although_all_works() {
        let mut status_now = Status::default();
        let child = |name: &str, sandbox| ChildStatus {
            name: name.to_owned(),
            state: ChildState::Running,
            sandbox,
            ..ChildStatus::default()
        };
        status_now.system.children = vec![
            child("pds", Some(Gap::switched_off())),
            child("panel", None),
            child("timeguard", Some(Vec::new())),
            child("udhcpc eth0", None),
        ];
        status_now.system.without_limits = true;
        let marked: Vec<String> = status(&status_now)
            .lines()
            .filter(|line| line.ends_with("NOT FULLY SHUT IN"))
            .map(str::to_owned)
            .collect();
        assert_eq!(marked.len(), 2, "{marked:?}");
        let text = doctor(&status_now);
        for words in [
            "pds is not fully shut in: files outside its folders are not shut off (it was started with --sandbox off)",
            "panel runs and has not said that it is shut in",
            "add cgroup_enable=memory to cmdline.txt",
        ] {
            assert!(text.contains(words), "{text}");
        }
        assert!(!text.contains("timeguard is not") && !text.contains("udhcpc"), "{text}");
    }

    #[test]
    fn the_doctor_says_of_each_trouble_what_to_do() {
        let mut ill = Status { pds: Some(PdsStatus::default()), ..Status::default() };
        let text = doctor(&ill);
        for trouble in troubles(&ill) {
            assert!(text.contains(trouble.title) && text.contains(&trouble.advice), "{text}");
        }
        ill = Status::default();
        ill.pds = Some(PdsStatus { state: PdsState::Serving, ..PdsStatus::default() });
        ill.time = Some(TimeStatus { trusted: true, ..TimeStatus::default() });
        ill.system.network_up = true;
        assert_eq!(doctor(&ill), "All is well: there is nothing to do.\n");
        assert!(status(&ill).contains("All is well."));
    }
}
