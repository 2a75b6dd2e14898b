//! The project's commands: test, tidy, cross, bench, torture.
fn main() {}
