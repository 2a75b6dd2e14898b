//! `app.bsky.ageassurance` and its older form: answered here when the owner switches `age_assurance` on, because they
//! know the people on their server. Off, these calls go to the AppView like any other.

mod get_age_assurance_state;
mod get_config;
mod get_state;

use super::route::Route;

/// What every answer says.
const ASSURED: &str = "assured";

/// Why this is answered here at all.
const DIFFERS: &str = "the reference passes it on to the AppView; answered here only with `age_assurance` on";

/// The methods of this namespace.
pub(super) fn routes() -> Vec<Route> {
    let routes = vec![
        Route::query("app.bsky.ageassurance.getState", get_state::handle).auth("the account"),
        Route::query("app.bsky.ageassurance.getConfig", get_config::handle),
        Route::query("app.bsky.unspecced.getAgeAssuranceState", get_age_assurance_state::handle)
            .auth("the account"),
    ];
    routes.into_iter().map(|route| route.differs(DIFFERS).only_if(|config| config.age_assurance)).collect()
}
