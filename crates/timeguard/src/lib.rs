//! Decides whether the clock may be trusted.
