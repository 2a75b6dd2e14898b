//! What is measured: each figure's name, unit, and what is to be reached.

use std::collections::BTreeMap;

use crate::load::median;

/// A figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Figure {
    /// Resident memory of a server that was just started.
    RssIdle,
    /// Resident memory after 10,000 records were written.
    RssLoaded,
    /// Bytes that the process sent to storage, per small post, small repo.
    WriteSmall,
    /// The same in a repo of 10,000 records.
    WriteLarge,
    /// Bytes that reached the device, file system included, after a checkpoint.
    Device,
    /// Flushes per post, one client.
    Flushes1,
    /// Flushes per post, 16 clients.
    Flushes16,
    /// Processor time per post, one client.
    Cpu,
    /// Posts per second, one client.
    Create1,
    /// Posts per second, 16 clients on 16 repos.
    Create16,
    /// Posts per second, 16 clients on one repo.
    Create16One,
    /// Records per second in batches of 200.
    ApplyWrites,
    /// Export of a repo of 10,000 records.
    GetRepo,
    /// First post after a start to a repo of 100,000 records.
    ColdPost,
    /// Processor time per post of 100 accounts in turn, by that of one account.
    InTurn,
    /// From starting the program to its first healthy answer.
    Start,
    /// Time of an import of 100,000 records.
    ImportTime,
    /// Bytes that the process sent to storage for it, by the size of the file.
    ImportWritten,
    /// Largest resident memory meanwhile.
    ImportRss,
    /// What one post of another account in a hundred waits longer than, meanwhile.
    ImportOther,
    /// Memory that an export of 100,000 records takes beyond what was there before.
    ExportRss,
}

/// What is to be reached.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Goal {
    /// At most this.
    AtMost(f64),
    /// At least this many times the reference, or 90 % of what the driver can do with so many clients.
    Times(f64, Option<usize>),
    /// For information.
    None,
}

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// Which figure.
    pub figure: Figure,
    /// Its name for people.
    pub name: &'static str,
    /// Its unit.
    pub unit: &'static str,
    /// What is to be reached.
    pub goal: Goal,
}

const fn row(figure: Figure, name: &'static str, unit: &'static str, goal: Goal) -> Row {
    Row { figure, name, unit, goal }
}

/// All figures in the order of the table.
pub const ROWS: &[Row] = &[
    row(Figure::RssIdle, "resident memory, idle", "MiB", Goal::AtMost(24.0)),
    row(Figure::RssLoaded, "resident memory after 10,000 records", "MiB", Goal::AtMost(40.0)),
    row(Figure::WriteSmall, "write_bytes per post, small repo", "KB", Goal::AtMost(24.0)),
    row(Figure::WriteLarge, "write_bytes per post, 10,000 records", "KB", Goal::AtMost(24.0)),
    row(Figure::Device, "device bytes per post, ext4, after checkpoint", "KiB", Goal::AtMost(24.0)),
    // A little more than 1: a checkpoint flushes as well, once in hundreds of posts.
    row(Figure::Flushes1, "flushes per post, 1 client", "", Goal::AtMost(1.05)),
    row(Figure::Flushes16, "flushes per post, 16 clients", "", Goal::AtMost(0.3)),
    row(Figure::Cpu, "CPU per post", "ms", Goal::AtMost(0.5)),
    row(Figure::Create1, "createRecord, 1 client", "/s", Goal::Times(10.0, Some(1))),
    row(Figure::Create16, "createRecord, 16 clients, 16 repos", "/s", Goal::Times(15.0, Some(16))),
    row(Figure::Create16One, "createRecord, 16 clients, one repo", "/s", Goal::None),
    row(Figure::ApplyWrites, "applyWrites x200", "records/s", Goal::Times(20.0, None)),
    row(Figure::GetRepo, "getRepo, 10,000 records", "MB/s", Goal::Times(20.0, None)),
    row(Figure::ColdPost, "first post to a cold repo of 100,000", "ms", Goal::AtMost(150.0)),
    row(Figure::InTurn, "CPU of 100 accounts in turn, by that of one", "x", Goal::AtMost(2.0)),
    row(Figure::Start, "start to first healthy answer", "ms", Goal::AtMost(150.0)),
    row(Figure::ImportTime, "importRepo, 100,000 records", "s", Goal::None),
    row(Figure::ImportWritten, "write_bytes of it, by the size of the file", "x", Goal::AtMost(3.0)),
    row(Figure::ImportRss, "resident memory meanwhile, at most", "MiB", Goal::AtMost(150.0)),
    row(Figure::ImportOther, "another account's posts meanwhile, p99", "ms", Goal::AtMost(200.0)),
    // Buffers of one export are half a MiB; the rest is what the allocator keeps.
    row(Figure::ExportRss, "memory that getRepo of 100,000 records adds", "MiB", Goal::AtMost(8.0)),
];

/// Everything that was measured on one server.
#[derive(Debug, Default)]
pub struct Results {
    values: BTreeMap<Figure, Vec<f64>>,
    /// Figures that could not be measured, and why.
    pub missing: Vec<String>,
}

impl Results {
    /// Adds one measurement.
    pub fn add(&mut self, figure: Figure, value: f64) {
        self.values.entry(figure).or_default().push(value);
    }

    /// The median of all measurements of a figure.
    #[must_use]
    pub fn median(&self, figure: Figure) -> Option<f64> {
        median(self.values.get(&figure)?)
    }

    /// Smallest and largest measurement of a figure.
    #[must_use]
    pub fn range(&self, figure: Figure) -> Option<(f64, f64)> {
        let values = self.values.get(&figure)?;
        let low = values.iter().copied().reduce(f64::min)?;
        let high = values.iter().copied().reduce(f64::max)?;
        Some((low, high))
    }
}
