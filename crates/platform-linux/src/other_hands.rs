//! Who else sets the clock or the chip of this machine: other programs, and the kernel itself.
//!
//! It looks and says; it stops nothing.

use std::fs;
use std::io::Read;
use std::path::Path;

use crate::clock_control::KernelWritesChip;

/// Largest kernel configuration that is read, bytes; Debian's has 280 KiB.
const CONFIGURATION_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Names of processes (cut to 15 bytes, as the kernel does) that set the clock, and how to stop them.
const PROGRAMS: &[(&str, &str)] = &[
    ("chronyd", "systemctl disable --now chrony"),
    ("ntpd", "systemctl disable --now ntpsec ntp openntpd"),
    ("ntp-daemon", "systemctl disable --now ntpd-rs"),
    ("systemd-timesyn", "systemctl disable --now systemd-timesyncd"),
    ("ptp4l", "systemctl disable --now ptp4l"),
    ("phc2sys", "systemctl disable --now phc2sys"),
    ("timemaster", "systemctl disable --now timemaster"),
];

/// Somebody who sets the clock or the chip beside the guard. Its text is for the owner.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OtherHand {
    /// A program that sets CLOCK_REALTIME.
    #[error(
        "{name} (process {pid}) sets the clock too, so that the box cannot vouch for it; stop it: {stop}"
    )]
    Program {
        /// The process's name as the kernel has it.
        name: String,
        /// Its id.
        pid: u32,
        /// The command that stops it on Debian.
        stop: &'static str,
    },
    /// The kernel has set CLOCK_REALTIME from a chip at boot (RTC_HCTOSYS).
    #[error(
        "this kernel set the clock from {chip} at its start, unchecked; the box checks it before it trusts it"
    )]
    KernelAtStart {
        /// The chip's name in sysfs.
        chip: String,
    },
    /// The kernel writes the chip while the clock counts as synchronised (RTC_SYSTOHC).
    #[error(
        "this kernel writes the clock chip every 11 minutes once the clock counts as synchronised; the box keeps it from that"
    )]
    KernelWritesChip,
}

/// Finds who else sets the clock or the chip of this machine.
#[must_use]
pub fn other_hands() -> Vec<OtherHand> {
    let mut found = programs(Path::new("/proc"));
    found.extend(kernel_at_start(Path::new("/sys/class/rtc")));
    if kernel_writes_chip() == KernelWritesChip::WhenSynchronised {
        found.push(OtherHand::KernelWritesChip);
    }
    found
}

/// Tells whether this kernel was built with RTC_SYSTOHC, by its configuration as distributions put it beside it.
#[must_use]
pub fn kernel_writes_chip() -> KernelWritesChip {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = release.trim();
    let places = [
        format!("/boot/config-{release}"),
        format!("/lib/modules/{release}/config"),
        format!("/usr/lib/kernel/config-{release}"),
    ];
    places
        .iter()
        .filter_map(|place| read_bounded(Path::new(place)))
        .map(|text| configured_to_write(&text))
        .find(|known| *known != KernelWritesChip::Unknown)
        .unwrap_or(KernelWritesChip::Unknown)
}

fn configured_to_write(configuration: &str) -> KernelWritesChip {
    for line in configuration.lines() {
        match line.trim() {
            "CONFIG_RTC_SYSTOHC=y" => return KernelWritesChip::WhenSynchronised,
            "# CONFIG_RTC_SYSTOHC is not set" | "# CONFIG_RTC_CLASS is not set" => {
                return KernelWritesChip::Never;
            }
            _ => {}
        }
    }
    KernelWritesChip::Unknown
}

fn programs(proc: &Path) -> Vec<OtherHand> {
    let Ok(entries) = fs::read_dir(proc) else { return Vec::new() };
    let mut found: Vec<OtherHand> = entries
        .flatten()
        .filter_map(|entry| {
            let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
            let name = fs::read_to_string(entry.path().join("comm")).ok()?;
            let (name, stop) = PROGRAMS.iter().find(|(program, _)| *program == name.trim_end())?;
            Some(OtherHand::Program { name: (*name).to_owned(), pid, stop })
        })
        .collect();
    found.sort_by_key(|hand| match hand {
        OtherHand::Program { pid, .. } => *pid,
        OtherHand::KernelAtStart { .. } | OtherHand::KernelWritesChip => 0,
    });
    found
}

fn kernel_at_start(class: &Path) -> Option<OtherHand> {
    let entries = fs::read_dir(class).ok()?;
    entries.flatten().find_map(|entry| {
        let did = read_bounded(&entry.path().join("hctosys"))?.trim() == "1";
        let chip = read_bounded(&entry.path().join("name"))?.trim().to_owned();
        did.then_some(OtherHand::KernelAtStart { chip })
    })
}

fn read_bounded(path: &Path) -> Option<String> {
    let mut text = String::new();
    fs::File::open(path).ok()?.take(CONFIGURATION_BYTES_MAX).read_to_string(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn programs_that_set_the_clock_are_named_with_their_cure() {
        let proc = tempfile::tempdir().unwrap();
        for (pid, name) in [(1, "systemd"), (90, "systemd-timesyn"), (412, "chronyd"), (500, "chronyc")] {
            write(&proc.path().join(pid.to_string()).join("comm"), &format!("{name}\n"));
        }
        write(&proc.path().join("uptime"), "1 1");
        let found: Vec<String> = programs(proc.path()).iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("process 90") && found[0].ends_with("disable --now systemd-timesyncd"));
        assert!(found[1].starts_with("chronyd (process 412) sets the clock too"));
    }

    #[test]
    fn a_kernel_that_set_the_clock_at_its_start_is_noticed_by_the_chip() {
        let class = tempfile::tempdir().unwrap();
        for (rtc, did, name) in [("rtc0", "0", "rtc-pl031 9010000.pl031"), ("rtc1", "1", "rtc-ds1307 1-0068")]
        {
            write(&class.path().join(rtc).join("hctosys"), &format!("{did}\n"));
            write(&class.path().join(rtc).join("name"), &format!("{name}\n"));
        }
        let found = kernel_at_start(class.path());
        assert_eq!(found, Some(OtherHand::KernelAtStart { chip: "rtc-ds1307 1-0068".to_owned() }));
        write(&class.path().join("rtc1/hctosys"), "0\n");
        assert_eq!(kernel_at_start(class.path()), None);
    }

    #[test]
    fn the_kernels_configuration_tells_whether_it_writes_the_chip() {
        let with = "CONFIG_RTC_CLASS=y\nCONFIG_RTC_HCTOSYS=y\nCONFIG_RTC_SYSTOHC=y\n";
        assert_eq!(configured_to_write(with), KernelWritesChip::WhenSynchronised);
        let without = "CONFIG_RTC_CLASS=y\n# CONFIG_RTC_SYSTOHC is not set\n";
        assert_eq!(configured_to_write(without), KernelWritesChip::Never);
        assert_eq!(configured_to_write("CONFIG_X=y\n"), KernelWritesChip::Unknown);
    }
}
