//! Simulated hardware: real implementations of the traits, seedable, without I/O or threads.
//!
//! They serve two masters: tests, which move time by hand, and the laptop simulation, which lets it run.

mod clock;

pub use clock::{SimClock, trusted_clock};
