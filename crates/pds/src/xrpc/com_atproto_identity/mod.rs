//! `com.atproto.identity`: handles and DIDs.

mod resolve_handle;

use super::route::Route;

/// The methods of this namespace.
pub(super) fn routes() -> Vec<Route> {
    vec![Route::query("com.atproto.identity.resolveHandle", resolve_handle::handle)]
}
