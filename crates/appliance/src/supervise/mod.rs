//! Keeps the box's programs running: the policy that decides, and the driver that does what it says.

pub mod data;
#[cfg(test)]
mod data_tests;
pub mod door;
pub mod erase;
pub mod policy;
pub mod run;
#[cfg(test)]
mod run_tests;
pub mod starts;
#[cfg(test)]
mod tests;
