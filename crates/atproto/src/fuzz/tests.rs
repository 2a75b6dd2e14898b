//! Drives the fuzz bodies with a seeded mutator over sound inputs; no substitute for a fuzzer that runs for days.

use super::*;
use crate::crypto::SigningKey;
use crate::event::{Action, CommitEvent, RepoOp, commit_frame, error_frame};
use crate::repo::sign;
use crate::tid::Tid;
use platform::sim::{Random, trusted_clock};

const NOW_US: u64 = 1_795_401_296_789_000;
/// Mutants per body: a few seconds for all, on the slowest machine that runs the tests.
const MUTANTS: u32 = 3_000;

/// A repository of a few records with its last commit's event, and all its encodings as sound inputs.
fn corpus() -> Vec<Vec<u8>> {
    let did = Did::parse("did:plc:ewvi7nxzyoun6zhxrhs64oiz").unwrap();
    let mut secret = [0; 32];
    secret[31] = 1;
    let key = SigningKey::from_bytes(&secret).unwrap();
    let json = br#"{"$type":"app.bsky.feed.post","text":"caf\u00e9","n":-3,"list":[true,null,{"a":1}],
        "image":{"$type":"blob","ref":{"$link":"bafkreiccldh766hwcnuxnf2wh6jgzepf2nlu2lvcllt63eww5p6chi4ity"},
        "mimeType":"image/jpeg","size":10000},"raw":{"$bytes":"nFERjvLLiw"}}"#;
    let record = data::json_to_cbor(json).unwrap();
    let value = Cid::for_dag_cbor(&record);
    let (mut tree, mut nodes) = (Tree::empty(), HashMap::new());
    let keys: Vec<String> = (0..40).map(|n| format!("app.bsky.feed.post/3l{n:04}")).collect();
    for key in &keys[..39] {
        tree.insert(&nodes, key, value).unwrap();
    }
    let before = tree.commit();
    nodes.extend(before.new_blocks);
    tree.insert(&nodes, &keys[39], value).unwrap();
    let after = tree.commit();
    nodes.extend(after.new_blocks);
    let rev = Tid::from_micros(NOW_US, 0);
    let (head, block) = sign(&did, after.root, rev, &key);
    let start = [(head, &block[..]), (value, &record[..])];
    let proof = tree.proof(&nodes, &[&keys[39]]).unwrap();
    let slice = start.into_iter().chain(proof.iter().map(|(cid, block)| (*cid, &block[..])));
    let slice = car::to_vec(&[head], slice);
    let whole = start.into_iter().chain(nodes.iter().map(|(cid, block)| (*cid, &block[..])));
    let whole = car::to_vec(&[head], whole);
    repo::verify_repo(&whole[..], &did, &public_key(), |_, _| {}).unwrap();
    let op = RepoOp { action: Action::Create, path: keys[39].clone(), cid: Some(value), prev: None };
    let event = CommitEvent {
        did,
        commit: head,
        rev,
        since: None,
        prev_data: Some(before.root),
        ops: vec![op],
        blocks: slice.clone().into(),
    };
    repo::verify_commit_event(&event, &public_key()).unwrap();
    let time = trusted_clock(NOW_US).0.now().unwrap();
    let frame = commit_frame(7, time, &event).unwrap();
    let error = error_frame("FutureCursor", "the cursor is ahead");
    let ops = (0..2000u32).map(|n| u8::try_from(n.wrapping_mul(2_654_435_761) >> 24).unwrap()).collect();
    let lexicon = br##"{"lexicon":1,"id":"com.example.thing","defs":{"main":{"type":"record","key":"any",
        "record":{"type":"object","required":["text"],"properties":{"text":{"type":"string","maxGraphemes":9},
        "list":{"type":"array","items":{"type":"ref","ref":"#main"}},"n":{"type":"integer","minimum":-3},
        "u":{"type":"union","refs":["#main"]},"image":{"type":"blob","accept":["image/*"]}}}}}}"##;
    let mut corpus = vec![
        lexicon.to_vec(),
        data::json_to_cbor(lexicon).unwrap(),
        json.to_vec(),
        record,
        slice,
        whole,
        block.to_vec(),
        frame.to_vec(),
        error.to_vec(),
        ops,
        vec![],
    ];
    corpus.extend(nodes.into_values().map(Vec::from).take(8));
    corpus
}

/// Picks a number below `bound`, or 0.
fn pick(random: &mut Random, bound: usize) -> usize {
    usize::try_from(random.up_to(u64::try_from(bound.saturating_sub(1)).unwrap())).unwrap()
}

/// Changes a sound input a little, or joins two.
fn mutate(random: &mut Random, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = corpus[pick(random, corpus.len())].clone();
    for _ in 0..=pick(random, 4) {
        let at = pick(random, bytes.len());
        let end = (at + pick(random, 40)).min(bytes.len());
        match pick(random, 8) {
            0 if at < bytes.len() => bytes[at] ^= 1 << pick(random, 8),
            1 if at < bytes.len() => bytes[at] = u8::try_from(pick(random, 256)).unwrap(),
            // Heads of every kind, long claims first.
            2 if at < bytes.len() => {
                bytes[at] =
                    [0x9b, 0xbb, 0x5b, 0x7b, 0x1b, 0xd8, 0xf6, 0xff, 0x80, 0xa0, 0x00][pick(random, 11)];
            }
            3 => drop(bytes.drain(at..end)),
            4 => bytes.truncate(at),
            5 => {
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            6 => {
                let other = &corpus[pick(random, corpus.len())];
                let from = pick(random, other.len());
                bytes.splice(at..at, other[from..(from + 60).min(other.len())].iter().copied());
            }
            _ => bytes.extend_from_slice(&[0xff; 3]),
        }
    }
    bytes
}

#[test]
fn sound_inputs_pass_every_body() {
    for input in corpus() {
        for (_, body) in BODIES {
            body(&input);
        }
    }
}

#[test]
fn mutated_inputs_never_panic() {
    let corpus = corpus();
    let mut random = Random::new(20_261_123);
    for _ in 0..MUTANTS {
        let input = mutate(&mut random, &corpus);
        for (name, body) in BODIES {
            let held = std::panic::catch_unwind(|| body(&input));
            assert!(held.is_ok(), "{name} breaks on {}", data_encoding::BASE64.encode(&input));
        }
    }
}
