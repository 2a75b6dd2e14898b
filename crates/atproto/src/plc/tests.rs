//! Chains of operations as a directory meets them.

use proptest::prelude::*;

use super::*;
use crate::crypto::Curve;
use crate::did_doc::DidDocument;

const NOW_US: u64 = 1_795_401_296_789_123;
const HOUR_US: u64 = 3_600_000_000;

fn now() -> TrustedTime {
    platform::sim::trusted_clock(NOW_US).0.now().unwrap()
}

fn key(seed: u8) -> SigningKey {
    let curve = if seed.is_multiple_of(2) { Curve::K256 } else { Curve::P256 };
    SigningKey::from_bytes_on(curve, &[seed; 32]).unwrap()
}

fn handle(text: &str) -> Handle {
    Handle::parse(text).unwrap()
}

/// A DID whose rotation keys are 1, 2 and 3 in this order, made by key 3.
fn account() -> (Did, Signed) {
    let keys = [1, 2, 3].map(|seed| key(seed).public_key());
    genesis(&keys, &key(9).public_key(), &handle("alice.test"), "https://pds.test", &key(3), now())
}

fn entry(did: &Did, operation: Signed, created_at_us: u64) -> LogEntry {
    let created_at = platform::time::format_rfc3339_millis(created_at_us);
    LogEntry {
        did: did.clone(),
        cid: operation.cid().to_string(),
        operation,
        nullified: false,
        created_at: created_at.parse().unwrap(),
    }
}

fn next(prev: &Signed, name: &str, signer: u8) -> Signed {
    let mut state = prev.state().unwrap();
    state.set_handle(&handle(name));
    state.sign(Some(prev.cid()), &key(signer), now())
}

#[test]
fn makes_a_genesis_that_checks() {
    let (did, signed) = account();
    assert!(did.is_plc());
    signed.check_limits().unwrap();
    let state = check_log(&did, std::slice::from_ref(&signed)).unwrap().unwrap();
    assert_eq!(state.handle().unwrap(), "alice.test");
    assert_eq!(state.pds_endpoint(), Some("https://pds.test"));
    assert_eq!(state.atproto_key().unwrap(), key(9).public_key());
    assert_eq!(Signed::from_json(&signed.to_json()).unwrap(), signed);
    let text = String::from_utf8(signed.to_json()).unwrap();
    assert!(text.contains(r#""prev":null"#) && text.contains(r#""type":"plc_operation""#), "{text}");
}

#[test]
fn renders_the_document_as_the_directory_does() {
    let (did, signed) = account();
    let document = DidDocument::from_plc(&did, &signed.state().unwrap());
    let want = serde_json::json!({
        "@context": ["https://www.w3.org/ns/did/v1", "https://w3id.org/security/multikey/v1", "https://w3id.org/security/suites/ecdsa-2019/v1"],
        "id": did.as_str(),
        "alsoKnownAs": ["at://alice.test"],
        "verificationMethod": [{
            "id": format!("{did}#atproto"), "type": "Multikey", "controller": did.as_str(),
            "publicKeyMultibase": didkey::format_multikey(&key(9).public_key()),
        }],
        "service": [{ "id": "#atproto_pds", "type": "AtprotoPersonalDataServer", "serviceEndpoint": "https://pds.test" }],
    });
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&document.to_json()).unwrap(), want);
    assert_eq!(DidDocument::parse(&did, &document.to_json()).unwrap(), document);
    assert_eq!(document.atproto_key().unwrap(), key(9).public_key());
    let data: serde_json::Value = serde_json::from_slice(&signed.state().unwrap().data_json(&did)).unwrap();
    assert_eq!((&data["did"], &data["alsoKnownAs"][0]), (&did.as_str().into(), &"at://alice.test".into()));
    assert_eq!(data.as_object().unwrap().len(), 5);
}

#[test]
fn follows_a_chain_to_its_tombstone() {
    let (did, first) = account();
    let second = next(&first, "bob.test", 1);
    let last = sign_tombstone(second.cid(), &key(2), now());
    let log = [first.clone(), second.clone()];
    assert_eq!(check_log(&did, &log).unwrap().unwrap().handle().unwrap(), "bob.test");
    assert_eq!(check_log(&did, &[first.clone(), second.clone(), last.clone()]).unwrap(), None);
    let after = next(&second, "carol.test", 1);
    assert!(matches!(check_log(&did, &[first, second, last, after]), Err(PlcError::Misordered)));
}

#[test]
fn refuses_broken_chains() {
    let (did, first) = account();
    let second = next(&first, "bob.test", 1);
    let other = Did::parse("did:plc:ewvi7nxzyoun6zhxrhs64oiz").unwrap();
    assert!(matches!(check_log(&other, std::slice::from_ref(&first)), Err(PlcError::OtherDid { .. })));
    assert!(matches!(check_log(&did, &[]), Err(PlcError::NotGenesis)));
    assert!(matches!(check_log(&second.did(), std::slice::from_ref(&second)), Err(PlcError::NotGenesis)));
    let foreign = next(&first, "bob.test", 4);
    assert!(matches!(check_log(&did, &[first.clone(), foreign]), Err(PlcError::WrongSigner)));
    let third = next(&second, "carol.test", 1);
    assert!(matches!(check_log(&did, &[first.clone(), third]), Err(PlcError::Misordered)));
    let mut forged = second;
    if let Signed::Operation(operation) = &mut forged {
        operation.also_known_as = vec!["at://mallory.test".to_owned()];
    }
    assert!(matches!(check_log(&did, &[first, forged]), Err(PlcError::WrongSigner)));
}

#[test]
fn takes_an_operation_twice_only_as_a_fork() {
    let (did, first) = account();
    let second = next(&first, "bob.test", 2);
    let log = [entry(&did, first.clone(), NOW_US), entry(&did, second.clone(), NOW_US + HOUR_US)];
    // The same key cannot replace its own operation.
    assert!(matches!(check_next(&did, &log, &second, NOW_US + 2 * HOUR_US), Err(PlcError::WrongSigner)));
    assert!(check_next(&did, &log[..1], &second, NOW_US + 2 * HOUR_US).is_ok());
    assert!(matches!(check_next(&did, &log, &first, NOW_US + 2 * HOUR_US), Err(PlcError::Misordered)));
}

#[test]
fn lets_a_more_powerful_key_recover_within_72_hours() {
    let (did, first) = account();
    let stolen = next(&first, "mallory.test", 2);
    let stolen_again = next(&stolen, "mallory2.test", 2);
    let log = [
        entry(&did, first.clone(), NOW_US),
        entry(&did, stolen.clone(), NOW_US + HOUR_US),
        entry(&did, stolen_again.clone(), NOW_US + 2 * HOUR_US),
    ];
    let rescue = next(&first, "alice2.test", 1);
    let weaker = next(&first, "alice2.test", 3);
    let at = |us| check_next(&did, &log, &rescue, us);
    // Times in the log are cut to milliseconds.
    let edge_us = log[1].created_at_us() + RECOVERY_WINDOW_US;
    let accepted = at(edge_us).unwrap();
    assert_eq!(accepted.nullified, [stolen.cid(), stolen_again.cid()]);
    assert!(matches!(at(edge_us + 1), Err(PlcError::TooLate { hours: 72 })));
    assert!(matches!(at(NOW_US + HOUR_US), Err(PlcError::Misordered)));
    assert!(matches!(check_next(&did, &log, &weaker, NOW_US + 3 * HOUR_US), Err(PlcError::WrongSigner)));

    let mut audit = log.to_vec();
    audit.push(entry(&did, rescue, NOW_US + 3 * HOUR_US));
    assert!(matches!(check_audit_log(&did, &audit), Err(PlcError::BadEntry { .. })));
    audit[1].nullified = true;
    audit[2].nullified = true;
    let state = check_audit_log(&did, &audit).unwrap().unwrap();
    assert_eq!(state.handle().unwrap(), "alice2.test");
    audit[3].cid = stolen.cid().to_string();
    assert!(matches!(check_audit_log(&did, &audit), Err(PlcError::BadEntry { index: 3 })));
}

#[test]
fn enforces_the_directorys_limits() {
    let refused = |change: fn(&mut State)| {
        let mut state = account().1.state().unwrap();
        change(&mut state);
        state.sign(None, &key(3), now()).check_limits().unwrap_err()
    };
    let limit = |change: fn(&mut State)| assert!(matches!(refused(change), PlcError::Limit(_)));
    limit(|state| state.also_known_as = (0..11).map(|n| format!("at://a{n}.test")).collect());
    limit(|state| state.also_known_as = vec!["at://a.test".to_owned(); 2]);
    limit(|state| state.also_known_as = vec!["a".repeat(259)]);
    limit(|state| state.rotation_keys = vec![state.rotation_keys[0].clone(); 11]);
    limit(|state| state.also_known_as = vec!["x".repeat(4000)]);
    limit(|state| {
        let service = state.services.remove("atproto_pds").unwrap();
        state.services.insert("s".repeat(33), service);
    });
    limit(|state| state.set_pds(&"u".repeat(513)));
    limit(|state| {
        for n in 0..11 {
            state.verification_methods.insert(n.to_string(), state.rotation_keys[0].clone());
        }
    });
    assert!(matches!(
        refused(|state| state.rotation_keys.push("did:key:z1".to_owned())),
        PlcError::RotationKey { index: 3 }
    ));
    assert!(matches!(
        refused(|state| {
            state.verification_methods.insert("x".to_owned(), "did:web:x".to_owned());
        }),
        PlcError::VerificationKey
    ));
}

#[test]
fn refuses_json_that_would_hash_otherwise() {
    let text = String::from_utf8(account().1.to_json()).unwrap();
    for (from, to) in [
        (r#""prev":null,"#, ""),
        (r#""prev":null"#, r#""prev":null,"more":1"#),
        (r#""prev":null"#, r#""prev":null,"prev":null"#),
        (r#""plc_operation""#, r#""plc_other""#),
        (r#""endpoint""#, r#""more":"1","endpoint""#),
    ] {
        let changed = text.replacen(from, to, 1);
        assert_ne!(changed, text);
        assert!(matches!(Signed::from_json(changed.as_bytes()), Err(PlcError::Malformed(_))), "{changed}");
    }
}

#[test]
fn follows_logs_that_begin_in_the_old_form() {
    let mut create = Signed::Create(LegacyCreate {
        signing_key: key(2).public_key().to_did_key(),
        recovery_key: key(1).public_key().to_did_key(),
        handle: "alice.test".to_owned(),
        service: "pds.test".to_owned(),
        prev: None,
        sig: String::new(),
    });
    let sig = data_encoding::BASE64URL_NOPAD.encode(&key(2).sign(&create.signing_bytes()));
    if let Signed::Create(fields) = &mut create {
        fields.sig = sig;
    }
    let did = create.did();
    let second = next(&create, "bob.test", 1);
    let state = check_log(&did, &[create.clone(), second]).unwrap().unwrap();
    assert_eq!(state.pds_endpoint(), Some("https://pds.test"));
    assert_eq!(state.rotation_keys, [key(1), key(2)].map(|key| key.public_key().to_did_key()));
    assert!(matches!(create.check_limits(), Err(PlcError::Limit(_))));
}

proptest! {
    #[test]
    fn mutated_json_never_panics(at in 0usize..900, with in any::<u8>()) {
        let (did, signed) = account();
        let mut text = signed.to_json();
        let at = at % text.len();
        text[at] = with;
        if let Ok(other) = Signed::from_json(&text) {
            let _all = (other.check_limits(), other.prev());
            prop_assert_eq!(check_log(&did, std::slice::from_ref(&other)).is_ok(), other == signed);
        }
    }
}
