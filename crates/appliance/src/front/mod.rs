//! The front of the box: what the screen shows and what the button means, the same on the device and on a computer.
//!
//! [`policy::Front`] decides, [`run::Display`] does. Nothing here talks HTTP or knows which screen it has.

pub mod desk;
pub mod gesture;
mod painter;
pub mod policy;
pub mod presence;
pub mod run;
#[cfg(test)]
mod tests;

pub use desk::Desk;
pub use policy::{Front, Hand, Wish};
pub use run::{Display, Live, Press};
