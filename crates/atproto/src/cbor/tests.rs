//! The codec against what is not canonical, against its oracle, and against the public blocks.

use super::*;
use crate::cid::Cid;
use crate::vectors::read;
use ipld_core::ipld::Ipld;
use proptest::prelude::*;

fn malformed(bytes: &[u8]) -> Malformed {
    let found = decode(bytes).unwrap_err();
    assert_eq!(check(bytes).unwrap_err(), found, "{bytes:02x?}");
    found.why
}

#[test]
fn refuses_what_is_not_canonical() {
    for (bytes, why) in [
        (&[][..], Malformed::Truncated),
        (&[0x00, 0x00], Malformed::TrailingBytes),
        (&[0x18, 0x17], Malformed::NotMinimal),
        (&[0x19, 0x00, 0xff], Malformed::NotMinimal),
        (&[0x1a, 0x00, 0x00, 0xff, 0xff], Malformed::NotMinimal),
        (&[0x1b, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff], Malformed::NotMinimal),
        (&[0x78, 0x01, b'a'], Malformed::NotMinimal),
        (&[0x58, 0x00], Malformed::NotMinimal),
        (&[0x1c], Malformed::NotMinimal),
        (&[0x9f, 0xff], Malformed::Indefinite),
        (&[0xbf, 0xff], Malformed::Indefinite),
        (&[0x5f, 0xff], Malformed::Indefinite),
        (&[0xff], Malformed::Indefinite),
        (&[0xf9, 0x00, 0x00], Malformed::Float),
        (&[0xfa, 0x47, 0xc3, 0x50, 0x00], Malformed::Float),
        (&[0xfb, 0x3f, 0xf1, 0x99, 0x99, 0x99, 0x99, 0x99, 0x9a], Malformed::Float),
        (&[0xf7], Malformed::Simple),
        (&[0xe0], Malformed::Simple),
        (&[0xf8, 0xff], Malformed::Simple),
        (&[0xc0, 0x61, b'a'], Malformed::Tag),
        (&[0xd8, 43, 0x40], Malformed::Tag),
        (&[0xd8, 42, 0x61, b'a'], Malformed::Link(crate::cid::CidError::Length(0))),
        (&[0xd8, 42, 0x41, 0x00], Malformed::Link(crate::cid::CidError::Length(0))),
        (&[0x61, 0xff], Malformed::Utf8),
        (&[0xa1, 0x01, 0x01], Malformed::KeyNotText),
        (&[0xa1, 0x41, b'a', 0x01], Malformed::KeyNotText),
        (&[0xa2, 0x61, b'b', 0x01, 0x61, b'a', 0x01], Malformed::KeyOrder),
        (&[0xa2, 0x62, b'a', b'a', 0x01, 0x61, b'b', 0x01], Malformed::KeyOrder),
        (&[0xa2, 0x61, b'a', 0x01, 0x61, b'a', 0x01], Malformed::DuplicateKey),
        (&[0x1b, 0x80, 0, 0, 0, 0, 0, 0, 0], Malformed::IntegerRange),
        (&[0x3b, 0x80, 0, 0, 0, 0, 0, 0, 0], Malformed::IntegerRange),
        (&[0x82, 0x01], Malformed::Truncated),
        (&[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], Malformed::Truncated),
        (&[0xbb, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], Malformed::Truncated),
        (&[0x5b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], Malformed::Truncated),
        (&[0xa1], Malformed::Truncated),
    ] {
        assert_eq!(malformed(bytes), why, "{bytes:02x?}");
    }
}

#[test]
fn names_the_offset() {
    let error = decode(&[0x82, 0x01, 0x82, 0x02, 0xf7]).unwrap_err();
    assert_eq!(error.at, 4);
    assert_eq!(error.to_string(), "byte 4: only false, true and null are allowed as simple values");
}

#[test]
fn depth_and_number_of_items_are_bounded() {
    let nested = |depth: usize| [vec![0x81; depth], vec![0x80]].concat();
    assert!(decode(&nested(DEPTH_MAX - 1)).is_ok());
    assert_eq!(malformed(&nested(DEPTH_MAX)), Malformed::TooDeep);
    assert_eq!(malformed(&nested(1_000_000)), Malformed::TooDeep);
    let many = |count: u32| [&[0x9a][..], &count.to_be_bytes(), &vec![0xf6; count as usize]].concat();
    assert!(decode(&many(131_072)).is_ok());
    assert_eq!(malformed(&many(131_073)), Malformed::TooManyItems);
}

#[test]
fn extremes_of_integers_round_trip() {
    for int in [0, 23, 24, 255, 256, 65_535, 65_536, 4_294_967_295, 4_294_967_296, i64::MAX] {
        for int in [int, -int, !int] {
            let bytes = encode(&Value::Int(int));
            assert_eq!(decode(&bytes), Ok(Value::Int(int)));
            assert_eq!(bytes, serde_ipld_dagcbor::to_vec(&Ipld::Integer(int.into())).unwrap());
        }
    }
}

#[test]
fn prefix_leaves_the_rest() {
    let (value, rest) = decode_prefix(&[0x01, 0x02, 0x03]).unwrap();
    assert_eq!((value, rest), (Value::Int(1), &[2, 3][..]));
}

#[test]
fn map_keeps_canonical_order() {
    let mut map = Map::new();
    for key in ["bb", "a", "", "ccc", "b", "aa"] {
        assert_eq!(map.insert(key, 1), None);
    }
    assert_eq!(map.insert("a", 2), Some(Value::Int(1)));
    assert_eq!(map.iter().map(|(key, _)| key).collect::<Vec<_>>(), ["", "a", "b", "aa", "bb", "ccc"]);
    assert_eq!(map.remove("aa"), Some(Value::Int(1)));
    assert_eq!((map.get("aa"), map.get("a")), (None, Some(&Value::Int(2))));
    let twice =
        vec![("a".to_owned(), Value::Null), ("b".to_owned(), Value::Null), ("a".to_owned(), Value::Null)];
    assert_eq!(Map::from_entries(twice), Err(DuplicateKey("a".to_owned())));
}

#[test]
fn interop_data_model_blocks_round_trip() {
    let Some(text) = read("interop/data-model/data-model-fixtures.json") else { return };
    let cases: serde_json::Value = serde_json::from_str(&text).unwrap();
    for case in cases.as_array().unwrap() {
        let encoded = case["cbor_base64"].as_str().unwrap();
        let bytes = data_encoding::BASE64_NOPAD.decode(encoded.as_bytes()).unwrap();
        assert_eq!(Cid::for_dag_cbor(&bytes).to_string(), case["cid"].as_str().unwrap());
        let value = decode(&bytes).unwrap();
        assert_eq!(encode(&value), bytes);
    }
}

fn ipld(value: &Value) -> Ipld {
    match value {
        Value::Null => Ipld::Null,
        Value::Bool(bool) => Ipld::Bool(*bool),
        Value::Int(int) => Ipld::Integer((*int).into()),
        Value::Bytes(bytes) => Ipld::Bytes(bytes.clone()),
        Value::Text(text) => Ipld::String(text.clone()),
        Value::List(list) => Ipld::List(list.iter().map(ipld).collect()),
        Value::Map(map) => Ipld::Map(map.iter().map(|(key, value)| (key.to_owned(), ipld(value))).collect()),
        Value::Link(cid) => Ipld::Link(ipld_core::cid::Cid::try_from(&cid.as_bytes()[..]).unwrap()),
    }
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        (-300i64..300).prop_map(Value::Int),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(Value::Bytes),
        any::<String>().prop_map(Value::Text),
        any::<[u8; 4]>().prop_map(|bytes| Value::Link(Cid::for_dag_cbor(&bytes))),
        any::<[u8; 4]>().prop_map(|bytes| Value::Link(Cid::for_raw(&bytes))),
    ];
    leaf.prop_recursive(5, 60, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::List),
            prop::collection::hash_map("[a-z$]{0,6}", inner, 0..8)
                .prop_map(|entries| Value::Map(Map::from_entries(entries.into_iter().collect()).unwrap())),
        ]
    })
}

proptest! {
    #[test]
    fn values_round_trip_and_agree_with_the_oracle(value in value()) {
        let bytes = encode(&value);
        prop_assert_eq!(&bytes, &serde_ipld_dagcbor::to_vec(&ipld(&value)).unwrap());
        prop_assert_eq!(check(&bytes), Ok(()));
        prop_assert_eq!(decode(&bytes), Ok(value));
    }

    #[test]
    fn what_we_accept_the_oracle_accepts_and_reencodes(bytes in prop::collection::vec(any::<u8>(), 0..24)) {
        if let Ok(value) = decode(&bytes) {
            prop_assert_eq!(encode(&value), bytes.clone());
            prop_assert_eq!(serde_ipld_dagcbor::from_slice::<Ipld>(&bytes).unwrap(), ipld(&value));
        }
        prop_assert_eq!(decode(&bytes).map(|_| ()), check(&bytes));
    }

    #[test]
    fn mutated_values_are_refused_or_canonical(value in value(), at: prop::sample::Index, byte: u8) {
        let mut bytes = encode(&value);
        *at.get_mut(&mut bytes) = byte;
        match (decode(&bytes), serde_ipld_dagcbor::from_slice::<Ipld>(&bytes)) {
            (Ok(value), theirs) => {
                prop_assert_eq!(encode(&value), bytes);
                prop_assert_eq!(theirs.ok(), Some(ipld(&value)));
            }
            // Stricter than the oracle only where it should be: floats, foreign CIDs, integers beyond 64 signed bits.
            (Err(error), Ok(_)) => prop_assert!(matches!(
                error.why,
                Malformed::Float | Malformed::Link(_) | Malformed::IntegerRange
            ), "{error:?}"),
            (Err(_), Err(_)) => {}
        }
    }
}
