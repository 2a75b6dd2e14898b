//! The public vectors, our own notation beside the published lexicons, and hostile lexicons.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::data::json_to_cbor;
use crate::vectors;

fn lexicon(json: &Value) -> Result<Lexicon, LexiconError> {
    Lexicon::from_json(&serde_json::to_vec(json).unwrap())
}

fn cases(name: &str) -> Vec<Value> {
    vectors::read(name).map_or_else(Vec::new, |text| serde_json::from_str(&text).unwrap())
}

/// Reads all lexicons below a folder of `shared/`.
fn folder(path: &Path, into: &mut Lexicons) {
    let Ok(entries) = std::fs::read_dir(path) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            folder(&path, into);
        } else if path.extension().is_some_and(|ext| ext == "json") {
            let read = Lexicon::from_json(&std::fs::read(&path).unwrap());
            into.insert(Arc::new(read.unwrap_or_else(|e| panic!("{}: {e}", path.display()))));
        }
    }
}

fn published() -> Option<Lexicons> {
    let mut all = Lexicons::default();
    folder(&vectors::shared("lexicons"), &mut all);
    if all.by_id.is_empty() {
        println!("shared/lexicons absent: not compared");
        return None;
    }
    Some(all)
}

#[test]
fn accepts_and_refuses_the_public_lexicons() {
    for case in cases("interop/lexicon/lexicon-valid.json") {
        lexicon(&case["lexicon"]).unwrap_or_else(|e| panic!("{}: {e}", case["name"]));
    }
    for case in cases("interop/lexicon/lexicon-invalid.json") {
        assert!(lexicon(&case["lexicon"]).is_err(), "{}", case["name"]);
    }
}

#[test]
fn accepts_and_refuses_the_public_records() {
    let mut lexicons = Lexicons::default();
    folder(&vectors::shared("interop/lexicon/catalog"), &mut lexicons);
    let collection = Nsid::parse("example.lexicon.record").unwrap();
    let check = |case: &Value| {
        let record = json_to_cbor(&serde_json::to_vec(&case["data"]).unwrap()).map_err(|e| e.to_string())?;
        let key = RecordKey::parse(case["rkey"].as_str().unwrap()).unwrap();
        lexicons.check_record(&collection, &key, &record).map_err(|e| e.to_string())
    };
    for case in cases("interop/lexicon/record-data-valid.json") {
        assert_eq!(check(&case), Ok(()), "{}", case["name"]);
    }
    for case in cases("interop/lexicon/record-data-invalid.json") {
        let mut case = case;
        // Some cases lack the required property besides what they are about.
        if case["name"] != "missing required field" && case["data"]["integer"].is_null() {
            case["data"]["integer"] = json!(1);
        }
        let refused = check(&case).expect_err(case["name"].as_str().unwrap());
        assert!(!refused.contains("not known") && !refused.contains("checked against"), "{refused}");
    }
}

#[test]
fn known_record_types_are_the_published_ones() {
    let known = Lexicons::known();
    assert!(notation::read(include_str!("known.txt")).is_ok_and(|read| read.len() == known.by_id.len()));
    let Some(published) = published() else { return };
    for lexicon in published.iter().filter(|lexicon| lexicon.record().is_some()) {
        assert!(known.get(lexicon.id.as_str()).is_some(), "{} is missing", lexicon.id);
    }
    for lexicon in known.iter() {
        let other = published.get(lexicon.id.as_str()).unwrap_or_else(|| panic!("{} is no more", lexicon.id));
        for (name, definition) in lexicon.definitions() {
            assert_eq!(Some(definition), other.definition(name), "{}#{name}", lexicon.id);
        }
    }
}

/// Visits the names that a type refers to.
fn names<'a>(schema: &'a Schema, visit: &mut dyn FnMut(&'a Name)) {
    match schema {
        Schema::Ref(name) => visit(name),
        Schema::Union(rules) => rules.of.iter().for_each(visit),
        Schema::Array(rules) => names(&rules.items, visit),
        Schema::Object(object) => object.properties.iter().for_each(|p| names(&p.schema, visit)),
        _ => {}
    }
}

#[test]
fn known_record_types_refer_to_nothing_unknown() {
    let known = Lexicons::known();
    for lexicon in known.iter() {
        for (_, definition) in lexicon.definitions() {
            let mut check = |name: &Name| assert!(known.definition(name).is_ok(), "{}", name.as_str());
            match definition {
                Definition::Type(schema) => names(schema, &mut check),
                Definition::Record(record) => {
                    record.object.properties.iter().for_each(|p| names(&p.schema, &mut check));
                }
                Definition::Method(_) | Definition::PermissionSet => panic!("not a type"),
            }
        }
    }
}

fn verdict(collection: &str, record: &Value) -> Result<(), String> {
    let record = json_to_cbor(&serde_json::to_vec(record).unwrap()).unwrap();
    let key = RecordKey::parse("3kznmn7xqxl22").unwrap();
    let collection = Nsid::parse(collection).unwrap();
    Lexicons::known().check_record(&collection, &key, &record).map_err(|e| e.to_string())
}

#[test]
fn says_where_a_post_is_wrong() {
    let post = |change: &dyn Fn(&mut Value)| {
        let mut post =
            json!({ "$type": "app.bsky.feed.post", "text": "x", "createdAt": "2026-11-23T02:34:56.789Z" });
        change(&mut post);
        verdict("app.bsky.feed.post", &post)
    };
    assert_eq!(post(&|_| {}), Ok(()));
    assert_eq!(post(&|p| p["other"] = json!({ "any": [1] })), Ok(()), "more than is described is allowed");
    let long = "e\u{301}".repeat(301);
    let image = json!({ "alt": "", "image": { "$type": "blob", "mimeType": "video/mp4", "size": 1,
        "ref": { "$link": "bafkreiclp443lavogvhj3d2ob2cxbfuscni2k5jk7bebjzg7khl3esabwq" } } });
    let images = json!({ "$type": "app.bsky.embed.images", "images": [image] });
    for (change, words) in [
        (&(|p: &mut Value| p["text"] = json!(5)) as &dyn Fn(&mut Value), "Record/text must be a string"),
        (&|p| p["text"] = Value::Null, "Record/text must not be null"),
        (&|p| drop(p.as_object_mut().unwrap().remove("text")), "Record/text is required and missing"),
        (&|p| p["createdAt"] = json!("yesterday"), "Record/createdAt must be a valid datetime"),
        (&|p| p["text"] = json!(long), "Record/text must have at most 300 characters, it has 301"),
        (&|p| p["langs"] = json!(["en", "not a tag"]), "Record/langs/1 must be a valid language"),
        (
            &|p| p["langs"] = json!(["a", "b", "c", "d"]),
            "Record/langs must have at most 3 elements, it has 4",
        ),
        (&|p| p["embed"] = json!({}), "Record/embed must be an object with a $type"),
        (
            &|p| p["embed"] = images.clone(),
            "Record/embed/images/0/image must be of a media type among image/*",
        ),
    ] {
        assert_eq!(post(change).unwrap_err(), words);
    }
    let accents = "e\u{301}".repeat(300);
    assert_eq!(post(&|p| p["text"] = json!(accents)), Ok(()), "300 characters of 3 bytes");
    assert_eq!(
        post(&|p| p["embed"] = json!({ "$type": "com.example.new", "x": 1 })),
        Ok(()),
        "unions are open"
    );
    assert!(verdict("com.example.other", &json!({})).unwrap_err().contains("not known"));
    assert!(verdict("app.bsky.actor.profile", &json!({})).unwrap_err().contains("named by \"self\""));
}

#[test]
fn tells_an_unknown_reference_from_a_wrong_record() {
    let mut lexicons = Lexicons::default();
    let main = json!({ "type": "record", "key": "any", "record": { "type": "object", "properties": {
        "a": { "type": "ref", "ref": "com.example.elsewhere" },
        "b": { "type": "ref", "ref": "#circle" },
        "c": { "type": "ref", "ref": "#nothing" },
        "d": { "type": "union", "closed": true, "refs": ["#round"] } } } });
    let made = lexicon(&json!({ "lexicon": 1, "id": "com.example.thing", "defs": { "main": main,
        "circle": { "type": "array", "items": { "type": "ref", "ref": "#circle" } },
        "round": { "type": "object", "properties": { "d": { "type": "ref", "ref": "#round" } } } } }));
    lexicons.insert(Arc::new(made.unwrap()));
    let collection = Nsid::parse("com.example.thing").unwrap();
    let check = |record: Value| {
        let record = json_to_cbor(&serde_json::to_vec(&record).unwrap()).unwrap();
        lexicons.check_record(&collection, &RecordKey::parse("x").unwrap(), &record)
    };
    assert_eq!(check(json!({})), Ok(()));
    assert!(
        matches!(check(json!({ "a": 1 })), Err(Fault::Unknown { nsid }) if *nsid == *"com.example.elsewhere")
    );
    assert_eq!(check(json!({ "b": [[[], []]] })), Ok(()));
    assert!(matches!(check(json!({ "b": [[1]] })), Err(Fault::Mismatch(_))));
    assert!(matches!(check(json!({ "c": 1 })), Err(Fault::Broken { .. })));
    let round = |inner: &str| format!(r#"{{"$type":"com.example.thing#round","d":{inner}}}"#);
    let deep = (0..100).fold("{}".to_owned(), |inner, _| round(&inner));
    let deep = serde_json::from_str(&format!(r#"{{"d":{deep}}}"#)).unwrap();
    assert!(matches!(check(deep), Err(Fault::Mismatch(m)) if *m.why() == Why::TooDeep));
}

#[test]
fn bounds_hostile_lexicons() {
    let with = |defs: Value| lexicon(&json!({ "lexicon": 1, "id": "com.example.thing", "defs": defs }));
    let nested = (0..SCHEMA_DEPTH_MAX + 1)
        .fold(json!({ "type": "integer" }), |inner, _| json!({ "type": "array", "items": inner }));
    assert!(with(json!({ "a": nested })).is_err());
    let wide: serde_json::Map<String, Value> =
        (0..=SCHEMAS_MAX).map(|i| (format!("p{i}"), json!({ "type": "null" }))).collect();
    assert!(with(json!({ "a": { "type": "object", "properties": wide } })).is_err());
    let many: serde_json::Map<String, Value> =
        (0..=DEFINITIONS_MAX).map(|i| (format!("d{i}"), json!({ "type": "token" }))).collect();
    assert!(with(Value::Object(many)).is_err());
    assert!(
        with(json!({ "a": { "type": "string", "description": "x".repeat(LEXICON_BYTES_MAX) } })).is_err()
    );
    assert!(with(json!({ "a": { "type": "string", "maxLength": -1 } })).is_err());
    assert!(with(json!({ "a": { "type": "mystery" } })).is_err());
    // A circle of names alone: found when data meets it.
    let mut lexicons = Lexicons::default();
    lexicons.insert(Arc::new(
        with(json!({ "a": { "type": "array", "items": { "type": "ref", "ref": "#a" } } })).unwrap(),
    ));
    let schema = Schema::Ref(Name::resolve("#a", &Nsid::parse("com.example.thing").unwrap()).unwrap());
    assert!(lexicons.check(&schema, &[0x80]).is_ok());
    assert!(lexicons.check(&schema, &[0x81, 0x01]).is_err());
}
