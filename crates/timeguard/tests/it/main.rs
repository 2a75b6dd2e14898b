//! The guard as a process among real time servers (Debian's chrony and ntpsec) and servers of our own that lie, kiss,
//! flap or keep silent, all behind one resolver. It never touches this machine's clock: neither do the servers.

#![cfg(test)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "helpers of tests fail as tests do"
)]

mod daemons;
mod servers;
mod stories;
mod world;
