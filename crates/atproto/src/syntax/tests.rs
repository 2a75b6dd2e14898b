//! Interoperability files and properties of the identifiers.

use proptest::prelude::*;

use super::*;
use crate::vectors;

/// Runs one pair of files through a parser.
fn run_files(name: &str, parse: impl Fn(&str) -> Option<String>) {
    for (file, want_valid) in [("syntax_valid", true), ("syntax_invalid", false), ("parse_invalid", false)] {
        let Some(text) = vectors::read(&format!("interop/syntax/{name}_{file}.txt")) else { continue };
        let mut count = 0;
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            count += 1;
            let parsed = parse(line);
            assert_eq!(parsed.is_some(), want_valid, "{name}_{file}: {line:?}");
            if let Some(printed) = parsed {
                assert!(printed.eq_ignore_ascii_case(line), "{line:?} came back as {printed:?}");
            }
        }
        assert!(count > 0, "{name}_{file} has no lines");
    }
}

fn text<T: ToString>(parsed: Result<T, SyntaxError>) -> Option<String> {
    parsed.ok().map(|value| value.to_string())
}

#[test]
fn passes_all_interop_files() {
    run_files("did", |line| text(Did::parse(line)));
    run_files("handle", |line| text(Handle::parse(line)));
    run_files("atidentifier", |line| text(AtIdentifier::parse(line)));
    run_files("nsid", |line| text(Nsid::parse(line)));
    run_files("recordkey", |line| text(RecordKey::parse(line)));
    run_files("aturi", |line| text(AtUri::parse(line)));
    run_files("tid", |line| text(Tid::parse(line)));
    run_files("datetime", |line| text(Datetime::parse(line)));
    run_files("language", |line| text(Language::parse(line)));
    run_files("uri", |line| text(Uri::parse(line)));
    run_files("cid", |line| text(CidString::parse(line)));
}

#[test]
fn lowers_handles_and_knows_reserved_ones() {
    assert_eq!(Handle::parse("Alice.Example.COM").unwrap(), "alice.example.com");
    assert!(Handle::parse("pi.local").unwrap().is_reserved());
    assert!(!Handle::parse("alice.test").unwrap().is_reserved());
}

#[test]
fn splits_at_uris() {
    let uri = AtUri::parse("at://did:plc:asdf123/com.atproto.feed.post/self").unwrap();
    assert_eq!(uri.authority(), "did:plc:asdf123");
    assert_eq!(uri.collection(), Some("com.atproto.feed.post"));
    assert_eq!(uri.rkey(), Some("self"));
    let uri = AtUri::parse("at://alice.test/com.atproto.feed.post").unwrap();
    assert_eq!((uri.collection(), uri.rkey()), (Some("com.atproto.feed.post"), None));
    let uri = AtUri::parse("at://alice.test").unwrap();
    assert_eq!((uri.collection(), uri.rkey()), (None, None));
    let made = AtUri::record(
        &Did::parse("did:plc:asdf123").unwrap(),
        &Nsid::parse("a.b.c").unwrap(),
        &RecordKey::parse("k").unwrap(),
    );
    assert_eq!(made, AtUri::parse("at://did:plc:asdf123/a.b.c/k").unwrap());
}

#[test]
fn splits_dids() {
    let did = Did::parse("did:web:example.com%3A80:a").unwrap();
    assert_eq!((did.method(), did.identifier()), ("web", "example.com%3A80:a"));
    assert!(Did::parse("did:plc:ewvi7nxzyoun6zhxrhs64oiz").unwrap().is_plc());
    assert!(!Did::parse("did:plc:asdf123").unwrap().is_plc());
}

#[test]
fn reads_the_moment_of_a_datetime() {
    let micros = |text: &str| Datetime::parse(text).unwrap().unix_micros();
    assert_eq!(micros("1970-01-01T00:00:00Z"), 0);
    assert_eq!(micros("2000-02-29T00:00:00.5Z"), 951_782_400_500_000);
    assert_eq!(micros("2026-11-23T03:34:56.789123456+01:00"), 1_795_401_296_789_123);
    assert_eq!(micros("0000-01-01T00:00:00Z"), YEAR_ZERO * 1_000_000);
    assert!(Datetime::parse("2100-02-29T00:00:00Z").is_err());
    const YEAR_ZERO: i64 = -62_167_219_200;
}

#[test]
fn writes_a_trusted_moment() {
    let (clock, _) = platform::sim::trusted_clock(1_795_401_296_789_123);
    let now = Datetime::at(clock.now().unwrap());
    assert_eq!(now, "2026-11-23T02:34:56.789Z");
    assert_eq!(Datetime::parse(now.as_str()), Ok(now));
}

#[test]
fn refuses_bad_text_in_json() {
    assert!(serde_json::from_str::<Did>("\"did:plc:asdf123\"").is_ok());
    assert!(serde_json::from_str::<Did>("\"plc:asdf123\"").is_err());
    assert!(serde_json::from_str::<Handle>("12").is_err());
    assert_eq!(serde_json::to_string(&Nsid::parse("a.b.c").unwrap()).unwrap(), "\"a.b.c\"");
}

proptest! {
    #[test]
    fn never_panics(text in ".{0,80}") {
        let _all = (
            Did::parse(&text), Handle::parse(&text), Nsid::parse(&text), RecordKey::parse(&text), AtUri::parse(&text),
            Datetime::parse(&text), Language::parse(&text), Uri::parse(&text), Tid::parse(&text),
        );
    }

    #[test]
    fn near_valid_text_never_panics_and_round_trips(
        base in prop::sample::select(vec![
            "did:plc:ewvi7nxzyoun6zhxrhs64oiz", "alice.bsky.social", "app.bsky.feed.post", "3jzfcijpj2z2a",
            "at://did:plc:asdf123/com.atproto.feed.post/self", "2026-11-23T02:34:56.789Z", "en-GB-boont-r-ext-x-priv",
        ]),
        at in 0usize..60, with in any::<char>(), cut in any::<bool>(),
    ) {
        let mut chars: Vec<char> = base.chars().collect();
        let at = at % chars.len();
        if cut { chars.truncate(at); } else { chars[at] = with; }
        let text: String = chars.into_iter().collect();
        if let Ok(did) = Did::parse(&text) { prop_assert_eq!(did.as_str(), &text); }
        if let Ok(uri) = AtUri::parse(&text) {
            prop_assert_eq!(uri.as_str(), &text);
            let mut joined = format!("at://{}", uri.authority());
            for part in [uri.collection(), uri.rkey()].into_iter().flatten() { joined = format!("{joined}/{part}"); }
            prop_assert_eq!(joined, text.clone());
        }
        if let Ok(tid) = Tid::parse(&text) { prop_assert_eq!(tid.as_str(), &text); }
        let _others = (Handle::parse(&text), Nsid::parse(&text), Datetime::parse(&text), Language::parse(&text));
    }
}
