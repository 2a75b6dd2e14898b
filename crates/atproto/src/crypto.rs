//! Signatures over P-256 and K-256, as repositories, PLC operations and service tokens use them.
//!
//! A signature is 64 bytes (r, then s, big-endian) over the SHA-256 of the message, and s is in the lower half
//! of its range ("low-S"). We make only such ones and refuse all others, DER included. Secret keys are wiped
//! from memory when dropped and are never printed.

use std::fmt;

use k256::ecdsa::signature::{Signer, Verifier};
use zeroize::{Zeroize, Zeroizing};

/// Length of a signature, in bytes.
pub const SIGNATURE_BYTES: usize = 64;
/// Length of a secret key, in bytes.
pub const SECRET_KEY_BYTES: usize = 32;
/// Length of a compressed public key (SEC 1 section 2.3.3), in bytes.
pub const PUBLIC_KEY_BYTES: usize = 33;

/// How often generation draws 32 random bytes before giving up.
///
/// A draw is outside the range of a curve with probability below 2^-31, so that a second miss means a broken
/// random number generator.
const DRAWS_MAX: usize = 4;

/// Names one of the two curves of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Curve {
    /// secp256k1; what Perch gives to accounts.
    K256,
    /// NIST P-256 (secp256r1).
    P256,
}

impl Curve {
    /// Gives the algorithm's name in a JWT: `ES256K` or `ES256`.
    pub const fn jwt_algorithm(self) -> &'static str {
        match self {
            Self::K256 => "ES256K",
            Self::P256 => "ES256",
        }
    }
}

/// Says what went wrong with a key or a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CryptoError {
    /// The operating system gave no random numbers.
    #[error("the operating system gives no random numbers")]
    NoRandomness,
    /// The bytes are not a secret key of this curve (wrong length, zero or too large).
    #[error("not a secret key of this curve")]
    BadSecretKey,
    /// The bytes are not a point of this curve.
    #[error("not a public key of this curve")]
    BadPublicKey,
    /// The signature is not 64 bytes, or its numbers are out of range.
    #[error("the signature is malformed")]
    MalformedSignature,
    /// The signature is the other half of a valid pair, which the protocol forbids.
    #[error("the signature is not in its low-S form")]
    HighS,
    /// The signature is of another key or message.
    #[error("the signature does not fit key and message")]
    WrongSignature,
}

/// Signs; holds a secret key of either curve.
#[derive(Clone)]
pub struct SigningKey(Secret);

#[derive(Clone)]
enum Secret {
    K256(k256::ecdsa::SigningKey),
    P256(p256::ecdsa::SigningKey),
}

impl SigningKey {
    /// Draws a new K-256 key from the operating system's random numbers.
    pub fn generate() -> Result<Self, CryptoError> {
        Self::generate_on(Curve::K256)
    }

    /// Draws a new key of the given curve from the operating system's random numbers.
    pub fn generate_on(curve: Curve) -> Result<Self, CryptoError> {
        let mut bytes = Zeroizing::new([0; SECRET_KEY_BYTES]);
        for _ in 0..DRAWS_MAX {
            getrandom::fill(bytes.as_mut_slice()).map_err(|_| CryptoError::NoRandomness)?;
            if let Ok(key) = Self::from_bytes_on(curve, bytes.as_slice()) {
                return Ok(key);
            }
        }
        Err(CryptoError::NoRandomness)
    }

    /// Takes the 32 bytes of a K-256 secret key. The caller wipes its own copy.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CryptoError> {
        Self::from_bytes_on(Curve::K256, bytes)
    }

    /// Takes the 32 bytes of a secret key of the given curve. The caller wipes its own copy.
    pub fn from_bytes_on(curve: Curve, bytes: &[u8]) -> Result<Self, CryptoError> {
        if bytes.len() != SECRET_KEY_BYTES {
            return Err(CryptoError::BadSecretKey);
        }
        match curve {
            Curve::K256 => k256::ecdsa::SigningKey::from_slice(bytes).map(Secret::K256),
            Curve::P256 => p256::ecdsa::SigningKey::from_slice(bytes).map(Secret::P256),
        }
        .map(Self)
        .map_err(|_| CryptoError::BadSecretKey)
    }

    /// Gives the secret: 32 bytes that wipe themselves.
    pub fn to_bytes(&self) -> Zeroizing<[u8; SECRET_KEY_BYTES]> {
        let mut field = match &self.0 {
            Secret::K256(key) => key.to_bytes(),
            Secret::P256(key) => key.to_bytes(),
        };
        let mut bytes = Zeroizing::new([0; SECRET_KEY_BYTES]);
        bytes.copy_from_slice(&field);
        field.zeroize();
        bytes
    }

    /// Gives the curve.
    pub fn curve(&self) -> Curve {
        match &self.0 {
            Secret::K256(_) => Curve::K256,
            Secret::P256(_) => Curve::P256,
        }
    }

    /// Gives the public half.
    pub fn public_key(&self) -> PublicKey {
        match &self.0 {
            Secret::K256(key) => PublicKey::K256(*key.verifying_key()),
            Secret::P256(key) => PublicKey::P256(*key.verifying_key()),
        }
    }

    /// Signs the SHA-256 of the message, deterministically (RFC 6979) and in low-S form.
    pub fn sign(&self, message: &[u8]) -> [u8; SIGNATURE_BYTES] {
        match &self.0 {
            Secret::K256(key) => {
                let signature: k256::ecdsa::Signature = key.sign(message);
                signature.normalize_s().to_bytes().into()
            }
            Secret::P256(key) => {
                let signature: p256::ecdsa::Signature = key.sign(message);
                signature.normalize_s().to_bytes().into()
            }
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({:?}, secret)", self.curve())
    }
}

/// Checks signatures; a public key of either curve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublicKey {
    /// A key of secp256k1.
    K256(k256::ecdsa::VerifyingKey),
    /// A key of NIST P-256.
    P256(p256::ecdsa::VerifyingKey),
}

impl PublicKey {
    /// Takes a point in SEC 1 form, compressed (33 bytes) or not (65 bytes).
    pub fn from_sec1(curve: Curve, bytes: &[u8]) -> Result<Self, CryptoError> {
        match curve {
            Curve::K256 => k256::ecdsa::VerifyingKey::from_sec1_bytes(bytes).map(Self::K256),
            Curve::P256 => p256::ecdsa::VerifyingKey::from_sec1_bytes(bytes).map(Self::P256),
        }
        .map_err(|_| CryptoError::BadPublicKey)
    }

    /// Gives the compressed point (SEC 1 section 2.3.3).
    pub fn to_sec1(&self) -> [u8; PUBLIC_KEY_BYTES] {
        let mut bytes = [0; PUBLIC_KEY_BYTES];
        match self {
            Self::K256(key) => bytes.copy_from_slice(key.to_sec1_point(true).as_bytes()),
            Self::P256(key) => bytes.copy_from_slice(key.to_sec1_point(true).as_bytes()),
        }
        bytes
    }

    /// Gives the curve.
    pub fn curve(&self) -> Curve {
        match self {
            Self::K256(_) => Curve::K256,
            Self::P256(_) => Curve::P256,
        }
    }

    /// Checks a signature of 64 bytes over the SHA-256 of the message; refuses high-S.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        if signature.len() != SIGNATURE_BYTES {
            return Err(CryptoError::MalformedSignature);
        }
        match self {
            Self::K256(key) => {
                let signature = k256::ecdsa::Signature::from_slice(signature)
                    .map_err(|_| CryptoError::MalformedSignature)?;
                if signature.normalize_s() != signature {
                    return Err(CryptoError::HighS);
                }
                key.verify(message, &signature)
            }
            Self::P256(key) => {
                let signature = p256::ecdsa::Signature::from_slice(signature)
                    .map_err(|_| CryptoError::MalformedSignature)?;
                if signature.normalize_s() != signature {
                    return Err(CryptoError::HighS);
                }
                key.verify(message, &signature)
            }
        }
        .map_err(|_| CryptoError::WrongSignature)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::vectors;

    #[test]
    fn passes_the_interop_signature_fixtures() {
        let Some(text) = vectors::read("interop/crypto/signature-fixtures.json") else { return };
        let fixtures: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
        assert_eq!(fixtures.len(), 6);
        for fixture in fixtures {
            let field = |name: &str| fixture[name].as_str().unwrap().to_owned();
            let base64 = |name| data_encoding::BASE64_NOPAD.decode(field(name).as_bytes()).unwrap();
            let key = crate::didkey::parse_did_key(&field("publicKeyDid")).unwrap();
            assert_eq!(key.curve().jwt_algorithm(), field("algorithm"));
            let legacy =
                crate::didkey::parse_legacy_multibase(key.curve(), &field("publicKeyMultibase")).unwrap();
            assert_eq!(legacy, key);
            let result = key.verify(&base64("messageBase64"), &base64("signatureBase64"));
            match fixture["tags"][0].as_str() {
                None => assert_eq!(result, Ok(())),
                Some("high-s") => assert_eq!(result, Err(CryptoError::HighS)),
                Some("der-encoded") => assert_eq!(result, Err(CryptoError::MalformedSignature)),
                Some(other) => panic!("unknown tag {other}"),
            }
            assert_eq!(result.is_ok(), fixture["validSignature"].as_bool().unwrap());
        }
    }

    #[test]
    fn never_prints_the_secret() {
        let key = SigningKey::from_bytes(&[7; 32]).unwrap();
        assert_eq!(format!("{key:?}"), "SigningKey(K256, secret)");
    }

    #[test]
    fn generates_distinct_keys() {
        let a = SigningKey::generate().unwrap();
        let b = SigningKey::generate_on(Curve::P256).unwrap();
        assert_ne!(*a.to_bytes(), *b.to_bytes());
        assert_eq!((a.curve(), b.curve()), (Curve::K256, Curve::P256));
        assert_eq!(SigningKey::from_bytes(a.to_bytes().as_slice()).unwrap().public_key(), a.public_key());
    }

    #[test]
    fn refuses_bad_secrets() {
        for bytes in [&[0; 32][..], &[255; 32][..], &[1; 31][..], &[1; 33][..], &[][..]] {
            assert_eq!(SigningKey::from_bytes(bytes).unwrap_err(), CryptoError::BadSecretKey);
            assert_eq!(SigningKey::from_bytes_on(Curve::P256, bytes).unwrap_err(), CryptoError::BadSecretKey);
        }
    }

    /// Turns s into the curve's order minus s.
    fn flip_s(curve: Curve, signature: &[u8; 64]) -> [u8; 64] {
        match curve {
            Curve::K256 => {
                let (r, s) = k256::ecdsa::Signature::from_slice(signature).unwrap().split_scalars();
                k256::ecdsa::Signature::from_scalars(r, -s).unwrap().to_bytes().into()
            }
            Curve::P256 => {
                let (r, s) = p256::ecdsa::Signature::from_slice(signature).unwrap().split_scalars();
                p256::ecdsa::Signature::from_scalars(r, -s).unwrap().to_bytes().into()
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn signs_and_verifies_low_s_only(
            secret in any::<[u8; 32]>(), message in any::<Vec<u8>>(), k256 in any::<bool>(),
        ) {
            let curve = if k256 { Curve::K256 } else { Curve::P256 };
            let Ok(key) = SigningKey::from_bytes_on(curve, &secret) else { return Ok(()) };
            let signature = key.sign(&message);
            let public = PublicKey::from_sec1(curve, &key.public_key().to_sec1()).unwrap();
            prop_assert_eq!(public.verify(&message, &signature), Ok(()));
            prop_assert_eq!(public.verify(&message, &flip_s(curve, &signature)), Err(CryptoError::HighS));
            let mut other = message;
            other.push(0);
            prop_assert_eq!(public.verify(&other, &signature), Err(CryptoError::WrongSignature));
        }

        #[test]
        fn arbitrary_signatures_never_panic(signature in any::<Vec<u8>>(), bytes in any::<Vec<u8>>()) {
            let key = SigningKey::from_bytes(&[7; 32]).unwrap().public_key();
            prop_assert!(key.verify(b"x", &signature).is_err());
            let _all = (PublicKey::from_sec1(Curve::K256, &bytes), PublicKey::from_sec1(Curve::P256, &bytes));
        }
    }
}
