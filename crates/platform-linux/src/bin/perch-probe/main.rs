//! `perch-probe`: one line for each disk that is plugged in, as the box sees it. For tests and for the bench.
//!
//! It only reads: it may be run at any time on a box that works.

use std::io::Write;

use platform::Disks;
use platform::disk::Content;
use platform::disk::health::DiskHealth;
use platform::disk::trim::Trimmer;
use platform_linux::{LinuxDiskHealth, LinuxDisks, LinuxTrim};

fn main() -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let disks = LinuxDisks::new().list().map_err(std::io::Error::other)?;
    for disk in disks {
        let health = match LinuxDiskHealth::default().health(&disk) {
            Ok(health) => format!(
                "{} wear={:?} failing={}",
                health.source.label(),
                health.wear_percent,
                health.is_failing()
            ),
            Err(error) => format!("{error}: {}", error.source),
        };
        let usb = disk.usb.as_ref().map_or(String::new(), |usb| {
            format!(" usb={:04x}:{:04x} {:?} port {}", usb.vendor, usb.product, usb.driver, usb.port)
        });
        let content = match &disk.content {
            Content::FileSystem { file_system } => file_system.kind.clone(),
            other => format!("{other:?}"),
        };
        let trim = LinuxTrim::default();
        let unmap = trim.pages(&disk).is_some_and(|pages| pages.promise());
        writeln!(
            out,
            "{}: {:?} serial={} bytes={} content={content} discards={} unmap={unmap}{usb} health: {health}",
            disk.name,
            disk.kind,
            disk.id.serial,
            disk.id.size_bytes,
            trim.kernel_discards(&disk),
        )?;
    }
    Ok(())
}
