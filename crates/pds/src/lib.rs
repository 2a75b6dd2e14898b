//! XRPC routes, sessions, account life cycle, identity and firehose.
