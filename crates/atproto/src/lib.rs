//! Pure protocol values: identifiers, DAG-CBOR, MST, commits, CAR, keys, PLC operations.
//!
//! Nothing here does I/O, reads a clock or waits: bytes and values come in, bytes and values go out. All input is
//! taken to be hostile: malformed bytes give an error that names the offset, never a panic, and never an
//! allocation by a length that the input merely claims.

pub mod car;
pub mod cbor;
pub mod cid;
pub mod crypto;
pub mod data;
pub mod did_doc;
pub mod didkey;
pub mod event;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
pub mod lexicon;
pub mod mst;
pub mod plc;
pub mod repo;
pub mod service_jwt;
pub mod syntax;
pub mod tid;
#[cfg(test)]
mod vectors;
