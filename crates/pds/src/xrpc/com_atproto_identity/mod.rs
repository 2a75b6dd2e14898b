//! `com.atproto.identity`: handles and DIDs.

pub(super) mod resolve_handle;
