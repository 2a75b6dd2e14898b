//! Numbers as a person reads them: sizes, ages, durations, and text cut to the room there is.
//!
//! Pure functions from values to short ASCII text; nothing here draws or reads a clock.

use control::status::{SourceState, SourceStatus, VoteStatus};
use platform::disk::endurance::{LifeLeft, YEARS_MAX};

/// Stands for "cut off here". The screen's fonts are ASCII; the canvas draws this character as three dots in one cell.
pub(crate) const ELLIPSIS: char = '\u{2026}';

const SECOND_US: u64 = 1_000_000;
const MINUTE_US: u64 = 60 * SECOND_US;
const HOUR_US: u64 = 60 * MINUTE_US;
const DAY_US: u64 = 24 * HOUR_US;

/// Writes a size in decimal units, as disks are sold: `512 MB`, `1.8 TB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [(u64, &str); 4] =
        [(1_000_000_000_000, "TB"), (1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "KB")];
    for (unit, name) in UNITS {
        if bytes >= unit {
            let whole = bytes / unit;
            let tenth = (bytes % unit) * 10 / unit;
            return if whole < 10 { format!("{whole}.{tenth} {name}") } else { format!("{whole} {name}") };
        }
    }
    format!("{bytes} bytes")
}

/// Says how a time server stands, after its name: `agrees, 2 ms apart`.
pub fn time_server(source: &SourceStatus) -> String {
    let apart = source.offset_us.map(|offset| format!(", {} apart", span(offset.unsigned_abs())));
    let apart = apart.unwrap_or_default();
    match source.answers {
        SourceState::Unasked => "not asked yet".to_owned(),
        SourceState::Silent => "does not answer".to_owned(),
        SourceState::Refuses => "declines to be asked".to_owned(),
        SourceState::Agrees => format!("agrees{apart}"),
        SourceState::Disagrees => format!("says another time{apart}: ignored"),
    }
}

/// Says how a vote about the time stands: `4 of 5 agree`, `2 of 4 agree, 3 must`.
pub fn vote(vote: VoteStatus) -> String {
    let VoteStatus { agreeing, voters, needed } = vote;
    let must = if agreeing < needed { format!(", {needed} must") } else { String::new() };
    format!("{agreeing} of {voters} agree{must}")
}

/// Says what a clock chip gains or loses in a week: `gains 0.6 s a week`.
pub fn drift(rate_ppb: i64) -> String {
    const WEEK_S: u64 = 7 * 86_400;
    let tenths = rate_ppb.unsigned_abs().saturating_mul(WEEK_S) / 100_000_000;
    let verb = if rate_ppb < 0 { "loses" } else { "gains" };
    format!("{verb} {}.{} s a week", tenths / 10, tenths % 10)
}

/// Writes how long ago something was, in the largest whole unit: `just now`, `3 min ago`, `2 days ago`.
pub fn age(then_us: u64, now_us: u64) -> String {
    let past = now_us.saturating_sub(then_us);
    if past < MINUTE_US { "just now".to_owned() } else { format!("{} ago", span(past)) }
}

/// Writes a duration of microseconds in the largest whole unit: `12 ms`, `4 s`, `3 min`, `2 h`, `5 days`.
pub fn span(us: u64) -> String {
    if us < SECOND_US {
        // Below a millisecond a person needs no figure: one is the smallest shown.
        format!("{} ms", (us / 1_000).max(1))
    } else if us < MINUTE_US {
        format!("{} s", us / SECOND_US)
    } else if us < HOUR_US {
        format!("{} min", us / MINUTE_US)
    } else if us < 2 * DAY_US {
        format!("{} h", us / HOUR_US)
    } else {
        format!("{} days", us / DAY_US)
    }
}

/// Writes how much of a disk's life is used and left, in a line of the screen.
pub(crate) fn wear(used_percent: Option<u8>, life: LifeLeft) -> String {
    let years = match life {
        LifeLeft::Years { years: 0, .. } => Some("under 1 year".to_owned()),
        LifeLeft::Years { years: 1, .. } => Some("1 year".to_owned()),
        LifeLeft::Years { years: YEARS_MAX, .. } => Some(format!("{YEARS_MAX}+ years")),
        LifeLeft::Years { years, .. } => Some(format!("{years} years")),
        LifeLeft::TooEarly | LifeLeft::NotTold => None,
    };
    match (used_percent, years) {
        (Some(used), Some(years)) => format!("{used} % used, {years} left"),
        (Some(used), None) => format!("{used} % of its life used"),
        (None, Some(years)) => format!("About {years} left"),
        (None, None) => "Wear: not told by it".to_owned(),
    }
}

/// Writes a count with its noun: `no accounts`, `1 account`, `3 accounts`.
pub fn count(number: u64, noun: &str) -> String {
    match number {
        0 => format!("no {noun}s"),
        1 => format!("1 {noun}"),
        _ => format!("{number} {noun}s"),
    }
}

/// Cuts `text` to `columns` characters, the last one an ellipsis if anything is missing.
///
/// Characters outside printable ASCII become `?`, since the fonts hold no others.
pub(crate) fn fit(text: &str, columns: usize) -> String {
    let mut shown: String = text.chars().map(printable).take(columns).collect();
    if text.chars().nth(columns).is_some() {
        shown.pop();
        if columns > 0 {
            shown.push(ELLIPSIS);
        }
    }
    shown
}

fn printable(character: char) -> char {
    if character == ELLIPSIS || character == ' ' || character.is_ascii_graphic() { character } else { '?' }
}

/// Breaks `text` at spaces into at most `lines` lines of at most `columns` characters.
///
/// A word longer than a line is broken where the line ends. What does not fit is cut with an ellipsis.
pub(crate) fn wrap(text: &str, columns: usize, lines: usize) -> Vec<String> {
    if columns == 0 {
        return Vec::new();
    }
    let mut all: Vec<String> = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        let mut rest: Vec<char> = word.chars().map(printable).collect();
        let used = line.chars().count();
        if used > 0 && used + 1 + rest.len() > columns {
            all.push(std::mem::take(&mut line));
        } else if used > 0 {
            line.push(' ');
        }
        while rest.len() > columns {
            let tail = rest.split_off(columns);
            all.push(rest.iter().collect());
            rest = tail;
        }
        line.extend(rest);
    }
    if !line.is_empty() {
        all.push(line);
    }
    if all.len() > lines {
        all.truncate(lines);
        if let Some(last) = all.last_mut() {
            while last.chars().count() >= columns {
                last.pop();
            }
            last.push(ELLIPSIS);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        assert_eq!(size(999), "999 bytes");
        assert_eq!(size(1_500_000), "1.5 MB");
        assert_eq!(size(64_000_000_000), "64 GB");
        assert_eq!(size(1_999_000_000_000), "1.9 TB");
    }

    #[test]
    fn clocks_and_votes_are_told_in_words() {
        assert_eq!(drift(1_000), "gains 0.6 s a week");
        assert_eq!(drift(-20_000), "loses 12.0 s a week");
        assert_eq!(vote(VoteStatus { agreeing: 4, voters: 5, needed: 3 }), "4 of 5 agree");
        assert_eq!(vote(VoteStatus { agreeing: 2, voters: 4, needed: 3 }), "2 of 4 agree, 3 must");
        let liar = SourceStatus {
            answers: SourceState::Disagrees,
            offset_us: Some(-7_200_000_000),
            ..SourceStatus::default()
        };
        assert_eq!(time_server(&liar), "says another time, 2 h apart: ignored");
    }

    #[test]
    fn ages_use_the_largest_unit() {
        assert_eq!(age(10 * SECOND_US, 20 * SECOND_US), "just now");
        assert_eq!(age(0, 3 * MINUTE_US), "3 min ago");
        assert_eq!(age(0, 26 * HOUR_US), "26 h ago");
        assert_eq!(age(0, 3 * DAY_US), "3 days ago");
        assert_eq!(age(5, 0), "just now");
    }

    #[test]
    fn long_text_ends_in_an_ellipsis() {
        assert_eq!(fit("short", 5), "short");
        assert_eq!(fit("longer", 5), "long\u{2026}");
        assert_eq!(fit("\u{e9}t\u{e9}", 5), "?t?");
    }

    #[test]
    fn wrapping_keeps_words_and_breaks_only_what_must_be() {
        assert_eq!(wrap("plug it back in", 8, 4), ["plug it", "back in"]);
        assert_eq!(wrap("http://localhost:2583", 12, 4), ["http://local", "host:2583"]);
        assert_eq!(wrap("one two three four", 5, 2), ["one", "two\u{2026}"]);
    }
}
