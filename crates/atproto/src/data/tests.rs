//! Interoperability fixtures and properties of the data model.

use proptest::prelude::*;

use super::*;
use crate::cbor::Map;
use crate::vectors;

fn json(text: &str) -> Result<Value, DataError> {
    json_to_value(text.as_bytes())
}

fn to_text(value: &Value) -> String {
    let mut out = Vec::new();
    value_to_json(value, &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn passes_the_interop_fixtures() {
    let Some(text) = vectors::read("interop/data-model/data-model-fixtures.json") else { return };
    let fixtures: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    assert_eq!(fixtures.len(), 3);
    for fixture in fixtures {
        let bytes = json_to_cbor(fixture["json"].to_string().as_bytes()).unwrap();
        let want = fixture["cbor_base64"].as_str().unwrap();
        assert_eq!(data_encoding::BASE64_NOPAD.encode(&bytes), want);
        assert_eq!(Cid::for_dag_cbor(&bytes).to_string(), fixture["cid"].as_str().unwrap());
        let mut out = Vec::new();
        cbor_to_json(&bytes, &mut out).unwrap();
        assert_eq!(serde_json::from_slice::<serde_json::Value>(&out).unwrap(), fixture["json"]);
        assert_eq!(out, to_text(&cbor::decode(&bytes).unwrap()).into_bytes());
    }
}

#[test]
fn passes_the_interop_valid_and_invalid_files() {
    for (file, want_valid, count) in [("valid", true, 5), ("invalid", false, 12)] {
        let Some(text) = vectors::read(&format!("interop/data-model/data-model-{file}.json")) else {
            continue;
        };
        let cases: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
        assert_eq!(cases.len(), count);
        for case in cases {
            let result = json(&case["json"].to_string());
            assert_eq!(result.is_ok(), want_valid, "{}: {result:?}", case["note"]);
        }
    }
}

#[test]
fn passes_the_lexicon_records_that_are_of_the_data_model() {
    let Some(text) = vectors::read("interop/lexicon/record-data-valid.json") else { return };
    let cases: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    for case in cases {
        json(&case["data"].to_string()).unwrap();
    }
}

#[test]
fn names_each_fault() {
    let big = format!("{{\"a\":{}}}", "[".repeat(200) + &"]".repeat(200));
    let many = format!("{{\"a\":[{}1]}}", "1,".repeat(cbor::ITEMS_MAX));
    type Case<'a> = (&'a str, fn(&DataError) -> bool);
    let cases: [Case<'_>; 23] = [
        ("{\"a\":1", |e| matches!(e, DataError::Json(_))),
        ("{} x", |e| matches!(e, DataError::Json(_))),
        ("", |e| matches!(e, DataError::Json(_))),
        ("{\"a\":\"\\ud800\"}", |e| matches!(e, DataError::Json(_))),
        ("[]", |e| matches!(e, DataError::NotObject)),
        ("12", |e| matches!(e, DataError::NotObject)),
        ("{\"$link\":\"bafkreiccldh766hwcnuxnf2wh6jgzepf2nlu2lvcllt63eww5p6chi4ity\"}", |e| {
            matches!(e, DataError::BadLink)
        }),
        ("{\"$bytes\":\"aa\"}", |e| matches!(e, DataError::BadBytes)),
        ("{\"a\":1.5}", |e| matches!(e, DataError::Float)),
        ("{\"a\":1e400}", |e| matches!(e, DataError::Json(_))),
        ("{\"a\":9007199254740992}", |e| matches!(e, DataError::IntegerRange)),
        ("{\"a\":-9007199254740992}", |e| matches!(e, DataError::IntegerRange)),
        ("{\"a\":18446744073709551615}", |e| matches!(e, DataError::IntegerRange)),
        ("{\"a\":9007199254740991.0}", |e| matches!(e, DataError::IntegerRange)),
        ("{\"a\":1e300}", |e| matches!(e, DataError::IntegerRange)),
        ("{\"a\":1,\"b\":2,\"a\":3}", |e| matches!(e, DataError::DuplicateKey)),
        ("{\"a\":1,\"\\u0061\":3}", |e| matches!(e, DataError::DuplicateKey)),
        ("{\"x\":{\"$type\":\"\"}}", |e| matches!(e, DataError::BadType)),
        ("{\"x\":{\"$link\":\"bafy\"}}", |e| matches!(e, DataError::BadLink)),
        ("{\"x\":{\"$bytes\":\"*\"}}", |e| matches!(e, DataError::BadBytes)),
        ("{\"x\":{\"$type\":\"blob\"}}", |e| matches!(e, DataError::BadBlob)),
        (&big, |e| matches!(e, DataError::TooDeep)),
        (&many, |e| matches!(e, DataError::TooManyItems)),
    ];
    for (text, is_expected) in cases {
        let error = json(text).unwrap_err();
        assert!(is_expected(&error), "{text:.80}: {error:?}");
    }
}

#[test]
fn takes_whole_numbers_however_written() {
    for (text, int) in [
        ("1.0", 1),
        ("-0", 0),
        ("-0.0", 0),
        ("1e3", 1000),
        ("9007199254740991", INTEGER_MAX),
        ("-1125899906842624.0", -(1 << 50)),
        ("-9007199254740991", -INTEGER_MAX),
    ] {
        let value = json(&format!("{{\"a\":{text}}}")).unwrap();
        assert_eq!(value.as_map().unwrap().get("a").unwrap().as_int(), Some(int));
    }
}

#[test]
fn settles_the_type_of_a_record() {
    let collection = Nsid::parse("app.bsky.feed.post").unwrap();
    let record = |text: &str| record_to_cbor(text.as_bytes(), &collection);
    let with = record(r#"{"$type":"app.bsky.feed.post","text":"hi"}"#).unwrap();
    let without = record(r#"{"text":"hi"}"#).unwrap();
    assert_eq!(with, without);
    assert_eq!(with.cid, Cid::for_dag_cbor(&with.bytes));
    assert!(matches!(record(r#"{"$type":"app.bsky.feed.like"}"#), Err(DataError::OtherType { .. })));
    assert!(matches!(record(r#"{"$type":7}"#), Err(DataError::BadType)));
    let large = format!("{{\"text\":\"{}\"}}", "x".repeat(RECORD_BYTES_MAX));
    assert!(matches!(record(&large), Err(DataError::TooLarge { .. })));
}

#[test]
fn collects_blobs_of_both_forms_once() {
    const CID: &str = "bafkreiccldh766hwcnuxnf2wh6jgzepf2nlu2lvcllt63eww5p6chi4ity";
    let typed = format!(r#"{{"$type":"blob","ref":{{"$link":"{CID}"}},"mimeType":"image/png","size":5}}"#);
    let legacy = format!(r#"{{"mimeType":"image/png","cid":"{CID}"}}"#);
    let text = format!(r#"{{"a":[{typed},{{"b":{typed}}}],"c":{legacy},"d":{{"cid":"x","mimeType":"y"}}}}"#);
    let record = record_to_cbor(text.as_bytes(), &Nsid::parse("a.b.c").unwrap()).unwrap();
    let cid = Cid::parse(CID).unwrap();
    let want = [None, Some(5)].map(|size| BlobRef { cid, mime: "image/png".to_owned(), size });
    assert_eq!(record.blobs, want);
    assert_eq!(blob_refs(&cbor::decode(&record.bytes).unwrap()), want);
    assert!(want[0].is_legacy());
    let five_keys = format!(r#"{{"x":{}}}"#, typed.replace("\"size\"", "\"more\":1,\"size\""));
    assert!(matches!(json(&five_keys), Err(DataError::BadBlob)));
    let negative = format!(r#"{{"x":{}}}"#, typed.replace(":5", ":-5"));
    assert!(matches!(json(&negative), Err(DataError::BadBlob)));
}

#[test]
fn leaves_the_buffer_alone_when_bytes_are_bad() {
    let mut out = b"before".to_vec();
    assert!(cbor_to_json(&[0x82, 0x01], &mut out).is_err());
    assert!(cbor_to_json(&[0x81; 300], &mut out).is_err());
    assert!(cbor_to_json(&[], &mut out).is_err());
    assert!(cbor_to_json(&[0x01, 0x01], &mut out).is_err());
    assert_eq!(out, b"before");
}

/// Values that survive the way through JSON: no keys that JSON gives a meaning.
fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        (-INTEGER_MAX..=INTEGER_MAX).prop_map(Value::Int),
        any::<String>().prop_map(Value::Text),
        any::<Vec<u8>>().prop_map(Value::Bytes),
        any::<[u8; 4]>().prop_map(|bytes| Value::Link(Cid::for_raw(&bytes))),
    ];
    leaf.prop_recursive(5, 60, 30, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..30).prop_map(Value::List),
            prop::collection::btree_map("[a-z]{0,12}", inner, 0..30).prop_map(map_of),
        ]
    })
}

fn map_of(entries: std::collections::BTreeMap<String, Value>) -> Value {
    Value::Map(Map::from_entries(entries.into_iter().collect()).unwrap())
}

proptest! {
    #[test]
    fn round_trips(entries in prop::collection::btree_map("[a-z]{0,30}", values(), 0..40)) {
        let value = map_of(entries);
        let text = to_text(&value);
        let bytes = json_to_cbor(text.as_bytes()).unwrap();
        prop_assert_eq!(&cbor::decode(&bytes).unwrap(), &value);
        prop_assert_eq!(bytes, cbor::encode(&value));
        let parsed: serde_json::Value = serde_json::from_str(&text).unwrap();
        prop_assert!(parsed.is_object());
    }

    #[test]
    fn order_of_keys_does_not_matter(keys in prop::collection::hash_set("[a-z$]{0,30}", 0..60)) {
        let write = |keys: Vec<&String>| {
            let entries: Vec<String> = keys.iter().map(|key| format!("\"{key}\":\"{key}x\"")).collect();
            json_to_cbor(format!("{{{}}}", entries.join(",")).as_bytes()).unwrap()
        };
        let mut ordered: Vec<&String> = keys.iter().collect();
        let as_they_come = write(ordered.clone());
        ordered.sort();
        prop_assert_eq!(write(ordered), as_they_come.clone());
        prop_assert!(cbor::check(&as_they_come).is_ok());
    }

    #[test]
    fn arbitrary_input_never_panics(bytes in any::<Vec<u8>>()) {
        let _all = (json_to_value(&bytes), cbor_to_json(&bytes, &mut Vec::new()));
    }

    #[test]
    fn mutated_json_never_panics_and_stays_canonical(at in 0usize..300, with in any::<u8>()) {
        let mut text = br#"{"b":{"$type":"blob","ref":{"$link":"bafkreiccldh766hwcnuxnf2wh6jgzepf2nlu2lvcllt63eww5p6chi4ity"},"mimeType":"image/png","size":5},"a":[1,-2,{"$bytes":"AAEC"},null,true]}"#.to_vec();
        let at = at % text.len();
        text[at] = with;
        if let Ok(bytes) = json_to_cbor(&text) {
            prop_assert!(cbor::check(&bytes).is_ok());
        }
    }
}
