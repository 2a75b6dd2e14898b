//! Screen pages, button, storage and supervision.

pub mod care;
pub mod children;
pub mod config;
pub mod folders;
pub mod front;
pub mod gather;
pub mod live;
pub mod log;
pub mod network;
pub mod notes;
pub mod report;
pub mod screen;
pub mod storage;
pub mod supervise;
pub mod upkeep;
