//! The only crate with devices, ioctls and `unsafe`: what `platform` names, on a real Linux.
//!
//! It reads and sets, and decides nothing. Only `main` files name it.

mod boot_file;
mod clock;
mod clock_control;
mod confine;
mod disk;
mod durable;
mod front;
mod gauges;
mod kernel_log;
mod kernel_time;
mod machine;
mod memory;
mod network;
mod other_hands;
mod process;
mod rtc;
mod screen;
mod this_board;
mod usb;
mod volumes;

pub use boot_file::replace_on_boot;
pub use clock::{LinuxClock, LinuxClockError};
pub use clock_control::{KernelWritesChip, LinuxClockControl};
pub use confine::{confine, give_up_what_nobody_needs, name_server_file};
pub use disk::{
    LinuxDisk, LinuxDiskError, LinuxDiskHealth, LinuxDisks, LinuxSpeedTest, LinuxTrim, classify,
    facts_of_disk, whole_disk_of, written_bytes,
};
pub use front::{LinuxFront, open_front};
pub use gauges::LinuxGauges;
pub use kernel_log::LinuxKernelLog;
pub use kernel_time::{KernelTime, KernelTimeError, KernelVerdict, read_kernel_time};
pub use machine::{LinuxPower, LinuxWatchdog};
pub use memory::give_memory_back;
pub use network::LinuxNetwork;
pub use other_hands::{OtherHand, kernel_writes_chip, other_hands};
pub use process::{LinuxProcesses, outlive_the_others};
pub use rtc::LinuxRtc;
pub use screen::LinuxScreen;
pub use this_board::this_board;
pub use usb::LinuxUsb;
pub use volumes::{LinuxVolumes, check_ext4, forget_unwritten};
