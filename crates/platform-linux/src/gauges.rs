//! Warmth and supply of this machine.

use std::path::{Path, PathBuf};

use nix::sys::ioctl::ioctl_num_type;
use platform::machine::{Machine, MachineReading, Throttled};

/// Where the firmware's driver shows `get_throttled` (kernels of Raspberry Pi).
const THROTTLED: &str = "sys/devices/platform/soc/soc:firmware/get_throttled";
/// The mailbox to the firmware, for kernels without that file.
const MAILBOX: &str = "dev/vcio";

/// The gauges of this machine.
#[derive(Clone, Debug)]
pub struct LinuxGauges {
    root: PathBuf,
}

impl Default for LinuxGauges {
    fn default() -> Self {
        Self::below(Path::new("/"))
    }
}

impl LinuxGauges {
    /// Takes `sys` and `dev` below a folder.
    #[must_use]
    pub fn below(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    fn text(&self, path: &Path) -> Option<String> {
        Some(std::fs::read_to_string(path).ok()?.trim().to_owned())
    }

    /// The folders of a class, in order of their names.
    fn class(&self, class: &str) -> Vec<PathBuf> {
        let entries =
            std::fs::read_dir(self.root.join("sys/class").join(class)).into_iter().flatten().flatten();
        let mut folders: Vec<_> = entries.map(|entry| entry.path()).collect();
        folders.sort();
        folders
    }

    /// The processor's zone, by its type (`cpu-thermal` on a Pi); else the first.
    fn temperature_mc(&self) -> Option<i32> {
        let zones = self.class("thermal");
        let is_cpu = |zone: &&PathBuf| self.text(&zone.join("type")).is_some_and(|kind| kind.contains("cpu"));
        let zone =
            zones.iter().find(is_cpu).or_else(|| zones.iter().find(|zone| zone.join("temp").exists()))?;
        self.text(&zone.join("temp"))?.parse().ok()
    }

    /// The alarm of `rpi_volt`, found by name: numbers are the order of probing.
    fn alarm(&self) -> Option<bool> {
        let chips = self.class("hwmon");
        let chip = chips.iter().find(|chip| self.text(&chip.join("name")).as_deref() == Some("rpi_volt"))?;
        Some(self.text(&chip.join("in0_lcrit_alarm"))? == "1")
    }

    fn throttled(&self) -> Option<Throttled> {
        let file = self.text(&self.root.join(THROTTLED)).and_then(|text| Throttled::parse(&text));
        file.or_else(|| ask_firmware(&self.root.join(MAILBOX)).map(Throttled::from_word))
    }
}

impl Machine for LinuxGauges {
    fn read(&self) -> MachineReading {
        let word = self.throttled();
        MachineReading {
            temperature_mc: self.temperature_mc(),
            undervoltage: self.alarm().or(word.map(Throttled::undervoltage)),
            was_undervoltage: word.map(Throttled::was_undervoltage),
            slowed_by_heat: word.map(Throttled::slowed_by_heat),
        }
    }
}

/// Asks the firmware for its word by the property mailbox: tag 0x00030046, one word in, one word out.
#[expect(unsafe_code, reason = "the mailbox ioctl has no safe wrapper")]
fn ask_firmware(mailbox: &Path) -> Option<u32> {
    use std::os::fd::AsRawFd;
    const GET_THROTTLED: u32 = 0x0003_0046;
    const ANSWERED: u32 = 0x8000_0000;
    const PROPERTY: ioctl_num_type = nix::request_code_readwrite!(100, 0, size_of::<*mut u8>());
    let file = std::fs::File::open(mailbox).ok()?;
    // Size of all, request, tag, bytes of the value, request, the value (bits to forget: none), end.
    let mut message: [u32; 7] = [28, 0, GET_THROTTLED, 4, 0, 0, 0];
    // SAFETY: the message says its own size in its first word, and the driver reads and writes within it.
    let status = unsafe { libc::ioctl(file.as_raw_fd(), PROPERTY, message.as_mut_ptr()) };
    let [_, code, _, _, _, word, _] = message;
    (status == 0 && code == ANSWERED).then_some(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        dir
    }

    #[test]
    fn a_pi_tells_its_warmth_and_supply() {
        let dir = tree(&[
            ("sys/class/thermal/thermal_zone0/type", "gpu-thermal\n"),
            ("sys/class/thermal/thermal_zone0/temp", "99000\n"),
            ("sys/class/thermal/thermal_zone1/type", "cpu-thermal\n"),
            ("sys/class/thermal/thermal_zone1/temp", "61123\n"),
            ("sys/class/hwmon/hwmon0/name", "cpu_thermal\n"),
            ("sys/class/hwmon/hwmon2/name", "rpi_volt\n"),
            ("sys/class/hwmon/hwmon2/in0_lcrit_alarm", "1\n"),
            (THROTTLED, "50000\n"),
        ]);
        let wanted = MachineReading {
            temperature_mc: Some(61_123),
            undervoltage: Some(true),
            was_undervoltage: Some(true),
            slowed_by_heat: Some(false),
        };
        assert_eq!(LinuxGauges::below(dir.path()).read(), wanted);
    }

    #[test]
    fn a_machine_without_gauges_tells_nothing() {
        let dir = tree(&[(MAILBOX, "no mailbox")]);
        assert_eq!(LinuxGauges::below(dir.path()).read(), MachineReading::default());
    }
}
