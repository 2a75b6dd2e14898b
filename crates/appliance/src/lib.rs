//! Screen pages, button, storage and supervision.

pub mod front;
pub mod screen;
pub mod supervise;
