//! `com.atproto.server.getServiceAuth`: a token by which another server acts for the account, once and soon.

use atproto::{
    service_jwt,
    syntax::{Did, Nsid},
};
use axum::{extract::State, response::Response};
use platform::time::TrustedTime;
use serde::Serialize;

use super::super::shared::json;
use crate::{
    app::Shared,
    auth::{AlsoTakendown, Policy, Privileged, Session, jwt::Scope},
    error::XrpcError,
    input::Params,
    proxy::methods::{is_privileged, is_protected},
};

/// The one method that a taken-down account may have a token for: it lets the account move away.
const CREATE_ACCOUNT: &str = "com.atproto.server.createAccount";
/// Life of a token when nothing is asked, and the longest of one that is good for every method, seconds.
const LIFE_S: u64 = 60;
/// Longest life of a token for one method, seconds: uploading a video takes its time.
const LIFE_S_MAX: u64 = 3600;
/// Longest audience, bytes: by the lexicon.
const AUDIENCE_BYTES_MAX: usize = 2048;

#[derive(Serialize)]
struct Output {
    token: String,
}

pub(in crate::xrpc) async fn handle(
    State(app): State<Shared>,
    session: Session<AlsoTakendown>,
    params: Params,
) -> Result<Response, XrpcError> {
    let audience = audience(params.required("aud")?)?;
    let method = params.optional_text("lxm")?.map(|_| params.nsid("lxm")).transpose()?;
    if let Some(method) = &method {
        check_method(method.as_str(), session.scope)?;
    } else if session.scope == Scope::Takendown {
        return Err(XrpcError::invalid_token("Bad token scope"));
    }
    let now = app.now()?;
    // As in the reference, 0 is the same as none.
    let expires = params.optional_text("exp")?.filter(|text| *text != "0");
    let life_s = life_s(expires, method.as_ref(), now)?;
    let key = crate::proxy::signing_key(&app, &session.did, session.scope).await?;
    let token = service_jwt::make(&session.did, audience, method.as_ref(), life_s, &key, now);
    Ok(json(&Output { token: token.map_err(XrpcError::internal)? }))
}

/// A DID of atproto, perhaps with `#service`.
fn audience(text: &str) -> Result<&str, XrpcError> {
    let (did, service) = match text.split_once('#') {
        None => (text, None),
        Some((did, service)) => (did, Some(service)),
    };
    let did_ok = Did::parse(did).is_ok_and(|did| did.is_plc() || did.is_web());
    let service_ok = service.is_none_or(|name| {
        !name.is_empty()
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~:@!$&'()*+,;=/?%".contains(&b))
    });
    if did_ok && service_ok && text.len() <= AUDIENCE_BYTES_MAX {
        Ok(text)
    } else {
        Err(XrpcError::invalid_request("aud must be a valid atproto DID or did#serviceId reference"))
    }
}

fn check_method(method: &str, scope: Scope) -> Result<(), XrpcError> {
    if scope == Scope::Takendown && method != CREATE_ACCOUNT {
        return Err(XrpcError::invalid_token("Bad token scope"));
    }
    // The one exception above is the point of the scope: whoever has it signed in with the password.
    let privileged = Privileged::ALLOWED.contains(&scope) || scope == Scope::Takendown;
    if is_privileged(method) && !privileged {
        return Err(XrpcError::invalid_request(format!(
            "insufficient access to request a service auth token for the following method: {method}"
        )));
    }
    if is_protected(method) {
        return Err(XrpcError::invalid_request(format!(
            "cannot request a service auth token for the following protected method: {method}"
        )));
    }
    Ok(())
}

/// How long the token shall live; `expires` is the moment asked for, in seconds since 1970.
fn life_s(expires: Option<&str>, method: Option<&Nsid>, now: TrustedTime) -> Result<u64, XrpcError> {
    let Some(expires) = expires else { return Ok(LIFE_S) };
    let expires: i64 = expires.parse().map_err(|_| XrpcError::invalid_request("exp must be an integer"))?;
    let bad = |why: &'static str| XrpcError::bad("BadExpiration", why);
    let life_s = u64::try_from(expires).ok().and_then(|expires_s| expires_s.checked_sub(now.unix_seconds()));
    match (life_s, method) {
        (None, _) => Err(bad("expiration is in past")),
        (Some(life_s), _) if life_s > LIFE_S_MAX => {
            Err(bad("cannot request a token with an expiration more than an hour in the future"))
        }
        (Some(life_s), None) if life_s > LIFE_S => {
            Err(bad("cannot request a method-less token with an expiration more than a minute in the future"))
        }
        (Some(life_s), _) => Ok(life_s),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(unix_s: u64) -> TrustedTime {
        platform::sim::trusted_clock(unix_s * 1_000_000).0.now().unwrap()
    }

    #[test]
    fn expiry_is_in_seconds_and_bounded_by_an_hour_or_a_minute() {
        let method = Nsid::parse("app.bsky.feed.getFeed").unwrap();
        let now_s = 1_795_401_296;
        let life = |expires: &str, method| life_s(Some(expires), method, at(now_s)).map_err(|e| e.name());
        assert_eq!(life_s(None, None, at(now_s)).unwrap(), 60);
        assert_eq!(life(&(now_s + 3600).to_string(), Some(&method)), Ok(3600));
        assert_eq!(life(&(now_s + 60).to_string(), None), Ok(60));
        for (expires, method, name) in [
            ((now_s + 3601).to_string(), Some(&method), "BadExpiration"),
            ((now_s + 61).to_string(), None, "BadExpiration"),
            ((now_s - 1).to_string(), Some(&method), "BadExpiration"),
            (((now_s + 60) * 1000).to_string(), Some(&method), "BadExpiration"),
            ("-1".to_owned(), None, "BadExpiration"),
            ("soon".to_owned(), None, "InvalidRequest"),
        ] {
            assert_eq!(life(&expires, method), Err(name), "{expires}");
        }
    }

    #[test]
    fn audience_is_a_did_or_a_service_of_one() {
        for good in ["did:web:api.example.com", "did:plc:ewvi7nxzyoun6zhxrhs64oiz#atproto_labeler"] {
            assert!(audience(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "https://x",
            "did:key:z6Mk",
            "did:web:x.example#",
            "did:web:x.example#a#b",
            "did:web:x.example#a b",
        ] {
            assert!(audience(bad).is_err(), "{bad}");
        }
    }
}
