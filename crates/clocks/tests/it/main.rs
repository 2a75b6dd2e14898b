//! Debian's programs behind the shim.

#[cfg(test)]
mod runs;
