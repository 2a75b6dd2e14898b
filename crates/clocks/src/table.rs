//! The tables of who ends up wrong by how much, as Markdown.

use std::fmt::Write;

use timeguard::trial::{Lies, Scenario};

use crate::SOON_US;
use crate::outcome::{Outcome, WRONG_US};

/// Microseconds of a year, a day, an hour, a minute, a second and a millisecond, with their words.
const UNITS: [(u64, &str); 6] = [
    (365 * 86_400_000_000, "years"),
    (86_400_000_000, "days"),
    (3_600_000_000, "h"),
    (60_000_000, "min"),
    (1_000_000, "s"),
    (1_000, "ms"),
];

/// Scenarios that are counted together: their name, and which they are.
type Class = (&'static str, fn(&Scenario) -> bool);

const CLASSES: [Class; 6] = [
    ("all four honest", |scenario| scenario.lies() == Lies::None),
    ("one lies", |scenario| scenario.lies() == Lies::One),
    ("two lie, differently", |scenario| scenario.lies() == Lies::Apart),
    ("two tell the same lie", |scenario| scenario.lies() == Lies::Together),
    ("clock ahead at the start", |scenario| scenario.clock_off_us > 0),
    ("clock behind at the start", |scenario| scenario.clock_off_us <= 0),
];

/// What all programs made of the scenarios.
#[derive(Debug, Default)]
pub struct Table {
    /// The names of the programs.
    pub programs: Vec<&'static str>,
    /// The scenarios, each with an outcome for each program.
    pub rows: Vec<(Scenario, Vec<Outcome>)>,
}

impl Table {
    /// Who is wrong by how much.
    #[must_use]
    pub fn wrong(&self) -> String {
        let mut text = String::from(
            "| scenarios | program | claims at the end | set the clock wrong by > 1 s / 1 min / 1 year | wrong while it claimed, \
             by the same | worst | further off than it said |\n|---|---|---:|---:|---:|---:|---:|\n",
        );
        for (name, is_in) in CLASSES {
            let mut name = format!("{name} ({})", self.rows.iter().filter(|(s, _)| is_in(s)).count());
            for (index, program) in self.programs.iter().enumerate() {
                let outcomes = self.outcomes(index, is_in);
                let claims = outcomes.iter().filter(|outcome| outcome.last.is_some()).count();
                let left: Vec<u64> = outcomes.iter().filter_map(|outcome| outcome.left_us()).collect();
                let ever: Vec<u64> = outcomes.iter().map(|outcome| outcome.worst_us).collect();
                let worst = span(ever.iter().copied().max().unwrap_or_default());
                let (left, ever) = (wrong(&left), wrong(&ever));
                let beyond = outcomes.iter().filter(|outcome| outcome.beyond_bound).count();
                // Writing to a String cannot fail.
                let _ = writeln!(
                    text,
                    "| {name} | {program} | {claims} | {left} | {ever} | {worst} | {beyond} |"
                );
                name.clear();
            }
        }
        text
    }

    /// How soon and how exactly they know, where an honest program can.
    #[must_use]
    pub fn good(&self) -> String {
        let mut text = String::from(
            "| program | claims within 60 s, of the solvable | median time to it | median error, near and honest | largest \
             |\n|---|---:|---:|---:|---:|\n",
        );
        for (index, program) in self.programs.iter().enumerate() {
            let solvable = self.outcomes(index, |scenario| scenario.solvable);
            let soon = |outcome: &&&Outcome| outcome.first_us.is_some_and(|first_us| first_us <= SOON_US);
            let soon = solvable.iter().filter(soon).count();
            let firsts = solvable.iter().filter_map(|outcome| outcome.first_us);
            let first_us = median(firsts.map(i64::unsigned_abs).collect());
            let near = self.outcomes(index, |scenario| scenario.quick && scenario.liars == 0);
            let claims = near.iter().filter_map(|outcome| outcome.last);
            let errors: Vec<u64> = claims.map(|claim| claim.error_us.unsigned_abs()).collect();
            let largest_us = errors.iter().copied().max();
            let _ = writeln!(
                text,
                "| {program} | {soon} of {} | {} | {} | {} |",
                solvable.len(),
                first_us.map_or_else(String::new, span),
                median(errors).map_or_else(String::new, span),
                largest_us.map_or_else(String::new, span),
            );
        }
        text
    }

    fn outcomes(&self, program: usize, is_in: fn(&Scenario) -> bool) -> Vec<&Outcome> {
        let rows = self.rows.iter().filter(|(scenario, _)| is_in(scenario));
        rows.filter_map(|(_, outcomes)| outcomes.get(program)).collect()
    }
}

/// Counts the errors over each limit, such as `4 / 2 / 0`.
fn wrong(errors_us: &[u64]) -> String {
    let counts = WRONG_US.map(|limit_us| errors_us.iter().filter(|error_us| **error_us > limit_us).count());
    counts.map(|count| count.to_string()).join(" / ")
}

fn median(mut values: Vec<u64>) -> Option<u64> {
    values.sort_unstable();
    values.get(values.len() / 2).copied()
}

/// Writes a span in its largest fitting unit, such as `1.7 s`.
fn span(span_us: u64) -> String {
    match UNITS.into_iter().find(|(unit_us, _)| span_us >= *unit_us) {
        Some((unit_us, word)) => {
            let tenths = u128::from(span_us) * 10 / u128::from(unit_us);
            if tenths >= 100 {
                format!("{} {word}", tenths / 10)
            } else {
                format!("{}.{} {word}", tenths / 10, tenths % 10)
            }
        }
        None => format!("{span_us} us"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Claim;

    #[test]
    fn spans_are_readable() {
        let spans = [0, 999, 1_500, 12_345_678, 3_600_000_000, 20 * 366 * 86_400_000_000].map(span);
        assert_eq!(spans, ["0 us", "999 us", "1.5 ms", "12 s", "1.0 h", "20 years"]);
    }

    #[test]
    fn the_wrong_are_counted_in_their_class() {
        let of = |lies| (0..).map(Scenario::draw).find(|scenario| scenario.lies() == lies).unwrap();
        let mut wrong = Outcome::default();
        wrong.see(1, 0, None);
        wrong.see(2, 61_000_000, Some(Claim { error_us: 61_000_000, bound_us: 5 }));
        let rows = vec![(of(Lies::None), vec![Outcome::default()]), (of(Lies::Together), vec![wrong])];
        let table = Table { programs: vec!["p"], rows }.wrong();
        assert!(
            table.contains("| all four honest (1) | p | 0 | 0 / 0 / 0 | 0 / 0 / 0 | 0 us | 0 |"),
            "{table}"
        );
        assert!(
            table.contains("| two tell the same lie (1) | p | 1 | 1 / 1 / 0 | 1 / 1 / 0 | 1.0 min | 1 |"),
            "{table}"
        );
    }
}
