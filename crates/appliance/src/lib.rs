//! Screen pages, button, storage and supervision.

pub mod screen;
pub mod supervise;
