//! The image itself, booted as it is flashed. `cargo xtask test --only image` makes it and runs these.

#[cfg(test)]
mod first_boot;
