//! `com.atproto.moderation`: reports to those who moderate.

mod create_report;

use super::route::Route;

/// The methods of this namespace.
pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::procedure("com.atproto.moderation.createReport", create_report::handle)
            .auth("signed in, also when taken down"),
    ]
}
