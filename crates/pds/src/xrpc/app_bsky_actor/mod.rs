//! `app.bsky.actor`: what common clients ask right after signing in, answered from the hosted records while no AppView
//! is configured.

pub(super) mod get_preferences;
pub(super) mod get_profile;
pub(super) mod get_profiles;
mod profile;
pub(super) mod put_preferences;
