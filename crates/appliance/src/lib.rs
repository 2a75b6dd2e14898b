//! Screen pages, button, storage and supervision.

pub mod care;
pub mod front;
pub mod screen;
pub mod storage;
pub mod supervise;
