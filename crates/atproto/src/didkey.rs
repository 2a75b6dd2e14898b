//! Public keys as text: `did:key` and multikey, both curves.

use crate::crypto::{CryptoError, Curve, PUBLIC_KEY_BYTES, PublicKey};

/// Prefix of a compressed secp256k1 key: multicodec 0xe7 as a varint.
const K256_PREFIX: [u8; 2] = [0xe7, 0x01];
/// Prefix of a compressed P-256 key: multicodec 0x1200 as a varint.
const P256_PREFIX: [u8; 2] = [0x80, 0x24];
const DID_KEY: &str = "did:key:";

/// Longest text that is decoded, in characters.
///
/// An uncompressed key of 65 bytes has 90 in base58; decoding base58 costs the square of the length, so that a
/// long text must not get that far.
const MULTIBASE_CHARS_MAX: usize = 128;

/// Says why a text is not a public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyTextError {
    /// The text does not begin with `did:key:`.
    #[error("does not begin with \"did:key:\"")]
    NotDidKey,
    /// The text is not base58 with a `z` in front, or is too long.
    #[error("not multibase base58 text")]
    NotBase58,
    /// The key is of a kind that the protocol does not use.
    #[error("neither a compressed K-256 nor a compressed P-256 key")]
    UnknownKind,
    /// The bytes are no key.
    #[error(transparent)]
    BadKey(#[from] CryptoError),
}

/// Writes a key as `did:key:z...`.
pub fn format_did_key(key: &PublicKey) -> String {
    format!("{DID_KEY}{}", format_multikey(key))
}

/// Reads a key from `did:key:z...`.
pub fn parse_did_key(text: &str) -> Result<PublicKey, KeyTextError> {
    parse_multikey(text.strip_prefix(DID_KEY).ok_or(KeyTextError::NotDidKey)?)
}

/// Writes a key as the `publicKeyMultibase` of a `Multikey`, `z...`.
pub fn format_multikey(key: &PublicKey) -> String {
    let prefix = match key.curve() {
        Curve::K256 => K256_PREFIX,
        Curve::P256 => P256_PREFIX,
    };
    let mut bytes = Vec::with_capacity(prefix.len() + PUBLIC_KEY_BYTES);
    bytes.extend_from_slice(&prefix);
    bytes.extend_from_slice(&key.to_sec1());
    format!("z{}", bs58::encode(bytes).into_string())
}

/// Reads a key from the `publicKeyMultibase` of a `Multikey`, `z...`.
pub fn parse_multikey(text: &str) -> Result<PublicKey, KeyTextError> {
    let bytes = decode_base58(text)?;
    let (prefix, key) = bytes.split_at_checked(2).ok_or(KeyTextError::UnknownKind)?;
    if key.len() != PUBLIC_KEY_BYTES {
        return Err(KeyTextError::UnknownKind);
    }
    let curve = if prefix == K256_PREFIX {
        Curve::K256
    } else if prefix == P256_PREFIX {
        Curve::P256
    } else {
        return Err(KeyTextError::UnknownKind);
    };
    Ok(PublicKey::from_sec1(curve, key)?)
}

/// Reads a key from the `publicKeyMultibase` of the older verification methods.
///
/// Those (`EcdsaSecp256k1VerificationKey2019`, `EcdsaSecp256r1VerificationKey2019`) name the curve in their type
/// and hold a bare SEC 1 point, compressed or not.
pub fn parse_legacy_multibase(curve: Curve, text: &str) -> Result<PublicKey, KeyTextError> {
    Ok(PublicKey::from_sec1(curve, &decode_base58(text)?)?)
}

/// Says whether a text is a `did:key` in base58, of whatever kind of key, as a PLC directory asks.
pub(crate) fn is_did_key_of_any_kind(text: &str) -> bool {
    let digits = text.strip_prefix(DID_KEY).and_then(|rest| rest.strip_prefix('z'));
    digits.is_some_and(|digits| bs58::decode(digits).into_vec().is_ok())
}

fn decode_base58(text: &str) -> Result<Vec<u8>, KeyTextError> {
    let digits = text.strip_prefix('z').ok_or(KeyTextError::NotBase58)?;
    if digits.len() > MULTIBASE_CHARS_MAX {
        return Err(KeyTextError::NotBase58);
    }
    bs58::decode(digits).into_vec().map_err(|_| KeyTextError::NotBase58)
}

impl PublicKey {
    /// Writes the key as `did:key:z...`.
    pub fn to_did_key(&self) -> String {
        format_did_key(self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::crypto::SigningKey;
    use crate::vectors;

    #[test]
    fn passes_the_w3c_fixtures() {
        let files = [("K256", "privateKeyBytesHex", 5), ("P256", "privateKeyBytesBase58", 1)];
        for (curve, field, count) in files {
            let Some(text) = vectors::read(&format!("interop/crypto/w3c_didkey_{curve}.json")) else {
                continue;
            };
            let fixtures: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
            assert_eq!(fixtures.len(), count);
            for fixture in fixtures {
                let secret = fixture[field].as_str().unwrap();
                let key = if curve == "K256" {
                    let secret = data_encoding::HEXLOWER.decode(secret.as_bytes()).unwrap();
                    SigningKey::from_bytes(&secret).unwrap()
                } else {
                    let secret = bs58::decode(secret).into_vec().unwrap();
                    SigningKey::from_bytes_on(Curve::P256, &secret).unwrap()
                };
                let want = fixture["publicDidKey"].as_str().unwrap();
                assert_eq!(key.public_key().to_did_key(), want);
                assert_eq!(parse_did_key(want).unwrap(), key.public_key());
            }
        }
    }

    #[test]
    fn refuses_what_is_no_key() {
        assert_eq!(parse_did_key("did:web:z"), Err(KeyTextError::NotDidKey));
        assert_eq!(parse_did_key("did:key:zQ3sh0OIl"), Err(KeyTextError::NotBase58));
        assert_eq!(
            parse_did_key("did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp"),
            Err(KeyTextError::UnknownKind)
        );
        assert_eq!(parse_multikey(&format!("z{}", "2".repeat(100_000))), Err(KeyTextError::NotBase58));
        assert_eq!(parse_multikey(""), Err(KeyTextError::NotBase58));
        assert_eq!(parse_multikey("z"), Err(KeyTextError::UnknownKind));
    }

    proptest! {
        #[test]
        fn mutated_keys_never_panic(at in 0usize..57, with in any::<char>()) {
            let text = "did:key:zQ3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme";
            let mut chars: Vec<char> = text.chars().collect();
            let at = at % chars.len();
            chars[at] = with;
            let text: String = chars.into_iter().collect();
            if let Ok(key) = parse_did_key(&text) { prop_assert_eq!(key.to_did_key(), text); }
        }
    }
}
