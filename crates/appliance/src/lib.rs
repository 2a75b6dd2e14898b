//! Screen pages, button, storage and supervision.

pub mod front;
pub mod screen;
pub mod storage;
pub mod supervise;
