//! The program as its users start it.

#[cfg(test)]
mod process;
