//! Simulated hardware: real implementations of the traits, seedable, without I/O or threads.
//!
//! They serve two masters: tests, which move time by hand, and the laptop simulation, which lets it run. A handle
//! is cheap to clone and all its clones are one device, so that whoever commands faults keeps one.

mod clock;
mod disk;
mod disks;
mod ntp;
mod panel;
mod random;
mod rtc;
#[cfg(test)]
mod tests;

pub use clock::{SimClock, trusted_clock};
pub use disk::SimDisk;
pub use disks::SimDisks;
pub use ntp::{SimNtpFault, SimNtpReply, SimNtpServer};
pub use panel::{SimButton, SimFront, SimLed, SimPower, SimScreen};
pub use random::Random;
pub use rtc::SimRtc;

/// Says that a simulated device was told to fail.
fn out_of_order(device: &'static str, operation: &'static str) -> crate::DeviceError {
    let source = std::io::Error::other("the simulated device is out of order");
    crate::DeviceError::new(device, operation, source)
}
