//! The only crate with devices, ioctls and unsafe.
