//! What a Pi has and a laptop has not, as traits, with their simulations; and `TrustedTime`.
//!
//! Services take these traits and never ask which implementation they got: the choice is made once, in `main`.
//! Missing hardware is normal (`Option<Box<dyn ..>>`). Nothing here does I/O; `platform-linux` does.

pub mod board;
pub mod button;
pub mod codes;
pub mod confine;
pub mod device;
pub mod disk;
pub mod front;
pub mod kernel_log;
pub mod machine;
pub mod network;
pub mod power;
pub mod process;
pub mod rtc;
pub mod screen;
pub mod sim;
pub mod time;
pub mod usb;
pub mod volumes;

pub use board::Board;
pub use button::{Button, Edge};
pub use codes::{CodeOffer, CodeScreen, ShownCode};
pub use confine::{Confinement, Gap};
pub use device::DeviceError;
pub use disk::{AttachedDisk, Disk, DiskFacts, DiskId, DiskKind, Disks, Space};
pub use front::FrontDevices;
pub use kernel_log::{KernelEvent, KernelLog, KernelRecord};
pub use machine::{Machine, MachineReading};
pub use network::{Link, Network, NetworkState};
pub use power::{Led, Power, PowerRequest};
pub use process::{Processes, Watchdog};
pub use rtc::{Battery, DriverFirst, Rtc, RtcReading};
pub use screen::{Frame, Screen};
pub use time::{Clock, ClockUntrusted, TrustedTime, Untrusted, Verdict};
