//! Tokens by which one server acts for an account at another (service auth).
//!
//! The account's own key signs them. The algorithm follows from the key and must only be repeated by the header, so
//! that a header cannot choose it. Source: atproto specification "XRPC", section "Inter-service authentication".

use data_encoding::BASE64URL_NOPAD;
use platform::time::TrustedTime;
use serde::{Deserialize, Serialize};

use crate::crypto::{CryptoError, PublicKey, SigningKey};
use crate::syntax::{Did, Nsid};

/// Longest token that is read, in bytes: a DID of 2,048 twice and a method of 317, in base64, and room.
const TOKEN_BYTES_MAX: usize = 8_192;
/// Random bytes of a token's own name: as many as make a repetition impossible in practice.
const JTI_BYTES: usize = 16;
/// Kinds of token that must not pass for this one, as in the reference.
const OTHER_KINDS: [&str; 3] = ["at+jwt", "refresh+jwt", "dpop+jwt"];

/// Says why a token is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceJwtError {
    /// The text is not three parts of base64url with the JSON that belongs there.
    #[error("not a service token")]
    Malformed,
    /// The header says that this is a token of another kind.
    #[error("a token of another kind")]
    OtherKind,
    /// The header's algorithm is not that of the account's key.
    #[error("the algorithm is not that of the account's key")]
    Algorithm,
    /// The token has run out.
    #[error("the token has expired")]
    Expired,
    /// The token is for another server.
    #[error("the token is for another server")]
    Audience,
    /// The token is for another method, or for none.
    #[error("the token is for another method")]
    Method,
    /// The signature is not the account's.
    #[error("the signature is not the account's")]
    Signature(#[source] CryptoError),
    /// No random numbers could be had.
    #[error("the token could not be made")]
    Randomness(#[source] CryptoError),
}

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// When it was made, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iat: Option<u64>,
    /// The account: a DID, perhaps with `#service`.
    pub iss: String,
    /// The server: a DID, perhaps with `#service`.
    pub aud: String,
    /// When it runs out, in seconds since 1970.
    pub exp: u64,
    /// The only method that it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lxm: Option<String>,
    /// Its own name, so that it can be taken only once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jti: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Header {
    #[serde(default)]
    typ: Option<String>,
    alg: String,
}

/// Makes a token for an account.
///
/// `life_s` is how long it lives, in seconds; the caller bounds it (an hour, a minute without a method).
pub fn make(
    iss: &Did,
    aud: &str,
    lxm: Option<&Nsid>,
    life_s: u64,
    key: &SigningKey,
    now: TrustedTime,
) -> Result<String, ServiceJwtError> {
    let mut jti = [0; JTI_BYTES];
    getrandom::fill(&mut jti).map_err(|_| ServiceJwtError::Randomness(CryptoError::NoRandomness))?;
    let claims = Claims {
        iat: Some(now.unix_seconds()),
        iss: iss.to_string(),
        aud: aud.to_owned(),
        exp: now.unix_seconds().saturating_add(life_s),
        lxm: lxm.map(Nsid::to_string),
        jti: Some(data_encoding::HEXLOWER.encode(&jti)),
    };
    Ok(sign(&claims, key))
}

fn sign(claims: &Claims, key: &SigningKey) -> String {
    let header = Header { typ: Some("JWT".to_owned()), alg: key.curve().jwt_algorithm().to_owned() };
    let mut token = encode(&header);
    token.push('.');
    token.push_str(&encode(claims));
    let signature = key.sign(token.as_bytes());
    token.push('.');
    BASE64URL_NOPAD.encode_append(&signature, &mut token);
    token
}

fn encode<T: Serialize>(part: &T) -> String {
    // Structures of text and numbers written to memory: nothing that could fail.
    BASE64URL_NOPAD.encode(&serde_json::to_vec(part).unwrap_or_default())
}

/// A token that was read but not checked: only good for finding the key that should have signed it.
#[derive(Clone, Debug)]
pub struct Unverified {
    claims: Claims,
    issuer: Did,
    algorithm: String,
    signed: String,
    signature: Vec<u8>,
}

/// What a token must say to be accepted.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// This server's names, of which `aud` must be one.
    pub audience: &'a [&'a str],
    /// The method that is called.
    pub method: &'a Nsid,
}

impl Unverified {
    /// Reads a token without checking anything but its form.
    pub fn parse(token: &str) -> Result<Self, ServiceJwtError> {
        const BAD: ServiceJwtError = ServiceJwtError::Malformed;
        if token.len() > TOKEN_BYTES_MAX {
            return Err(BAD);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(BAD)?;
        let (header, claims) = signed.split_once('.').ok_or(BAD)?;
        let decode = |part: &str| BASE64URL_NOPAD.decode(part.as_bytes()).map_err(|_| BAD);
        let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_| BAD)?;
        if header
            .typ
            .as_deref()
            .is_some_and(|kind| OTHER_KINDS.iter().any(|other| kind.eq_ignore_ascii_case(other)))
        {
            return Err(ServiceJwtError::OtherKind);
        }
        let claims: Claims = serde_json::from_slice(&decode(claims)?).map_err(|_| BAD)?;
        let issuer = claims.iss.split('#').next().unwrap_or_default();
        Ok(Self {
            issuer: Did::parse(issuer).map_err(|_| BAD)?,
            algorithm: header.alg,
            signed: signed.to_owned(),
            signature: decode(signature)?,
            claims,
        })
    }

    /// Gives the account that is said to have made the token.
    pub fn issuer(&self) -> &Did {
        &self.issuer
    }

    /// Gives the service of the account's DID that is said to have made it, without `#`; none for the account itself.
    pub fn issuer_service(&self) -> Option<&str> {
        self.claims.iss.split_once('#').map(|(_, service)| service)
    }

    /// Gives the method that the token says it is for.
    pub fn method(&self) -> Option<&str> {
        self.claims.lxm.as_deref()
    }

    /// Checks everything: algorithm, time, audience, method and signature. There is no leeway, as in the reference.
    pub fn verify(
        &self,
        key: &PublicKey,
        expected: &Expected<'_>,
        now: TrustedTime,
    ) -> Result<&Claims, ServiceJwtError> {
        if now.unix_seconds() > self.claims.exp {
            return Err(ServiceJwtError::Expired);
        }
        if !expected.audience.contains(&self.claims.aud.as_str()) {
            return Err(ServiceJwtError::Audience);
        }
        if self.claims.lxm.as_deref() != Some(expected.method.as_str()) {
            return Err(ServiceJwtError::Method);
        }
        if self.algorithm != key.curve().jwt_algorithm() {
            return Err(ServiceJwtError::Algorithm);
        }
        key.verify(self.signed.as_bytes(), &self.signature).map_err(ServiceJwtError::Signature)?;
        Ok(&self.claims)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::crypto::Curve;

    const NOW_S: u64 = 1_795_401_296;

    fn at(unix_s: u64) -> TrustedTime {
        platform::sim::trusted_clock(unix_s * 1_000_000).0.now().unwrap()
    }

    fn did() -> Did {
        Did::parse("did:plc:ewvi7nxzyoun6zhxrhs64oiz").unwrap()
    }

    fn method() -> Nsid {
        Nsid::parse("com.atproto.server.createAccount").unwrap()
    }

    fn verify(token: &str, key: &SigningKey, now_s: u64) -> Result<Claims, ServiceJwtError> {
        let expected = Expected { audience: &["did:web:pds.test"], method: &method() };
        Unverified::parse(token)?.verify(&key.public_key(), &expected, at(now_s)).cloned()
    }

    #[test]
    fn accepts_its_own_tokens_of_both_curves() {
        for curve in [Curve::K256, Curve::P256] {
            let key = SigningKey::from_bytes_on(curve, &[7; 32]).unwrap();
            let token = make(&did(), "did:web:pds.test", Some(&method()), 60, &key, at(NOW_S)).unwrap();
            let claims = verify(&token, &key, NOW_S + 60).unwrap();
            assert_eq!((claims.exp, claims.iat), (NOW_S + 60, Some(NOW_S)));
            assert_eq!(Unverified::parse(&token).unwrap().issuer(), &did());
            assert_eq!(verify(&token, &key, NOW_S + 61), Err(ServiceJwtError::Expired));
        }
    }

    #[test]
    fn refuses_other_audience_method_key_and_algorithm() {
        let key = SigningKey::from_bytes(&[7; 32]).unwrap();
        let other = SigningKey::from_bytes(&[8; 32]).unwrap();
        let p256 = SigningKey::from_bytes_on(Curve::P256, &[7; 32]).unwrap();
        let method = method();
        let good = |aud, lxm| make(&did(), aud, lxm, 60, &key, at(NOW_S)).unwrap();
        let token = good("did:web:pds.test", Some(&method));
        assert!(matches!(verify(&token, &other, NOW_S), Err(ServiceJwtError::Signature(_))));
        assert_eq!(verify(&token, &p256, NOW_S), Err(ServiceJwtError::Algorithm));
        assert_eq!(
            verify(&good("did:web:other", Some(&method)), &key, NOW_S),
            Err(ServiceJwtError::Audience)
        );
        assert_eq!(verify(&good("did:web:pds.test", None), &key, NOW_S), Err(ServiceJwtError::Method));
    }

    #[test]
    fn refuses_tokens_of_other_kinds() {
        for (header, want) in [
            (r#"{"typ":"at+jwt","alg":"ES256K"}"#, ServiceJwtError::OtherKind),
            (r#"{"typ":"DPoP+jwt","alg":"ES256K"}"#, ServiceJwtError::OtherKind),
            (r#"{"alg":"none"}"#, ServiceJwtError::Algorithm),
            (r#"{"alg":7}"#, ServiceJwtError::Malformed),
        ] {
            let key = SigningKey::from_bytes(&[7; 32]).unwrap();
            let token = make(&did(), "did:web:pds.test", Some(&method()), 60, &key, at(NOW_S)).unwrap();
            let rest = token.split_once('.').unwrap().1;
            let token = format!("{}.{rest}", BASE64URL_NOPAD.encode(header.as_bytes()));
            assert_eq!(verify(&token, &key, NOW_S), Err(want), "{header}");
        }
    }

    #[test]
    fn refuses_what_is_no_token() {
        let long = format!("a.{}.b", "a".repeat(TOKEN_BYTES_MAX));
        for text in ["", ".", "..", "a.b.c", "e30.e30.e30", &long] {
            assert_eq!(Unverified::parse(text).unwrap_err(), ServiceJwtError::Malformed);
        }
    }

    proptest! {
        #[test]
        fn changed_tokens_are_refused(at_byte in 0usize..500, with in "[A-Za-z0-9_.-]") {
            let key = SigningKey::from_bytes(&[7; 32]).unwrap();
            let token = make(&did(), "did:web:pds.test", Some(&method()), 60, &key, at(NOW_S)).unwrap();
            let place = at_byte % token.len();
            let changed = format!("{}{with}{}", &token[..place], &token[place + 1..]);
            prop_assert_eq!(verify(&changed, &key, NOW_S).is_ok(), changed == token);
        }
    }
}
