//! What must be true of a PDS's disk after a cut: a clean file system, and in it everything that was promised.

use std::path::PathBuf;

use anyhow::{Context, Result};
use crashfs::{Checker, Found, Ledger};
use tempfile::TempDir;
use testbed::block::Log;

use crate::judge::{Examiner, Finding, Judging, Report, judge};
use crate::medium::{Check, Mounted, mounted};

/// A load that ran on a recording disk.
#[derive(Debug)]
pub struct Run {
    /// Everything that happened to the disk.
    pub log: Log,
    /// Everything that was promised meanwhile.
    pub ledger: Ledger,
    /// The directory of identities that the store is bound to.
    pub plc_url: String,
    /// The store's folder on the disk.
    pub data: PathBuf,
}

impl Run {
    /// Cuts the power at seeded places and judges what each cut leaves. `check` mends file systems as the box does; `tell` hears of the progress.
    ///
    /// # Errors
    /// When the test's own work fails.
    pub fn judge(&self, how: Judging<'_>, check: Check, tell: impl FnMut(&Report)) -> Result<Report> {
        judge(&self.log, how, || StoreExaminer::new(self, check), tell)
    }
}

/// Opens the store by its normal code.
#[derive(Debug)]
struct StoreExaminer<'r> {
    run: &'r Run,
    checker: Checker,
    check: Check,
    /// Where states are mounted.
    point: TempDir,
}

impl<'r> StoreExaminer<'r> {
    fn new(run: &'r Run, check: Check) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.context("starting the runtime")?;
        let checker = Checker::new(runtime, run.plc_url.clone(), store::Limits::default());
        Ok(Self { run, checker, check, point: tempfile::tempdir().context("no place to mount at")? })
    }
}

impl Examiner for StoreExaminer<'_> {
    fn examine(&mut self, disks: &[PathBuf], position: usize) -> Result<Finding> {
        let expected = self.run.ledger.expected_at(position);
        let disk = disks.first().context("a log without a disk")?;
        let Self { run, checker, check, point } = self;
        let Mounted { examined, mended, mut wrong } =
            mounted(disk, point.path(), *check, |folder| checker.check(&folder.join(&run.data), &expected))?;
        let Found { promises, wrong: broken, .. } = examined.unwrap_or_default();
        wrong.extend(broken);
        Ok(Finding { promises, mended, wrong })
    }
}
