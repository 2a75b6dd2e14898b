//! Measures a PDS from outside: a light HTTP client, servers started for the purpose, and what `/proc` says of them.
//!
//! Perch and the reference PDS are driven by the same code. Nothing here knows how either works inside.

pub mod disk;
pub mod figures;
pub mod first_light;
pub mod http;
pub mod import;
pub mod load;
pub mod measure;
pub mod page;
pub mod process;
pub mod report;
pub mod responder;
pub mod server;
pub mod xrpc;
