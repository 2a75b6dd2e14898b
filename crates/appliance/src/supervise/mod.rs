//! Keeps the box's programs running: the policy that decides, and the driver that does what it says.

pub mod policy;
#[cfg(test)]
mod tests;
