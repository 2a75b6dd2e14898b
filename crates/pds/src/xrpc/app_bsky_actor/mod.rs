//! `app.bsky.actor`: profiles, by the AppView with what was just written put in, or from the hosted records while there
//! is none; and the settings that clients keep here.

mod get_preferences;
mod get_profile;
mod get_profiles;
mod profile;
mod put_preferences;

use super::route::Route;

/// The methods of this namespace.
pub(super) fn routes() -> Vec<Route> {
    let alone =
        "Without an AppView answered for hosted accounts, so that a box without one shows who is signed in.";
    let preferences = "Also without an AppView, and then for whichever AppView a client names.";
    vec![
        Route::query("app.bsky.actor.getProfile", get_profile::handle).auth("signed in").differs(alone),
        Route::query("app.bsky.actor.getProfiles", get_profiles::handle).auth("signed in").differs(alone),
        Route::query("app.bsky.actor.getPreferences", get_preferences::handle)
            .auth("signed in, also when taken down; the birth date by password only")
            .differs(preferences),
        Route::procedure("app.bsky.actor.putPreferences", put_preferences::handle)
            .auth("signed in; the birth date by password only")
            .differs(preferences),
    ]
}
