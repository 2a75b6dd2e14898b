//! Confines this process for the rest of its life: folders and ports by Landlock, system calls by seccomp.
//!
//! Each program calls it once, after opening what it needs and before it makes threads or answers anybody. Nothing here
//! decides what a program may do (`platform::confine` does), and nothing that is missing is fatal: a kernel without
//! these fences is told about and the program serves.

mod calls;
mod folders;

use platform::confine::{Confinement, Gap};

pub use calls::give_up_what_nobody_needs;

/// Confines this process and gives what could not be enforced; nothing of it can be taken back.
#[must_use = "what is not enforced must be told"]
pub fn confine(to: &Confinement) -> Vec<Gap> {
    let mut gaps = folders::restrict(to);
    // After the folders: making their rules takes calls that are given up here.
    gaps.extend(calls::restrict(to));
    gaps
}

/// Gives the file with the machine's name servers by its real name: it is often a link, to where a DHCP client writes.
#[must_use]
pub fn name_server_file() -> Option<std::path::PathBuf> {
    std::fs::canonicalize("/etc/resolv.conf").ok()
}

#[cfg(test)]
mod tests;
