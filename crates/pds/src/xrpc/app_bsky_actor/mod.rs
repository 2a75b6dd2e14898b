//! `app.bsky.actor`: what common clients ask right after signing in, answered from the hosted records while no AppView
//! is configured.

mod get_preferences;
mod get_profile;
mod get_profiles;
mod profile;
mod put_preferences;

use super::route::Route;

/// The methods of this namespace.
pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::query("app.bsky.actor.getProfile", get_profile::handle),
        Route::query("app.bsky.actor.getProfiles", get_profiles::handle),
        Route::query("app.bsky.actor.getPreferences", get_preferences::handle),
        Route::procedure("app.bsky.actor.putPreferences", put_preferences::handle),
    ]
}
