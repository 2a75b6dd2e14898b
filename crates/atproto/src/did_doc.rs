//! DID documents: reading those of others and writing those of PLC.
//!
//! Reading takes what the protocol needs and overlooks the rest; nothing here fetches. Source: W3C DID Core and the
//! atproto specification "DID", section "DID documents".

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value as Json;

use crate::crypto::{Curve, PublicKey};
use crate::didkey;
use crate::plc::State;
use crate::syntax::{Did, Handle};

/// Longest service endpoint that is followed, in characters; the PLC directory allows 512.
const ENDPOINT_CHARS_MAX: usize = 1024;

/// What a DID says about its keys, names and services.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DidDocument {
    /// JSON-LD contexts; written for others, never read.
    #[serde(rename = "@context", default, skip_serializing_if = "Json::is_null")]
    pub context: Json,
    /// The DID itself.
    pub id: Did,
    /// Names, handles as `at://handle`.
    #[serde(default, deserialize_with = "lenient")]
    pub also_known_as: Vec<String>,
    /// Keys.
    #[serde(default, deserialize_with = "lenient")]
    pub verification_method: Vec<VerificationMethod>,
    /// Services.
    #[serde(default, deserialize_with = "lenient")]
    pub service: Vec<DocumentService>,
}

/// A key in a DID document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VerificationMethod {
    /// `did#name` or `#name`.
    pub id: String,
    /// How the key is written, such as `Multikey`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whose key it is.
    #[serde(default)]
    pub controller: String,
    /// The key, if it is written in multibase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key_multibase: Option<String>,
}

/// A service in a DID document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DocumentService {
    /// `did#name` or `#name`.
    pub id: String,
    /// What it is, such as `AtprotoPersonalDataServer`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Where it is. Endpoints that are not a text are not of atproto and are overlooked.
    pub service_endpoint: String,
}

/// Reads a list and overlooks elements of other shapes: other methods put other things there.
fn lenient<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: for<'a> Deserialize<'a>,
{
    let list: Vec<Json> = Option::deserialize(deserializer)?.unwrap_or_default();
    Ok(list.into_iter().filter_map(|item| T::deserialize(item).ok()).collect())
}

/// Says why a document is of no use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DidDocumentError {
    /// The text is not a DID document in JSON.
    #[error("not a DID document")]
    Malformed(#[source] serde_json::Error),
    /// The document is about another DID.
    #[error("the document is about {found}")]
    OtherDid {
        /// The DID that it is about.
        found: Did,
    },
}

impl DidDocument {
    /// Reads the document of `did`. The caller bounds its size.
    pub fn parse(did: &Did, json: &[u8]) -> Result<Self, DidDocumentError> {
        let document: Self = serde_json::from_slice(json).map_err(DidDocumentError::Malformed)?;
        if document.id == *did {
            Ok(document)
        } else {
            Err(DidDocumentError::OtherDid { found: document.id })
        }
    }

    /// Writes what a PLC operation says as a document, with keys as `Multikey`.
    pub fn from_plc(did: &Did, state: &State) -> Self {
        let mut context = vec!["https://www.w3.org/ns/did/v1", "https://w3id.org/security/multikey/v1"];
        for key in state.verification_methods.values() {
            let suite = match didkey::parse_did_key(key).map(|key| key.curve()) {
                Ok(Curve::K256) => "https://w3id.org/security/suites/secp256k1-2019/v1",
                Ok(Curve::P256) => "https://w3id.org/security/suites/ecdsa-2019/v1",
                Err(_) => continue,
            };
            if !context.contains(&suite) {
                context.push(suite);
            }
        }
        let method = |(id, key): (&String, &String)| VerificationMethod {
            id: format!("{did}#{id}"),
            kind: "Multikey".to_owned(),
            controller: did.to_string(),
            public_key_multibase: Some(key.trim_start_matches("did:key:").to_owned()),
        };
        let services = state.services.iter().map(|(id, service)| DocumentService {
            id: format!("#{id}"),
            kind: service.kind.clone(),
            service_endpoint: service.endpoint.clone(),
        });
        Self {
            context: context.into(),
            id: did.clone(),
            also_known_as: state.also_known_as.clone(),
            verification_method: state.verification_methods.iter().map(method).collect(),
            service: services.collect(),
        }
    }

    /// Writes the document as JSON.
    pub fn to_json(&self) -> Vec<u8> {
        // Structures with text keys written to memory: nothing that could fail.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Gives the first well-formed handle. It counts only if it resolves back to this DID.
    pub fn handle(&self) -> Option<Handle> {
        self.also_known_as.iter().find_map(|name| Handle::parse(name.strip_prefix("at://")?).ok())
    }

    /// Gives the key that signs the repository and service tokens (`#atproto`).
    pub fn atproto_key(&self) -> Option<PublicKey> {
        self.key("atproto")
    }

    /// Gives the key of a name. The first entry of that name counts, as in the reference.
    pub fn key(&self, name: &str) -> Option<PublicKey> {
        let method = self.verification_method.iter().find(|method| self.is_named(&method.id, name))?;
        let text = method.public_key_multibase.as_deref()?;
        match method.kind.as_str() {
            "Multikey" => didkey::parse_multikey(text),
            "EcdsaSecp256k1VerificationKey2019" => didkey::parse_legacy_multibase(Curve::K256, text),
            "EcdsaSecp256r1VerificationKey2019" => didkey::parse_legacy_multibase(Curve::P256, text),
            _ => return None,
        }
        .ok()
    }

    /// Gives the endpoint of the server that holds the repository, without a slash at the end.
    pub fn pds_endpoint(&self) -> Option<&str> {
        self.endpoint("atproto_pds", Some("AtprotoPersonalDataServer"))
    }

    /// Gives the endpoint of a service by name and, if given, type; only `http` and `https` addresses.
    pub fn endpoint(&self, name: &str, kind: Option<&str>) -> Option<&str> {
        let service = self.service.iter().find(|service| {
            self.is_named(&service.id, name) && kind.is_none_or(|kind| service.kind == kind)
        })?;
        let endpoint = service.service_endpoint.trim_end_matches('/');
        let host = endpoint.strip_prefix("https://").or_else(|| endpoint.strip_prefix("http://"))?;
        (!host.is_empty() && endpoint.len() <= ENDPOINT_CHARS_MAX).then_some(endpoint)
    }

    /// Says whether `id` is `#name` or `did#name`.
    fn is_named(&self, id: &str, name: &str) -> bool {
        let Some((before, after)) = id.split_once('#') else { return false };
        after == name && (before.is_empty() || before == self.id.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "zQ3shqwJEJyMBsBXCWyCBpUBMqxcon9oHB7mCvx4sSpMdLJwc";

    fn document(methods: &str, services: &str) -> DidDocument {
        let text = format!(
            r##"{{"@context":["x",{{}}],"id":"did:plc:asdf123","alsoKnownAs":["http://x",3,"at://Alice.test"],"verificationMethod":{methods},"service":{services},"other":1}}"##
        );
        DidDocument::parse(&Did::parse("did:plc:asdf123").unwrap(), text.as_bytes()).unwrap()
    }

    #[test]
    fn finds_key_handle_and_server() {
        let methods = format!(
            r##"[{{"id":"did:plc:other#atproto","type":"Multikey","publicKeyMultibase":"z1"}},{{"id":"#atproto","type":"Multikey","controller":"c","publicKeyMultibase":"{KEY}"}}]"##
        );
        let services = r##"[{"id":"#x","type":"y","serviceEndpoint":{"uri":"z"}},{"id":"did:plc:asdf123#atproto_pds","type":"AtprotoPersonalDataServer","serviceEndpoint":"https://pds.example.com/"}]"##;
        let document = document(&methods, services);
        assert_eq!(document.atproto_key().unwrap(), didkey::parse_multikey(KEY).unwrap());
        assert_eq!(document.handle().unwrap(), "alice.test");
        assert_eq!(document.pds_endpoint(), Some("https://pds.example.com"));
    }

    #[test]
    fn reads_keys_of_the_older_kinds() {
        let methods = r##"[{"id":"#atproto","type":"EcdsaSecp256k1VerificationKey2019","publicKeyMultibase":"z25z9DTpsiYYJKGsWmSPJK2NFN8PcJtZig12K59UgW7q5t"}]"##;
        assert_eq!(document(methods, "null").atproto_key().unwrap(), didkey::parse_multikey(KEY).unwrap());
    }

    #[test]
    fn overlooks_what_is_of_no_use() {
        let services =
            r##"[{"id":"#atproto_pds","type":"AtprotoPersonalDataServer","serviceEndpoint":"ftp://x"}]"##;
        let document = document(r##"[{"id":"#atproto","type":"JsonWebKey2020"}]"##, services);
        assert!(document.atproto_key().is_none() && document.pds_endpoint().is_none());
    }

    #[test]
    fn refuses_the_document_of_another() {
        let did = Did::parse("did:plc:other").unwrap();
        assert!(matches!(
            DidDocument::parse(&did, br#"{"id":"did:plc:asdf123"}"#),
            Err(DidDocumentError::OtherDid { .. })
        ));
        assert!(matches!(DidDocument::parse(&did, b"[]"), Err(DidDocumentError::Malformed(_))));
    }
}
