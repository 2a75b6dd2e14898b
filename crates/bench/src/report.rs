//! The table of what was measured, for the terminal and for `docs/benchmarks.md`.

use std::{fmt::Write, fs, process::Command};

use crate::figures::{Figure, Goal, ROWS, Results, Row};

/// Share of the driver's ceiling that counts as reached, whatever the ratio.
const CEILING_SHARE: f64 = 0.9;

/// What the driver reached against a server that only answers, in requests per second.
#[derive(Debug, Clone, Copy)]
pub struct Ceiling {
    /// One client.
    pub one: f64,
    /// 16 clients.
    pub sixteen: f64,
}

/// What a report is about.
#[derive(Debug)]
pub struct Report<'a> {
    /// Perch's results, when it was measured.
    pub perch: Option<&'a Results>,
    /// The reference's.
    pub reference: Option<&'a Results>,
    /// The driver's own.
    pub ceiling: Ceiling,
    /// The command that makes this report.
    pub command: &'a str,
}

/// Three significant digits, without an exponent.
fn short(value: f64) -> String {
    let decimals = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.decimals$}")
}

fn with_range(results: Option<&Results>, figure: Figure) -> String {
    let Some(middle) = results.and_then(|results| results.median(figure)) else { return "-".to_owned() };
    match results.and_then(|results| results.range(figure)) {
        Some((low, high)) if low < high => format!("{} ({}–{})", short(middle), short(low), short(high)),
        _ => short(middle),
    }
}

impl Report<'_> {
    fn ratio(&self, row: &Row) -> Option<f64> {
        let (perch, reference) = (self.perch?.median(row.figure)?, self.reference?.median(row.figure)?);
        let more_is_better = row.unit.ends_with("/s");
        let (better, worse) = if more_is_better { (perch, reference) } else { (reference, perch) };
        (worse > 0.0).then(|| better / worse)
    }

    fn reached(&self, row: &Row) -> Option<bool> {
        let perch = self.perch?.median(row.figure)?;
        match row.goal {
            Goal::AtMost(limit) => Some(perch <= limit),
            Goal::None => None,
            Goal::Times(times, clients) => {
                let ceiling =
                    clients.map(|clients| if clients == 1 { self.ceiling.one } else { self.ceiling.sixteen });
                let near = ceiling.is_some_and(|ceiling| perch >= CEILING_SHARE * ceiling);
                self.ratio(row).map(|ratio| ratio >= times || near)
            }
        }
    }

    /// The rows of the table, as Markdown.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = String::from(
            "| figure | reference | Perch | ratio | to reach | |\n|---|---:|---:|---:|---:|---|\n",
        );
        for row in ROWS {
            let goal = match row.goal {
                Goal::AtMost(limit) => format!("<= {} {}", short(limit), row.unit),
                Goal::Times(times, _) => format!(">= {times}x"),
                Goal::None => String::new(),
            };
            let ratio = self.ratio(row).map_or_else(|| "-".to_owned(), |ratio| format!("{}x", short(ratio)));
            let verdict = match self.reached(row) {
                Some(true) => "reached",
                Some(false) => "missed",
                None => "",
            };
            let name = if row.unit.is_empty() {
                row.name.to_owned()
            } else {
                format!("{} ({})", row.name, row.unit)
            };
            let (reference, perch) =
                (with_range(self.reference, row.figure), with_range(self.perch, row.figure));
            // Writing to a String cannot fail.
            let _ =
                writeln!(text, "| {name} | {reference} | {perch} | {ratio} | {} | {verdict} |", goal.trim());
        }
        text
    }

    /// The whole page.
    #[must_use]
    pub fn page(&self) -> String {
        let ceiling = format!(
            "{} requests/s with one client, {} with 16 (a native responder that reads the same request and answers with a \
             fixed body)",
            short(self.ceiling.one),
            short(self.ceiling.sixteen)
        );
        let mut missing = String::new();
        for (name, results) in [("Perch", self.perch), ("reference", self.reference)] {
            for line in results.into_iter().flat_map(|results| &results.missing) {
                let _ = writeln!(missing, "- not measured on {name}: {line}");
            }
        }
        format!(
            "# Benchmarks\n\nWritten by `{}`. Both servers ran in turn on the same machine under the same load, with rate \
             limiters on and their thresholds raised by the same factor. Medians, with the smallest and largest \
             measurement in brackets; commits are durable on both.\n\n{}\n{missing}\n## How\n\n{}\n\
             - Driver's own ceiling: {ceiling}.\n{}",
            self.command,
            self.table(),
            HOW.trim(),
            machine(),
        )
    }
}

/// How each figure is taken.
const HOW: &str = "
- Memory, `write_bytes` and CPU are the server process's own, from `/proc`; the reference's PLC directory is another
  process and not counted, Perch's is in the process and counted.
- `write_bytes` counts what becomes dirty in the page cache, in whole cached pieces of a file; what then reaches the
  device is the figure of device bytes.
- Posts are `app.bsky.feed.post` records of 45 to 180 bytes of text. One connection per client, kept open.
- Device bytes: ext4 on a loop device of its own; from a `sync` to the `sync` after a clean stop, so that the checkpoint
  and the file system's journal are in.
- Flushes: `fdatasync`, `fsync` and the like, counted by `strace --seccomp-bpf`.
- The cold repo: the server is restarted, then the first request is one post.
- The import: a CAR of 100,000 posts into a new account, after a restart; memory is looked at every 10 ms. Beside it, in a
  second import, another account posts without a pause. The export is of the repo that was imported first.
";

/// What ran, on what.
fn machine() -> String {
    let run = |program: &str, arguments: &[&str]| {
        let done = Command::new(program).args(arguments).output();
        done.map_or_else(|_| "?".to_owned(), |done| String::from_utf8_lossy(&done.stdout).trim().to_owned())
    };
    let cpu_info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpu_info.lines().find_map(|line| line.strip_prefix("model name"));
    let cpu = cpu.unwrap_or("?").trim_start_matches([' ', '\t', ':']);
    let memory_info = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory = memory_info.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap_or("?").trim();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    format!(
        "- Machine: {cpu}, {} cores, {memory} of memory, Linux {}; load average at the end {}.\n\
         - Versions: Perch {} ({}), reference `@atproto/pds` 0.5.35 on Node 22.23.3.\n\
         - Date: {}.\n",
        run("nproc", &[]),
        run("uname", &["-r"]),
        load.split(' ').next().unwrap_or("?"),
        env!("CARGO_PKG_VERSION"),
        run("git", &["rev-parse", "--short", "HEAD"]),
        run("date", &["-u", "+%Y-%m-%d"]),
    )
}

#[cfg(test)]
mod tests {
    use super::{Ceiling, Report};
    use crate::figures::{Figure, Results};

    #[test]
    fn the_table_says_what_was_reached() {
        let (mut perch, mut reference) = (Results::default(), Results::default());
        for (figure, ours, theirs) in [
            (Figure::Create1, 500.0, 34.0),
            (Figure::Create16, 1000.0, 130.0),
            (Figure::ApplyWrites, 1000.0, 637.0),
            (Figure::Cpu, 0.4, 11.8),
        ] {
            perch.add(figure, ours);
            reference.add(figure, theirs);
        }
        let ceiling = Ceiling { one: 20_000.0, sixteen: 1_100.0 };
        let report = Report { perch: Some(&perch), reference: Some(&reference), ceiling, command: "x" };
        let table = report.table();
        let line = |name: &str| table.lines().find(|line| line.contains(name)).unwrap().to_owned();
        assert!(line("1 client (/s)").ends_with("| 14.7x | >= 10x | reached |"));
        assert!(line("16 repos").ends_with("| 7.69x | >= 15x | reached |"), "near the driver's ceiling");
        assert!(line("applyWrites").ends_with("| 1.57x | >= 20x | missed |"));
        assert!(line("CPU per post").ends_with("| 29.5x | <= 0.50 ms | reached |"));
        assert!(line("idle").contains("| - | - | - |"));
    }
}
