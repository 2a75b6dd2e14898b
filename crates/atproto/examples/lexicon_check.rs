//! Measures what it costs to encode a post and to check it: `cargo run --release -p atproto --example lexicon_check`.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a measuring tool for people")]

use std::hint::black_box;
use std::time::Instant;

use atproto::data::record_to_cbor;
use atproto::lexicon::Lexicons;
use atproto::syntax::{Nsid, RecordKey};

const ROUNDS: u32 = 20_000;

const SMALL: &str = r#"{"$type":"app.bsky.feed.post","text":"A small post, as a benchmark writes it.",
"createdAt":"2026-11-23T02:34:56.789Z","langs":["en"]}"#;

const LARGE: &str = r#"{"$type":"app.bsky.feed.post","text":"Grüße an @alice.example.com – ein Bild, ein Schlagwort und ein Verweis: https://example.com/ein/langer/weg 🦋🦋🦋 und noch etwas Text, damit die Zeichen gezählt werden müssen, denn die Grenze von dreihundert Zeichen gilt nicht für Bytes; dieser Satz ist mit Absicht so lang.",
"facets":[{"index":{"byteStart":6,"byteEnd":24},"features":[{"$type":"app.bsky.richtext.facet#mention","did":"did:plc:ewvi7nxzyoun6zhxrhs64oiz"}]},
{"index":{"byteStart":70,"byteEnd":110},"features":[{"$type":"app.bsky.richtext.facet#link","uri":"https://example.com/ein/langer/weg"}]}],
"reply":{"root":{"uri":"at://did:plc:ewvi7nxzyoun6zhxrhs64oiz/app.bsky.feed.post/3kznmn7xqxl22","cid":"bafyreiclp443lavogvhj3d2ob2cxbfuscni2k5jk7bebjzg7khl3esabwq"},
"parent":{"uri":"at://did:plc:ewvi7nxzyoun6zhxrhs64oiz/app.bsky.feed.post/3kznmn7xqxl22","cid":"bafyreiclp443lavogvhj3d2ob2cxbfuscni2k5jk7bebjzg7khl3esabwq"}},
"embed":{"$type":"app.bsky.embed.images","images":[{"alt":"ein Bild","aspectRatio":{"width":3,"height":4},
"image":{"$type":"blob","mimeType":"image/jpeg","size":123456,"ref":{"$link":"bafkreiclp443lavogvhj3d2ob2cxbfuscni2k5jk7bebjzg7khl3esabwq"}}}]},
"langs":["de","en"],"tags":["wetter"],"createdAt":"2026-11-23T02:34:56.789Z"}"#;

fn main() {
    let collection = Nsid::parse("app.bsky.feed.post").unwrap();
    let key = RecordKey::parse("3kznmn7xqxl22").unwrap();
    for (name, json) in [("small", SMALL), ("large", LARGE)] {
        let record = record_to_cbor(json.as_bytes(), &collection).unwrap();
        let each_us = |started: Instant| started.elapsed().as_secs_f64() * 1e6 / f64::from(ROUNDS);
        let started = Instant::now();
        for _ in 0..ROUNDS {
            black_box(record_to_cbor(black_box(json.as_bytes()), &collection)).unwrap();
        }
        let encoding_us = each_us(started);
        let started = Instant::now();
        for _ in 0..ROUNDS {
            black_box(Lexicons::known().check_record(&collection, &key, black_box(&record.bytes))).unwrap();
        }
        println!(
            "{name} post of {} bytes: encoded in {encoding_us:.1} us, checked in {:.1} us",
            record.bytes.len(),
            each_us(started)
        );
    }
}
