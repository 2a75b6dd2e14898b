//! Tests that boot the machine. `cargo xtask test --only device` builds what they need and runs them.

#[cfg(test)]
mod clock;
#[cfg(test)]
mod disks;
#[cfg(test)]
mod guard;
#[cfg(test)]
mod machine;
#[cfg(test)]
mod rights;
#[cfg(test)]
mod screen;
#[cfg(test)]
mod whole_box;
