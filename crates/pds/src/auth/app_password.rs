//! App passwords: made here, never chosen, so that a fast hash keeps them as safe as a slow one keeps a chosen word.
//!
//! Looking one up costs microseconds: bots that sign in by the minute do not take the processor from everybody else.

use atproto::syntax::Did;
use data_encoding::{BASE32_NOPAD, HEXLOWER};
use sha2::{Digest, Sha256};

use crate::error::XrpcError;

/// Random bytes of an app password: sixteen letters of base32, 80 bits.
const BYTES: usize = 10;

/// Letters in each of the four groups.
const GROUP: usize = 4;

/// Makes a password of the form `xxxx-xxxx-xxxx-xxxx` of a-z and 2-7.
///
/// # Errors
/// 500 when the system gives no random bytes.
pub(crate) fn new() -> Result<String, XrpcError> {
    let mut bytes = [0_u8; BYTES];
    getrandom::fill(&mut bytes).map_err(XrpcError::internal)?;
    let letters = BASE32_NOPAD.encode(&bytes).to_lowercase();
    let groups: Vec<&str> =
        (0..4).filter_map(|group| letters.get(group * GROUP..(group + 1) * GROUP)).collect();
    Ok(groups.join("-"))
}

/// What is stored of an app password. The DID keeps equal passwords of two accounts apart.
pub(crate) fn hash(did: &Did, password: &str) -> String {
    let mut sha = Sha256::new();
    sha.update(did.as_str().as_bytes());
    sha.update([0]);
    sha.update(password.as_bytes());
    HEXLOWER.encode(&sha.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn app_passwords_have_the_form_that_apps_know() {
        let (a, b) = (new().unwrap(), new().unwrap());
        assert_ne!(a, b);
        let groups: Vec<&str> = a.split('-').collect();
        assert_eq!(groups.len(), 4);
        assert!(
            groups
                .iter()
                .all(|g| g.len() == 4
                    && g.bytes().all(|c| c.is_ascii_lowercase() || (b'2'..=b'7').contains(&c)))
        );
        let did = |text| Did::parse(text).unwrap();
        assert_eq!(hash(&did("did:plc:a"), &a), hash(&did("did:plc:a"), &a));
        assert_ne!(hash(&did("did:plc:a"), &a), hash(&did("did:plc:b"), &a));
    }
}
