//! An ARM machine under QEMU, with hardware outside it that its kernel believes: a bus with display and clock chip, disks,
//! a button, a network. For tests only; nothing of the box depends on it.
//!
//! The guest is Debian's kernel with an initramfs of BusyBox and glibc; both are fetched by apt and kept in
//! `target/testbed`. A boot takes some 6 s on an idle computer, so one boot should serve many checks.
//!
//! ```no_run
//! use testbed::{Attach, Disk, I2cBus, Machine, Setup, i2c::ds3231::Ds3231};
//!
//! # fn main() -> Result<(), testbed::TestbedError> {
//! let bus = I2cBus::new();
//! let chip = Ds3231::without_battery(); // a clone is the same chip: keep one, plug the other
//! bus.plug(0x68, chip.clone());
//! let machine = Machine::boot(
//!     &Setup::new()
//!         .i2c(&bus) // /dev/i2c-0
//!         .disk(Disk::image("disk.img", Attach::Nvme).serial("N1")) // /dev/nvme0n1
//!         .rtc_base("2019-02-03T04:05:06") // a wrong clock of the machine
//!         .host_file("/bin/probe", 0o755, "target/cross/aarch64-unknown-linux-gnu/quick/probe"),
//! )?;
//! assert_eq!(machine.sh("date +%Y")?, "2019"); // fails unless the exit code is 0
//! let done = machine.run("probe --status")?; // exit code, standard output, standard error
//! assert_eq!(done.code, 0, "{}", done.error_text());
//! machine.sh("echo ds1307 0x68 >/sys/bus/i2c/devices/i2c-0/new_device")?;
//! chip.stop(); // while it runs
//! bus.unplug(0x68); // and is gone
//! let service = machine.start("exec probe --serve")?; // does not wait
//! machine.wait_for("[ -e /run/ready ]", std::time::Duration::from_secs(60))?;
//! machine.stop(&service)?;
//! machine.write_file("/etc/x", 0o644, b"y")?;
//! let _bytes = machine.read_file("/etc/x")?;
//! machine.cut_power(); // SIGKILL; dropping it does the same; `switch_off` is the orderly way
//! # Ok(())
//! # }
//! ```

mod agent;
pub mod appliance;
pub mod block;
pub mod cpio;
mod debian;
mod error;
pub mod flashed;
mod host;
pub mod i2c;
mod initramfs;
mod machine;
mod modules;
pub mod parts;
pub mod plc;
mod setup;
pub mod time_server;
mod usbredir;

pub use agent::Done;
pub use debian::{Package, Programs};
pub use error::TestbedError;
pub use host::{cache, free_port};
pub use i2c::{I2cBus, I2cDevice, Transfer};
pub use machine::{Job, Machine};
pub use setup::{Attach, Disk, HOST_IN_GUEST, Setup};
