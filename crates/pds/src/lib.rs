//! XRPC routes, sessions, account life cycle, identity and firehose.

pub mod identity;
pub mod outbound;
pub mod plc_client;
