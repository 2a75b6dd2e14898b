//! Session tokens: HS256 JWTs that this server alone makes and reads.
//!
//! The MAC key is expanded once; a check costs two base64 decodes, one HMAC and one small JSON parse. Time is an
//! argument: without a [`TrustedTime`] no token can be made or judged.

use data_encoding::BASE64URL_NOPAD;
use hmac::{Hmac, KeyInit, Mac};
use platform::time::TrustedTime;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use store::AppPassword;

/// Life of an access token, seconds: the OAuth profile of atproto asks for less than 30 minutes "in all situations";
/// clients refresh by themselves.
pub(crate) const ACCESS_LIFE_S: u64 = 30 * 60;

/// Life of a refresh token, seconds: 90 days, as the reference.
pub(crate) const REFRESH_LIFE_S: u64 = 90 * 24 * 3600;

/// Longest token looked at, bytes. Ours are near 400; a longer one is refused before any work is done on it.
const TOKEN_BYTES_MAX: usize = 4096;

/// `{"typ":"at+jwt","alg":"HS256"}` and `{"typ":"refresh+jwt","alg":"HS256"}`, the only headers this server makes.
const ACCESS_HEADER: &str = r#"{"typ":"at+jwt","alg":"HS256"}"#;
const REFRESH_HEADER: &str = r#"{"typ":"refresh+jwt","alg":"HS256"}"#;

/// What a session token lets its bearer do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Scope {
    /// Signed in with the account's password.
    #[serde(rename = "com.atproto.access")]
    Access,
    /// May only be turned into a new pair.
    #[serde(rename = "com.atproto.refresh")]
    Refresh,
    /// Signed in with an app password.
    #[serde(rename = "com.atproto.appPass")]
    AppPass,
    /// Signed in with an app password that may use chat and create accounts.
    #[serde(rename = "com.atproto.appPassPrivileged")]
    AppPassPrivileged,
    /// Waiting in a sign-up queue.
    #[serde(rename = "com.atproto.signupQueued")]
    SignupQueued,
    /// Signed in to an account that was taken down.
    #[serde(rename = "com.atproto.takendown")]
    Takendown,
}

impl Scope {
    /// What a sign-in allows: with the account's own password, or with an app password.
    #[must_use]
    pub(crate) fn of(app_password: Option<&AppPassword>) -> Self {
        match app_password {
            None => Self::Access,
            Some(app_password) if app_password.privileged => Self::AppPassPrivileged,
            Some(_) => Self::AppPass,
        }
    }
}

/// The claims of a session token that passed all checks but the caller's on its scope.
#[derive(Clone, Debug)]
pub(crate) struct Claims {
    /// What it allows.
    pub(crate) scope: Scope,
    /// The account's DID.
    pub(crate) sub: String,
    /// Id of a refresh token.
    pub(crate) jti: Option<String>,
    /// Expiry, Unix seconds.
    pub(crate) exp: u64,
}

/// Why a token was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum JwtError {
    /// Its life is over.
    #[error("Token has expired")]
    Expired,
    /// It is not one of ours, was changed, or is meant for another server.
    #[error("Token could not be verified")]
    Invalid,
}

#[derive(Serialize)]
struct OutClaims<'a> {
    scope: Scope,
    aud: &'a str,
    sub: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    jti: Option<&'a str>,
    iat: u64,
    exp: u64,
}

#[derive(Deserialize)]
struct InClaims {
    scope: Scope,
    aud: String,
    sub: String,
    #[serde(default)]
    jti: Option<String>,
    exp: u64,
    // A token bound to a method or to a key is not a session token, whoever signed it.
    #[serde(default)]
    lxm: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    cnf: Option<serde::de::IgnoredAny>,
}

/// Makes and checks session tokens for one service DID.
#[derive(Clone)]
pub(crate) struct SessionKeys {
    mac: Hmac<Sha256>,
    audience: String,
    access_header: String,
    refresh_header: String,
}

impl std::fmt::Debug for SessionKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionKeys").field("audience", &self.audience).finish_non_exhaustive()
    }
}

impl SessionKeys {
    /// Prepares the key. `secret` is 32 random bytes that live as long as the data folder.
    #[must_use]
    pub(crate) fn new(secret: &[u8; 32], audience: String) -> Self {
        Self {
            mac: Hmac::new(&(*secret).into_key()),
            audience,
            access_header: BASE64URL_NOPAD.encode(ACCESS_HEADER.as_bytes()),
            refresh_header: BASE64URL_NOPAD.encode(REFRESH_HEADER.as_bytes()),
        }
    }

    /// Makes an access token for `did`.
    #[must_use]
    pub(crate) fn access(&self, did: &str, scope: Scope, now: TrustedTime) -> String {
        let iat = now.unix_seconds();
        let claims = OutClaims {
            scope,
            aud: &self.audience,
            sub: did,
            jti: None,
            iat,
            exp: iat.saturating_add(ACCESS_LIFE_S),
        };
        self.sign(&self.access_header, &claims)
    }

    /// Makes the refresh token with id `jti`, which ends at `exp`, Unix seconds.
    #[must_use]
    pub(crate) fn refresh(&self, did: &str, jti: &str, exp: u64, now: TrustedTime) -> String {
        let claims = OutClaims {
            scope: Scope::Refresh,
            aud: &self.audience,
            sub: did,
            jti: Some(jti),
            iat: now.unix_seconds(),
            exp,
        };
        self.sign(&self.refresh_header, &claims)
    }

    /// Checks an access token of any scope but `refresh`.
    ///
    /// # Errors
    /// [`JwtError::Expired`] only when everything else about it is right.
    pub(crate) fn check_access(&self, token: &str, now: TrustedTime) -> Result<Claims, JwtError> {
        let claims = self.check(token, &self.access_header)?;
        if claims.scope == Scope::Refresh {
            return Err(JwtError::Invalid);
        }
        alive(claims, now)
    }

    /// Checks a refresh token.
    ///
    /// # Errors
    /// [`JwtError::Expired`] only when everything else about it is right.
    pub(crate) fn check_refresh(&self, token: &str, now: TrustedTime) -> Result<Claims, JwtError> {
        alive(self.check_refresh_of_any_age(token)?, now)
    }

    /// Checks a refresh token without looking at its age: signing out must work with an old one too.
    ///
    /// # Errors
    /// [`JwtError::Invalid`].
    pub(crate) fn check_refresh_of_any_age(&self, token: &str) -> Result<Claims, JwtError> {
        let claims = self.check(token, &self.refresh_header)?;
        if claims.scope != Scope::Refresh || claims.jti.is_none() {
            return Err(JwtError::Invalid);
        }
        Ok(claims)
    }

    fn sign(&self, header: &str, claims: &OutClaims<'_>) -> String {
        let payload = serde_json::to_vec(claims).unwrap_or_default();
        let mut token = String::with_capacity(header.len() + payload.len() * 4 / 3 + 64);
        token.push_str(header);
        token.push('.');
        BASE64URL_NOPAD.encode_append(&payload, &mut token);
        let mut mac = self.mac.clone();
        mac.update(token.as_bytes());
        token.push('.');
        BASE64URL_NOPAD.encode_append(&mac.finalize().into_bytes(), &mut token);
        token
    }

    /// Checks form, kind and MAC. The header must be byte for byte one that this server makes: that fixes `alg` and
    /// `typ`, and no header is ever parsed.
    fn check(&self, token: &str, header: &str) -> Result<Claims, JwtError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(JwtError::Invalid);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(JwtError::Invalid)?;
        let (found_header, payload) = signed.split_once('.').ok_or(JwtError::Invalid)?;
        if found_header != header {
            return Err(JwtError::Invalid);
        }
        let signature = BASE64URL_NOPAD.decode(signature.as_bytes()).map_err(|_| JwtError::Invalid)?;
        let mut mac = self.mac.clone();
        mac.update(signed.as_bytes());
        mac.verify_slice(&signature).map_err(|_| JwtError::Invalid)?;
        let payload = BASE64URL_NOPAD.decode(payload.as_bytes()).map_err(|_| JwtError::Invalid)?;
        let claims: InClaims = serde_json::from_slice(&payload).map_err(|_| JwtError::Invalid)?;
        if claims.aud != self.audience || claims.lxm.is_some() || claims.cnf.is_some() {
            return Err(JwtError::Invalid);
        }
        Ok(Claims { scope: claims.scope, sub: claims.sub, jti: claims.jti, exp: claims.exp })
    }
}

fn alive(claims: Claims, now: TrustedTime) -> Result<Claims, JwtError> {
    if claims.exp <= now.unix_seconds() { Err(JwtError::Expired) } else { Ok(claims) }
}

/// Turns 32 bytes into the block-size key type that HMAC wants, zero-padded as RFC 2104 section 2 says.
trait IntoKey {
    fn into_key(self) -> hmac::digest::Key<Hmac<Sha256>>;
}

impl IntoKey for [u8; 32] {
    fn into_key(self) -> hmac::digest::Key<Hmac<Sha256>> {
        let mut key = hmac::digest::Key::<Hmac<Sha256>>::default();
        for (to, from) in key.iter_mut().zip(self) {
            *to = from;
        }
        key
    }
}

#[cfg(test)]
mod tests {
    use platform::sim::trusted_clock;

    use super::*;

    const DID: &str = "did:plc:ewvi7nxzyoun6zhxrhs64oiz";

    fn keys() -> SessionKeys {
        SessionKeys::new(&[7; 32], "did:web:pds.test".to_owned())
    }

    fn at(unix_s: u64) -> TrustedTime {
        trusted_clock(unix_s * 1_000_000).0.now().unwrap()
    }

    #[test]
    fn token_lives_its_time_and_not_a_second_longer() {
        let token = keys().access(DID, Scope::Access, at(1_000_000_000));
        let claims = keys().check_access(&token, at(1_000_000_000 + ACCESS_LIFE_S - 1)).unwrap();
        assert_eq!((claims.sub.as_str(), claims.scope), (DID, Scope::Access));
        assert_eq!(
            keys().check_access(&token, at(1_000_000_000 + ACCESS_LIFE_S)).unwrap_err(),
            JwtError::Expired
        );
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let now = at(1_000_000_000);
        let token = keys().access(DID, Scope::Access, now);
        for i in 0..token.len() {
            let mut bytes = token.clone().into_bytes();
            bytes[i] = if bytes[i] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            assert!(keys().check_access(&changed, now).is_err(), "byte {i}");
        }
    }

    #[test]
    fn tokens_of_other_kinds_servers_and_algorithms_are_refused() {
        let now = at(1_000_000_000);
        let access = keys().access(DID, Scope::Access, now);
        let refresh = keys().refresh(DID, "id", now.unix_seconds() + 10, now);
        assert_eq!(keys().check_access(&refresh, now).unwrap_err(), JwtError::Invalid);
        assert_eq!(keys().check_refresh(&access, now).unwrap_err(), JwtError::Invalid);
        let other = SessionKeys::new(&[7; 32], "did:web:other.test".to_owned());
        assert_eq!(other.check_access(&access, now).unwrap_err(), JwtError::Invalid);
        let none = BASE64URL_NOPAD.encode(br#"{"typ":"at+jwt","alg":"none"}"#);
        let payload = access.split('.').nth(1).unwrap();
        assert_eq!(keys().check_access(&format!("{none}.{payload}."), now).unwrap_err(), JwtError::Invalid);
        for junk in ["", ".", "..", "a.b.c", "a.b"] {
            assert_eq!(keys().check_access(junk, now).unwrap_err(), JwtError::Invalid);
        }
    }

    #[test]
    fn signing_out_accepts_an_expired_refresh_token() {
        let token = keys().refresh(DID, "id", 1_000_000_010, at(1_000_000_000));
        assert_eq!(keys().check_refresh(&token, at(1_000_000_010)).unwrap_err(), JwtError::Expired);
        assert_eq!(keys().check_refresh_of_any_age(&token).unwrap().jti.as_deref(), Some("id"));
    }
}
