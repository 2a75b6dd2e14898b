//! The three kinds of operation, their encodings, hashes and signatures.

use std::collections::{BTreeMap, HashSet};

use data_encoding::{BASE32_NOPAD, BASE64URL_NOPAD};
use platform::time::TrustedTime;
use serde::{Deserialize, Deserializer, Serialize};

use super::{
    ALSO_KNOWN_AS_CHARS_MAX, ALSO_KNOWN_AS_MAX, ATPROTO_KEY, DID_KEY_CHARS_MAX, ID_CHARS_MAX,
    OPERATION_BYTES_MAX, PDS_SERVICE, PDS_SERVICE_TYPE, PlcError, ROTATION_KEYS_MAX,
    SERVICE_ENDPOINT_CHARS_MAX, SERVICE_TYPE_CHARS_MAX, SERVICES_MAX, State, VERIFICATION_METHODS_MAX,
};
use crate::cbor::{self, Map, Value};
use crate::cid::Cid;
use crate::crypto::SigningKey;
use crate::didkey;
use crate::syntax::Did;

/// Characters of the hash that a DID keeps.
const DID_HASH_CHARS: usize = 24;

/// An endpoint that a DID names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// What it is, such as `AtprotoPersonalDataServer`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Where it is, a URL.
    pub endpoint: String,
}

/// An operation with its signature; JSON as the directory speaks it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum Signed {
    /// Creates a DID or changes what it says.
    #[serde(rename = "plc_operation")]
    Operation(Operation),
    /// Ends a DID.
    #[serde(rename = "plc_tombstone")]
    Tombstone(Tombstone),
    /// Creates a DID, as it was written before 2023; only found at the start of old logs.
    #[serde(rename = "create")]
    Create(LegacyCreate),
}

/// Fields of a `plc_operation`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Operation {
    /// Keys that may sign the next operation, the most powerful first.
    pub rotation_keys: Vec<String>,
    /// Keys by name.
    pub verification_methods: BTreeMap<String, String>,
    /// Names.
    pub also_known_as: Vec<String>,
    /// Services by name.
    pub services: BTreeMap<String, Service>,
    /// CID of the operation before, as text; none in the first.
    #[serde(deserialize_with = "required")]
    pub prev: Option<String>,
    /// Signature in base64url without padding.
    pub sig: String,
}

/// Fields of a `plc_tombstone`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tombstone {
    /// CID of the operation before, as text.
    pub prev: String,
    /// Signature in base64url without padding.
    pub sig: String,
}

/// Fields of a `create`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LegacyCreate {
    /// Key of the repository, also a rotation key.
    pub signing_key: String,
    /// The more powerful rotation key.
    pub recovery_key: String,
    /// Handle with or without `at://`.
    pub handle: String,
    /// Server with or without `https://`.
    pub service: String,
    /// Always none.
    #[serde(deserialize_with = "required")]
    pub prev: Option<String>,
    /// Signature in base64url without padding.
    pub sig: String,
}

/// Reads a field that may be null but not absent: an absent one would give other bytes to sign.
fn required<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Option::deserialize(deserializer)
}

/// Signs a state as the operation after `prev`.
pub(super) fn sign(state: State, prev: Option<Cid>, signer: &SigningKey, _now: TrustedTime) -> Signed {
    let mut signed = Signed::Operation(Operation {
        rotation_keys: state.rotation_keys,
        verification_methods: state.verification_methods,
        also_known_as: state.also_known_as,
        services: state.services,
        prev: prev.map(|prev| prev.to_string()),
        sig: String::new(),
    });
    signed.set_signature(signer);
    signed
}

/// Signs the end of a DID. There is no way back after 72 hours.
pub fn sign_tombstone(prev: Cid, signer: &SigningKey, _now: TrustedTime) -> Signed {
    let mut signed = Signed::Tombstone(Tombstone { prev: prev.to_string(), sig: String::new() });
    signed.set_signature(signer);
    signed
}

impl Signed {
    /// Reads an operation from JSON. Fields that no operation has are refused.
    pub fn from_json(json: &[u8]) -> Result<Self, PlcError> {
        serde_json::from_slice(json).map_err(PlcError::Malformed)
    }

    /// Writes the operation as JSON.
    pub fn to_json(&self) -> Vec<u8> {
        // Maps with text keys written to memory: nothing that could fail.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Gives the signed bytes: DAG-CBOR of all fields.
    pub fn to_cbor(&self) -> Vec<u8> {
        cbor::encode(&self.value(true).into())
    }

    /// Gives the bytes that the signature is over: DAG-CBOR of all fields but `sig`.
    pub fn signing_bytes(&self) -> Vec<u8> {
        cbor::encode(&self.value(false).into())
    }

    /// Gives the name by which the next operation refers to this one.
    pub fn cid(&self) -> Cid {
        Cid::for_dag_cbor(&self.to_cbor())
    }

    /// Gives the DID that this makes as a first operation.
    pub fn did(&self) -> Did {
        let mut hash = BASE32_NOPAD.encode(self.cid().digest()).to_ascii_lowercase();
        hash.truncate(DID_HASH_CHARS);
        #[expect(clippy::expect_used, reason = "24 characters of base32 after did:plc: are a DID")]
        Did::parse(&format!("did:plc:{hash}")).expect("a base32 hash makes a DID")
    }

    /// Gives the CID of the operation before.
    pub fn prev(&self) -> Result<Option<Cid>, PlcError> {
        let text = match self {
            Self::Operation(operation) => operation.prev.as_deref(),
            Self::Tombstone(tombstone) => Some(tombstone.prev.as_str()),
            Self::Create(create) => create.prev.as_deref(),
        };
        text.map(Cid::parse).transpose().map_err(PlcError::Prev)
    }

    /// Gives what the DID says after this operation; none after a tombstone.
    pub fn state(&self) -> Option<State> {
        match self {
            Self::Operation(operation) => Some(State {
                rotation_keys: operation.rotation_keys.clone(),
                verification_methods: operation.verification_methods.clone(),
                also_known_as: operation.also_known_as.clone(),
                services: operation.services.clone(),
            }),
            Self::Tombstone(_) => None,
            Self::Create(create) => {
                let service =
                    Service { kind: PDS_SERVICE_TYPE.to_owned(), endpoint: with_scheme(&create.service) };
                Some(State {
                    rotation_keys: vec![create.recovery_key.clone(), create.signing_key.clone()],
                    verification_methods: BTreeMap::from([(
                        ATPROTO_KEY.to_owned(),
                        create.signing_key.clone(),
                    )]),
                    also_known_as: vec![as_name(&create.handle)],
                    services: BTreeMap::from([(PDS_SERVICE.to_owned(), service)]),
                })
            }
        }
    }

    /// Gives the signature's text.
    pub fn sig(&self) -> &str {
        match self {
            Self::Operation(operation) => &operation.sig,
            Self::Tombstone(tombstone) => &tombstone.sig,
            Self::Create(create) => &create.sig,
        }
    }

    /// Finds which of the keys (`did:key` texts) signed this; gives its place in the list.
    ///
    /// Keys that are not of the two curves cannot have signed.
    pub fn signer(&self, keys: &[String]) -> Result<usize, PlcError> {
        let signature = BASE64URL_NOPAD.decode(self.sig().as_bytes()).map_err(|_| PlcError::SignatureText)?;
        let message = self.signing_bytes();
        let signed_by = |key: &String| {
            didkey::parse_did_key(key).is_ok_and(|key| key.verify(&message, &signature).is_ok())
        };
        keys.iter().position(signed_by).ok_or(PlcError::WrongSigner)
    }

    /// Checks the limits that the reference directory sets for operations that come in.
    pub fn check_limits(&self) -> Result<(), PlcError> {
        if self.to_cbor().len() > OPERATION_BYTES_MAX {
            return Err(PlcError::Limit("larger than 4000 bytes"));
        }
        let operation = match self {
            Self::Operation(operation) => operation,
            Self::Tombstone(_) => return Ok(()),
            Self::Create(_) => return Err(PlcError::Limit("the kind \"create\" is no longer accepted")),
        };
        check_names(&operation.also_known_as)?;
        if operation.rotation_keys.len() > ROTATION_KEYS_MAX {
            return Err(PlcError::Limit("more than 10 rotation keys"));
        }
        for (index, key) in operation.rotation_keys.iter().enumerate() {
            didkey::parse_did_key(key).map_err(|_| PlcError::RotationKey { index })?;
        }
        check_services(&operation.services)?;
        check_verification_methods(&operation.verification_methods)
    }

    fn set_signature(&mut self, signer: &SigningKey) {
        let text = BASE64URL_NOPAD.encode(&signer.sign(&self.signing_bytes()));
        match self {
            Self::Operation(operation) => operation.sig = text,
            Self::Tombstone(tombstone) => tombstone.sig = text,
            Self::Create(create) => create.sig = text,
        }
    }

    fn value(&self, with_sig: bool) -> Map {
        let mut map = Map::new();
        match self {
            Self::Operation(operation) => {
                let services = operation.services.iter().map(|(id, service)| {
                    let mut map = Map::new();
                    map.insert("type", service.kind.as_str());
                    map.insert("endpoint", service.endpoint.as_str());
                    (id, map.into())
                });
                let methods = operation.verification_methods.iter();
                map.insert("type", "plc_operation");
                map.insert("rotationKeys", texts(&operation.rotation_keys));
                map.insert("verificationMethods", map_of(methods.map(|(id, key)| (id, key.as_str().into()))));
                map.insert("alsoKnownAs", texts(&operation.also_known_as));
                map.insert("services", map_of(services));
                map.insert("prev", text_or_null(operation.prev.as_deref()));
            }
            Self::Tombstone(tombstone) => {
                map.insert("type", "plc_tombstone");
                map.insert("prev", tombstone.prev.as_str());
            }
            Self::Create(create) => {
                map.insert("type", "create");
                map.insert("signingKey", create.signing_key.as_str());
                map.insert("recoveryKey", create.recovery_key.as_str());
                map.insert("handle", create.handle.as_str());
                map.insert("service", create.service.as_str());
                map.insert("prev", text_or_null(create.prev.as_deref()));
            }
        }
        if with_sig {
            map.insert("sig", self.sig());
        }
        map
    }
}

fn texts(list: &[String]) -> Vec<Value> {
    list.iter().map(|text| text.as_str().into()).collect()
}

fn map_of<'a>(entries: impl Iterator<Item = (&'a String, Value)>) -> Map {
    let mut map = Map::new();
    for (key, value) in entries {
        map.insert(key.as_str(), value);
    }
    map
}

fn text_or_null(text: Option<&str>) -> Value {
    text.map_or(Value::Null, Value::from)
}

/// Puts `https://` before a server that has no scheme, as old operations wrote them.
fn with_scheme(server: &str) -> String {
    if server.starts_with("http://") || server.starts_with("https://") {
        server.to_owned()
    } else {
        format!("https://{server}")
    }
}

/// Puts `at://` before a handle, as old operations wrote them.
fn as_name(handle: &str) -> String {
    if handle.starts_with("at://") {
        return handle.to_owned();
    }
    format!("at://{}", handle.replacen("http://", "", 1).replacen("https://", "", 1))
}

fn check_names(names: &[String]) -> Result<(), PlcError> {
    if names.len() > ALSO_KNOWN_AS_MAX {
        return Err(PlcError::Limit("more than 10 names"));
    }
    if names.iter().any(|name| name.len() > ALSO_KNOWN_AS_CHARS_MAX) {
        return Err(PlcError::Limit("a name is longer than 258 characters"));
    }
    let distinct: HashSet<&String> = names.iter().collect();
    if distinct.len() < names.len() {
        return Err(PlcError::Limit("a name comes twice"));
    }
    Ok(())
}

fn check_services(services: &BTreeMap<String, Service>) -> Result<(), PlcError> {
    if services.len() > SERVICES_MAX {
        return Err(PlcError::Limit("more than 10 services"));
    }
    for (id, service) in services {
        if id.len() > ID_CHARS_MAX {
            return Err(PlcError::Limit("a service's name is longer than 32 characters"));
        }
        if service.kind.len() > SERVICE_TYPE_CHARS_MAX {
            return Err(PlcError::Limit("a service's type is longer than 256 characters"));
        }
        if service.endpoint.len() > SERVICE_ENDPOINT_CHARS_MAX {
            return Err(PlcError::Limit("a service's endpoint is longer than 512 characters"));
        }
    }
    Ok(())
}

fn check_verification_methods(methods: &BTreeMap<String, String>) -> Result<(), PlcError> {
    if methods.len() > VERIFICATION_METHODS_MAX {
        return Err(PlcError::Limit("more than 10 verification methods"));
    }
    for (id, key) in methods {
        if id.len() > ID_CHARS_MAX {
            return Err(PlcError::Limit("a verification method's name is longer than 32 characters"));
        }
        if key.len() > DID_KEY_CHARS_MAX {
            return Err(PlcError::Limit("a verification method's key is longer than 256 characters"));
        }
        if !didkey::is_did_key_of_any_kind(key) {
            return Err(PlcError::VerificationKey);
        }
    }
    Ok(())
}
