//! `app.bsky.actor.getPreferences`: the settings that the account's clients keep here.

use atproto::syntax::Did;
use axum::{
    extract::{FromRequestParts, Request, State},
    response::Response,
};
use platform::time::TrustedTime;
use serde_json::{Value, json};

use crate::{
    app::{App, Shared},
    auth::{AlsoTakendown, Session, jwt::Scope},
    error::XrpcError,
    proxy::{self, target::is_for_another},
};

/// Holds the birth date: only a sign-in with the password sees it.
pub(super) const PERSONAL: &str = "app.bsky.actor.defs#personalDetailsPref";
/// Says how old the owner is, made from the birth date for those who may not see it; never stored.
pub(super) const DECLARED_AGE: &str = "app.bsky.actor.defs#declaredAgePref";

pub(in crate::xrpc) async fn handle(
    State(app): State<Shared>,
    request: Request,
) -> Result<Response, XrpcError> {
    if is_for_another(&app.config, request.headers())? {
        return proxy::pass_on(&app, request).await;
    }
    let (mut parts, _) = request.into_parts();
    let session = Session::<AlsoTakendown>::from_request_parts(&mut parts, &app).await?;
    let mut preferences = read(&app, &session.did).await?;
    let personal = preferences.iter().find(|p| kind(p) == Some(PERSONAL));
    let birth = personal.and_then(|p| p.get("birthDate")?.as_str()).and_then(date);
    if let Some(birth) = birth {
        preferences.push(declared_age(birth, app.now()?));
    }
    if session.scope != Scope::Access {
        preferences.retain(|p| kind(p) != Some(PERSONAL));
    }
    Ok(crate::xrpc::json(&json!({ "preferences": preferences })))
}

/// The stored list; empty when nothing was stored.
async fn read(app: &App, did: &Did) -> Result<Vec<Value>, XrpcError> {
    let did = did.clone();
    let stored =
        app.store.read(move |r| r.account_by_did(&did)?.map(|account| r.preferences(&account)).transpose());
    let stored = stored.await?.ok_or_else(|| XrpcError::forbidden("AccountNotFound", "Account not found"))?;
    stored.map_or(Ok(Vec::new()), |bytes| serde_json::from_slice(&bytes).map_err(XrpcError::internal))
}

/// The `$type` of a preference.
pub(super) fn kind(preference: &Value) -> Option<&str> {
    preference.get("$type")?.as_str()
}

/// Year, month and day at the beginning of a date or a moment.
type Day = (u16, u8, u8);

fn date(text: &str) -> Option<Day> {
    let mut parts = text.get(..10)?.split('-');
    let day = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    parts.next().is_none().then_some(day)
}

fn declared_age(birth: Day, now: TrustedTime) -> Value {
    let age = date(&now.to_rfc3339()).map_or(0, |today| years(birth, today));
    json!({
        "$type": DECLARED_AGE,
        "isOverAge13": age >= 13,
        "isOverAge16": age >= 16,
        "isOverAge18": age >= 18,
    })
}

/// Full years from one day to another.
fn years(from: Day, to: Day) -> u16 {
    let begun = to.0.saturating_sub(from.0);
    if (to.1, to.2) < (from.1, from.2) { begun.saturating_sub(1) } else { begun }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn age_is_counted_in_full_years() {
        let born = date("2008-11-23T00:00:00.000Z").unwrap();
        assert_eq!(years(born, (2026, 11, 22)), 17);
        assert_eq!(years(born, (2026, 11, 23)), 18);
        assert_eq!(years(born, (2000, 1, 1)), 0);
        assert_eq!(date("2008-11-23"), Some((2008, 11, 23)));
        for bad in ["", "2008", "23.11.2008", "2008-11-2x", "-008-11-23-1"] {
            assert_eq!(date(bad), None, "{bad}");
        }
    }
}
