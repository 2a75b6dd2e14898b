//! Stories: the real binary, started as a person starts it, met over its sockets only.
//!
//! Each story starts its own appliance on free ports with a fresh folder, so that all run side by side. Nothing sleeps
//! for luck: every wait is for a condition, with a limit.

mod crash;
mod everyday;
mod harness;
mod http;
mod storage;
mod time;
