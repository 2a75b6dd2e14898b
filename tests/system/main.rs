//! Stories: the real binary, started as a person starts it, met over its sockets only.
//!
//! Each story starts its own appliance on free ports with a fresh folder, so that all run side by side. Nothing sleeps
//! for luck: every wait is for a condition, with a limit.

// Each module is marked as test code, so that the lints treat it as such throughout.
#[cfg(test)]
mod codes;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod everyday;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod http;
#[cfg(test)]
mod slow_reader;
#[cfg(test)]
mod storage;
#[cfg(test)]
mod time;
