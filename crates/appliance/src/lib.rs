//! Screen pages, button, storage and supervision.

pub mod care;
pub mod children;
pub mod config;
pub mod front;
pub mod live;
pub mod network;
pub mod report;
pub mod screen;
pub mod storage;
pub mod supervise;
