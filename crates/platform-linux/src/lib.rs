//! The only crate with devices, ioctls and `unsafe`: what `platform` names, on a real Linux.
//!
//! It reads and sets, and decides nothing. Only `main` files name it.

mod clock;
mod clock_control;
mod disk;
mod kernel_time;
mod machine;
mod memory;
mod other_hands;
mod process;
mod rtc;

pub use clock::{LinuxClock, LinuxClockError};
pub use clock_control::{KernelWritesChip, LinuxClockControl};
pub use disk::{LinuxDisk, LinuxDiskError, LinuxDisks, classify, facts_of_disk, whole_disk_of};
pub use kernel_time::{KernelTime, KernelTimeError, KernelVerdict, read_kernel_time};
pub use machine::{LinuxPower, LinuxWatchdog};
pub use memory::give_memory_back;
pub use other_hands::{OtherHand, kernel_writes_chip, other_hands};
pub use process::LinuxProcesses;
pub use rtc::LinuxRtc;
