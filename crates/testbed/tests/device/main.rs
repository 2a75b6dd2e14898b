//! Tests that boot the machine. `cargo xtask test --only device` builds what they need and runs them.

mod disks;
mod machine;
