//! `com.atproto.temp`: what the common app asks for without a specification.

mod check_signup_queue;

use super::route::Route;

/// The methods of this namespace.
pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::query("com.atproto.temp.checkSignupQueue", check_signup_queue::handle)
            .auth("any sign-in, also one that waits in a sign-up queue"),
    ]
}
