//! Frames against the lexicon: fields, order, limits, and what is refused.

use super::*;
use crate::cbor::{self, Value};
use platform::sim::trusted_clock;
use platform::time::TrustedTime;

const NOW_US: u64 = 1_795_401_296_789_000;
const NOW: &str = "2026-11-23T02:34:56.789Z";

fn now() -> TrustedTime {
    trusted_clock(NOW_US).0.now().unwrap()
}

fn did() -> Did {
    Did::parse("did:plc:ewvi7nxzyoun6zhxrhs64oiz").unwrap()
}

fn rev() -> Tid {
    Tid::from_micros(NOW_US, 0)
}

fn commit_event() -> CommitEvent {
    let cid = |text: &str| Cid::for_dag_cbor(text.as_bytes());
    CommitEvent {
        did: did(),
        commit: cid("commit"),
        rev: rev(),
        since: Some(Tid::from_micros(NOW_US - 1, 0)),
        prev_data: Some(cid("before")),
        ops: vec![
            RepoOp { action: Action::Create, path: "a.b.c/1".into(), cid: Some(cid("1")), prev: None },
            RepoOp {
                action: Action::Update,
                path: "a.b.c/2".into(),
                cid: Some(cid("2")),
                prev: Some(cid("1")),
            },
            RepoOp { action: Action::Delete, path: "a.b.c/3".into(), cid: None, prev: Some(cid("3")) },
        ],
        blocks: Bytes::from_static(b"car"),
    }
}

#[test]
fn frames_round_trip() {
    let (time, seq) = (NOW.to_owned(), 42);
    let first = CommitEvent { since: None, prev_data: None, ops: vec![], ..commit_event() };
    let whole = CommitEvent { blocks: vec![1; BLOCKS_BYTES_MAX].into(), ..commit_event() };
    for event in [commit_event(), first, whole] {
        let frame = commit_frame(seq, now(), &event).unwrap();
        assert_eq!(decode_frame(&frame), Ok(Frame::Commit { seq, time: time.clone(), event }));
    }
    let event = SyncEvent { did: did(), rev: rev(), blocks: Bytes::from_static(b"car") };
    let frame = sync_frame(seq, now(), &event).unwrap();
    assert_eq!(decode_frame(&frame), Ok(Frame::Sync { seq, time: time.clone(), event }));
    for handle in [None, Some(Handle::parse("alice.test").unwrap())] {
        let event = IdentityEvent { did: did(), handle };
        let frame = identity_frame(seq, now(), &event);
        assert_eq!(decode_frame(&frame), Ok(Frame::Identity { seq, time: time.clone(), event }));
    }
    for inactive in AccountStatus::ALL.map(Some).into_iter().chain([None]) {
        let event = AccountEvent { did: did(), inactive };
        let frame = account_frame(seq, now(), &event);
        assert_eq!(decode_frame(&frame), Ok(Frame::Account { seq, time: time.clone(), event }));
    }
    let (name, message) = ("OutdatedCursor".to_owned(), Some("the log starts later".to_owned()));
    let frame = info_frame(&name, message.as_ref().unwrap());
    assert_eq!(decode_frame(&frame), Ok(Frame::Info { name, message: message.clone() }));
    let error = "FutureCursor".to_owned();
    let frame = error_frame(&error, message.as_ref().unwrap());
    assert_eq!(decode_frame(&frame), Ok(Frame::Error { error, message }));
}

#[test]
fn commit_frame_has_the_lexicons_fields_and_no_type() {
    let frame = commit_frame(1, now(), &commit_event()).unwrap();
    let (header, body) = cbor::decode_prefix(&frame).unwrap();
    assert_eq!(cbor::encode(&header), b"\xa2at\x67#commitbop\x01");
    let body = cbor::decode(body).unwrap();
    let body = body.as_map().unwrap();
    let names: Vec<&str> = body.iter().map(|(name, _)| name).collect();
    assert_eq!(
        names,
        [
            "ops", "rev", "seq", "repo", "time", "blobs", "since", "blocks", "commit", "rebase", "tooBig",
            "prevData"
        ]
    );
    assert_eq!(body.get("blobs"), Some(&Value::List(vec![])));
    assert_eq!(body.get("tooBig"), Some(&Value::Bool(false)));
    let ops = body.get("ops").and_then(Value::as_list).unwrap();
    assert_eq!(ops[0].as_map().unwrap().get("prev"), None);
    assert_eq!(ops[2].as_map().unwrap().get("cid"), Some(&Value::Null));
    let error = error_frame("ConsumerTooSlow", "read faster");
    assert!(error.starts_with(b"\xa1bop\x20\xa2"));
}

#[test]
fn limits_hold_when_writing_and_reading() {
    let large = CommitEvent { blocks: vec![0; BLOCKS_BYTES_MAX + 1].into(), ..commit_event() };
    assert_eq!(commit_frame(1, now(), &large), Err(FrameError::TooLarge));
    let op = commit_event().ops.remove(0);
    let many = CommitEvent { ops: vec![op; OPS_MAX + 1], ..commit_event() };
    assert_eq!(commit_frame(1, now(), &many), Err(FrameError::TooLarge));
    let sync = SyncEvent { did: did(), rev: rev(), blocks: vec![0; SYNC_BLOCKS_BYTES_MAX + 1].into() };
    assert_eq!(sync_frame(1, now(), &sync), Err(FrameError::TooLarge));
    assert_eq!(decode_frame(&vec![0; FRAME_BYTES_MAX + 1]), Err(FrameError::TooLarge));
}

#[test]
fn malformed_frames_are_refused() {
    let frame = commit_frame(1, now(), &commit_event()).unwrap();
    for length in 0..frame.len() {
        assert!(decode_frame(&frame[..length]).is_err());
    }
    let changed = |name: &str, value: Value| {
        let (header, body) = cbor::decode_prefix(&frame).unwrap();
        let Value::Map(mut body) = cbor::decode(body).unwrap() else { panic!() };
        body.insert(name, value);
        decode_frame(&[cbor::encode(&header), cbor::encode(&Value::Map(body))].concat()).unwrap_err()
    };
    assert_eq!(changed("seq", Value::Int(-1)), FrameError::Field("seq"));
    assert_eq!(changed("seq", Value::Int(1 << 53)), FrameError::Field("seq"));
    assert_eq!(changed("tooBig", Value::Bool(true)), FrameError::Deprecated);
    assert_eq!(changed("rebase", Value::Bool(true)), FrameError::Deprecated);
    assert_eq!(changed("ops", Value::List(vec![Value::Null])), FrameError::Field("ops"));
    assert!(matches!(changed("repo", "plc".into()), FrameError::Syntax { field: "repo", .. }));
    assert!(matches!(changed("since", "then".into()), FrameError::Syntax { field: "since", .. }));
}

#[test]
fn kinds_of_later_versions_are_passed_by() {
    let mut frame = Vec::new();
    cbor::write_map(&mut frame, 2);
    cbor::write_text(&mut frame, "t");
    cbor::write_text(&mut frame, "#later");
    cbor::write_text(&mut frame, "op");
    cbor::write_uint(&mut frame, 1);
    cbor::write_map(&mut frame, 0);
    assert_eq!(decode_frame(&frame), Ok(Frame::Unknown { kind: "#later".to_owned() }));
}
