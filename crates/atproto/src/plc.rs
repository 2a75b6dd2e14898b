//! Operations of the PLC directory: making, signing, hashing, and checking them as a directory does.
//!
//! Pure: nothing here talks to a directory (that is `pds::plc_client`), and times are passed in. Source: the
//! did:plc specification 0.1 and the limits of the reference directory.

mod log;
mod operation;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use self::log::{Accepted, LogEntry, RECOVERY_WINDOW_US, check_audit_log, check_log, check_next};
pub use self::operation::{LegacyCreate, Operation, Service, Signed, Tombstone, sign_tombstone};

use crate::cid::{Cid, CidError};
use crate::crypto::{PublicKey, SigningKey};
use crate::didkey;
use crate::syntax::{Did, Handle};
use platform::time::TrustedTime;
use serde::Serialize;

/// Largest operation with its signature, in bytes of DAG-CBOR.
///
/// The specification says 7,500, but the reference directory refuses more than 4,000.
pub const OPERATION_BYTES_MAX: usize = 4_000;
/// Most rotation keys of one operation.
pub const ROTATION_KEYS_MAX: usize = 10;
/// Most names (`alsoKnownAs`) of one operation.
pub const ALSO_KNOWN_AS_MAX: usize = 10;
/// Longest name: a handle of 253 characters after `at://`.
pub const ALSO_KNOWN_AS_CHARS_MAX: usize = 258;
/// Most services of one operation.
pub const SERVICES_MAX: usize = 10;
/// Most verification methods of one operation.
pub const VERIFICATION_METHODS_MAX: usize = 10;
/// Longest name of a service or a verification method, in characters.
pub const ID_CHARS_MAX: usize = 32;
/// Longest type of a service, in characters.
pub const SERVICE_TYPE_CHARS_MAX: usize = 256;
/// Longest endpoint of a service, in characters.
pub const SERVICE_ENDPOINT_CHARS_MAX: usize = 512;
/// Longest `did:key` of a verification method, in characters; any kind of key is allowed there.
pub const DID_KEY_CHARS_MAX: usize = 256;

/// Name of the verification method that signs repositories.
const ATPROTO_KEY: &str = "atproto";
/// Name and type of the service that holds the repository.
const PDS_SERVICE: &str = "atproto_pds";
const PDS_SERVICE_TYPE: &str = "AtprotoPersonalDataServer";

/// Says why an operation, or a chain of them, is not valid.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlcError {
    /// The text is not JSON of one of the three kinds of operation.
    #[error("not a PLC operation")]
    Malformed(#[source] serde_json::Error),
    /// A limit of the directory is exceeded.
    #[error("beyond the directory's limits: {0}")]
    Limit(&'static str),
    /// A rotation key is not a `did:key` of K-256 or P-256.
    #[error("rotation key {index} is not a did:key of K-256 or P-256")]
    RotationKey {
        /// Its place in the list, from 0.
        index: usize,
    },
    /// A verification method is not a `did:key`.
    #[error("a verification method is not a did:key")]
    VerificationKey,
    /// `prev` is not the CID of an operation.
    #[error("prev is not a CID")]
    Prev(#[source] CidError),
    /// The signature is not base64url without padding.
    #[error("the signature is not base64url")]
    SignatureText,
    /// No key that may sign this operation did.
    #[error("the signature is of no key that may sign this operation")]
    WrongSigner,
    /// The first operation does not hash to the DID.
    #[error("the first operation makes {made}, not this DID")]
    OtherDid {
        /// The DID that it makes.
        made: Did,
    },
    /// The first operation is a tombstone or names a predecessor, or there is none.
    #[error("the first operation must create the DID")]
    NotGenesis,
    /// `prev` does not name an operation that can be followed.
    #[error("the operation does not follow one of this DID's log")]
    Misordered,
    /// The operation would replace one that is too old for it.
    #[error("an operation of {hours} hours ago can no longer be replaced (at most 72)")]
    TooLate {
        /// Age of the oldest operation that would be replaced, in whole hours.
        hours: u64,
    },
    /// An entry of an audit log is not what its operation is.
    #[error("entry {index} of the audit log contradicts its operation")]
    BadEntry {
        /// Its place in the log, from 0.
        index: usize,
    },
}

/// What a DID says after an operation; its JSON is a directory's `/data` without the `did`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// Keys that may sign the next operation as `did:key`, the most powerful first.
    pub rotation_keys: Vec<String>,
    /// Keys by name, as `did:key`; `atproto` signs the repository.
    pub verification_methods: BTreeMap<String, String>,
    /// Names, the handle as `at://handle` first.
    pub also_known_as: Vec<String>,
    /// Services by name; `atproto_pds` holds the repository.
    pub services: BTreeMap<String, Service>,
}

impl State {
    /// Describes an account as an atproto server does.
    ///
    /// `pds_url` is the origin of the server, such as `https://pds.example.com`, without a slash at the end.
    pub fn for_account(
        rotation_keys: &[PublicKey],
        signing_key: &PublicKey,
        handle: &Handle,
        pds_url: &str,
    ) -> Self {
        let service = Service { kind: PDS_SERVICE_TYPE.to_owned(), endpoint: pds_url.to_owned() };
        Self {
            rotation_keys: rotation_keys.iter().map(didkey::format_did_key).collect(),
            verification_methods: BTreeMap::from([(
                ATPROTO_KEY.to_owned(),
                didkey::format_did_key(signing_key),
            )]),
            also_known_as: vec![format!("at://{handle}")],
            services: BTreeMap::from([(PDS_SERVICE.to_owned(), service)]),
        }
    }

    /// Gives the key that signs the repository, if it is there and of a kind that the protocol knows.
    pub fn atproto_key(&self) -> Option<PublicKey> {
        didkey::parse_did_key(self.verification_methods.get(ATPROTO_KEY)?).ok()
    }

    /// Gives the first well-formed handle.
    pub fn handle(&self) -> Option<Handle> {
        self.also_known_as.iter().find_map(|name| Handle::parse(name.strip_prefix("at://")?).ok())
    }

    /// Gives the endpoint of the server that holds the repository.
    pub fn pds_endpoint(&self) -> Option<&str> {
        self.services.get(PDS_SERVICE).map(|service| service.endpoint.as_str())
    }

    /// Makes another handle the first one and leaves other names as they are.
    pub fn set_handle(&mut self, handle: &Handle) {
        let name = format!("at://{handle}");
        let place = self.also_known_as.iter().position(|name| name.starts_with("at://"));
        // A name that is there already moves: the directory takes none twice.
        let others = self.also_known_as.iter().enumerate();
        let others = others.filter(|(at, other)| Some(*at) != place && **other != name);
        let mut names: Vec<String> = others.map(|(_, other)| other.clone()).collect();
        names.insert(place.unwrap_or(0).min(names.len()), name);
        self.also_known_as = names;
    }

    /// Makes another server the one that holds the repository.
    pub fn set_pds(&mut self, pds_url: &str) {
        let service = Service { kind: PDS_SERVICE_TYPE.to_owned(), endpoint: pds_url.to_owned() };
        self.services.insert(PDS_SERVICE.to_owned(), service);
    }

    /// Makes another key the one that signs the repository.
    pub fn set_atproto_key(&mut self, key: &PublicKey) {
        self.verification_methods.insert(ATPROTO_KEY.to_owned(), didkey::format_did_key(key));
    }

    /// Writes the JSON that a directory answers to `GET /{did}/data`.
    pub fn data_json(&self, did: &Did) -> Vec<u8> {
        #[derive(Serialize)]
        struct Data<'a> {
            did: &'a Did,
            #[serde(flatten)]
            state: &'a State,
        }
        // Structures with text keys written to memory: nothing that could fail.
        serde_json::to_vec(&Data { did, state: self }).unwrap_or_default()
    }

    /// Signs this as the operation that follows `prev`, or as the first one.
    ///
    /// The operation carries no time; the trusted time is asked for because nothing is signed without it.
    pub fn sign(self, prev: Option<Cid>, signer: &SigningKey, now: TrustedTime) -> Signed {
        operation::sign(self, prev, signer, now)
    }
}

/// Makes and signs the first operation of a new account; gives the DID that it makes.
///
/// `signer` must be one of `rotation_keys`. See [`State::for_account`] for the other arguments.
pub fn genesis(
    rotation_keys: &[PublicKey],
    signing_key: &PublicKey,
    handle: &Handle,
    pds_url: &str,
    signer: &SigningKey,
    now: TrustedTime,
) -> (Did, Signed) {
    let state = State::for_account(rotation_keys, signing_key, handle, pds_url);
    let signed = state.sign(None, signer, now);
    (signed.did(), signed)
}
