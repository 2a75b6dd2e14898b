//! Decides whether the clock may be trusted.
//!
//! The policy ([`policy::Guard`]) is a pure state machine: evidence in, actions out. [`run::run`] carries the actions
//! out and decides nothing; what answers it (servers, certificates, outlets) comes in as traits, so that the
//! simulation drives the same code.

pub mod certificates;
pub mod era;
pub mod names;
pub mod network;
pub mod outlet;
pub mod policy;
pub mod route;
pub mod run;
pub mod service;
pub mod settings;
pub mod sim;
pub mod sntp;
pub mod socket;
pub mod trial;

pub use run::{Command, Evidence, Outlet, Platform, run};
