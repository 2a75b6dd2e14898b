//! An ARM machine under QEMU, with hardware outside it that its kernel believes: a bus with display and clock chip, disks,
//! a button, a network. For tests only; nothing of the box depends on it.

pub mod block;
