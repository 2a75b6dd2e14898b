//! Tells the kernel which USB bridges must not use UAS, and binds a port anew.

use std::path::{Path, PathBuf};

use platform::DeviceError;
use platform::usb::{QuirkPlan, UsbSwitch};

/// The kernel's switches for USB storage.
#[derive(Clone, Debug)]
pub struct LinuxUsb {
    sys: PathBuf,
}

impl Default for LinuxUsb {
    fn default() -> Self {
        Self::below(Path::new("/"))
    }
}

impl LinuxUsb {
    /// Takes `sys` below a folder.
    #[must_use]
    pub fn below(root: &Path) -> Self {
        Self { sys: root.join("sys") }
    }

    fn parameter_file(&self) -> PathBuf {
        self.sys.join("module/usb_storage/parameters/quirks")
    }
}

impl UsbSwitch for LinuxUsb {
    fn quirks(&self) -> String {
        std::fs::read_to_string(self.parameter_file()).unwrap_or_default()
    }

    fn apply(&self, plan: &QuirkPlan) -> Result<(), DeviceError> {
        let failed = |error| DeviceError::new("USB bridge", "switch it from UAS", error);
        let mut result = match &plan.parameter {
            Some(text) => std::fs::write(self.parameter_file(), text).map_err(failed),
            None => Ok(()),
        };
        let drivers = self.sys.join("bus/usb/drivers/usb");
        for port in &plan.rebind {
            let done = std::fs::write(drivers.join("unbind"), port)
                .and_then(|()| std::fs::write(drivers.join("bind"), port))
                .map_err(failed);
            result = result.and(done);
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_written_before_a_port_is_bound_anew() {
        let dir = tempfile::tempdir().unwrap();
        let plan = QuirkPlan {
            parameter: Some("152d:0578:u".to_owned()),
            rebind: vec!["2-1".to_owned()],
            later: Vec::new(),
        };
        let usb = LinuxUsb::below(dir.path());
        assert!(usb.apply(&plan).is_err(), "no driver is loaded");
        assert_eq!(usb.quirks(), "");
        for folder in ["sys/module/usb_storage/parameters", "sys/bus/usb/drivers/usb"] {
            std::fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        usb.apply(&plan).unwrap();
        assert_eq!(usb.quirks(), "152d:0578:u");
        for file in ["unbind", "bind"] {
            let text =
                std::fs::read_to_string(dir.path().join("sys/bus/usb/drivers/usb").join(file)).unwrap();
            assert_eq!(text, "2-1");
        }
    }
}
