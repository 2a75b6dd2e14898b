//! Bodies of the fuzz targets in `fuzz/`: each takes any bytes and panics when a promise about hostile input breaks.
//!
//! Only in tests and with the feature `fuzzing`. The tests drive the same bodies with a seeded mutator over sound
//! inputs, so every test run does a little of what a fuzzer does for days.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a panic is how a target reports")]

use crate::cid::Cid;
use crate::crypto::PublicKey;
use crate::event::{Frame, decode_frame};
use crate::lexicon::{Fault, Lexicon, Lexicons};
use crate::mst::{MstError, Step, Tree, Walk, build_sorted, diff, layer_of};
use crate::syntax::{Did, Nsid, RecordKey};
use crate::{car, cbor, data, repo};
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// A body by its target's name.
pub type Body = fn(&[u8]);

/// All bodies, by the names of the targets in `fuzz/`.
pub const BODIES: [(&str, Body); 9] = [
    ("cbor", fuzz_cbor),
    ("json", fuzz_json),
    ("car", fuzz_car),
    ("mst_node", fuzz_mst_node),
    ("mst_ops", fuzz_mst_ops),
    ("commit", fuzz_commit),
    ("event", fuzz_event),
    ("repo", fuzz_repo),
    ("lexicon", fuzz_lexicon),
];

/// Whatever is accepted as DAG-CBOR is canonical, and the three ways of reading it agree.
pub fn fuzz_cbor(input: &[u8]) {
    let value = cbor::decode(input);
    assert_eq!(value.as_ref().err(), cbor::check(input).as_ref().err());
    if let Ok(value) = value {
        assert_eq!(cbor::encode(&value), input);
    }
    if let Ok((value, rest)) = cbor::decode_prefix(input) {
        assert_eq!([&cbor::encode(&value), rest].concat(), input);
    }
}

/// Data-model JSON that is accepted comes back as the same value after both encodings.
pub fn fuzz_json(input: &[u8]) {
    if let Ok(value) = data::json_to_value(input) {
        let encoded = cbor::encode(&value);
        assert_eq!(cbor::decode(&encoded).as_ref(), Ok(&value));
        data::blob_refs(&value);
        let mut json = Vec::new();
        data::value_to_json(&value, &mut json);
        assert_eq!(data::json_to_value(&json).ok(), Some(value));
    }
}

/// A CAR file gives the same blocks whole and in pieces, and writes back as it was.
pub fn fuzz_car(input: &[u8]) {
    let whole: Result<Vec<(Cid, Bytes)>, _> = car::Reader::new(input).and_then(Iterator::collect);
    let size = usize::from(input.first().copied().unwrap_or(0)) + 1;
    let (mut decoder, mut blocks) = (car::Decoder::new(), Vec::new());
    let pieces = input.chunks(size).try_for_each(|piece| {
        decoder.push(piece);
        while let Some(block) = decoder.next_block()? {
            blocks.push(block);
        }
        Ok::<(), car::CarError>(())
    });
    let pieces = pieces.and_then(|()| decoder.finish());
    assert_eq!(whole.is_ok(), pieces.is_ok());
    if let Ok(whole) = whole {
        assert_eq!(whole, blocks);
        let mut out = Vec::new();
        car::write_header(&mut out, decoder.roots().unwrap());
        whole.iter().for_each(|(cid, block)| car::write_block(&mut out, cid, block));
        assert_eq!(out, input);
    }
}

/// Keys above all others, with their layers, that hang a node into a tree as a left child.
fn parents() -> impl Iterator<Item = String> {
    (1..4).map(|layer| {
        (0u32..)
            .map(|n| format!("zz/{n}"))
            .find(|key| layer_of(key) == layer)
            .expect("one in 4^layer keys has it")
    })
}

/// A node, as a root and as a child on each layer: reading, changing and comparing end in an answer or an error, and
/// a tree that can be walked is the tree of its keys.
pub fn fuzz_mst_node(input: &[u8]) {
    let child = Cid::for_dag_cbor(input);
    let mut nodes = HashMap::from([(child, Bytes::copy_from_slice(input))]);
    tree(&mut nodes.clone(), child);
    for key in parents() {
        let mut out = Vec::new();
        cbor::write_map(&mut out, 2);
        cbor::write_text(&mut out, "e");
        cbor::write_list(&mut out, 1);
        cbor::write_map(&mut out, 4);
        cbor::write_text(&mut out, "k");
        cbor::write_bytes(&mut out, key.as_bytes());
        cbor::write_text(&mut out, "p");
        cbor::write_uint(&mut out, 0);
        cbor::write_text(&mut out, "t");
        cbor::write_null(&mut out);
        cbor::write_text(&mut out, "v");
        cbor::write_link(&mut out, &child);
        cbor::write_text(&mut out, "l");
        cbor::write_link(&mut out, &child);
        let root = Cid::for_dag_cbor(&out);
        nodes.insert(root, out.into());
        tree(&mut nodes, root);
    }
}

fn tree(nodes: &mut HashMap<Cid, Bytes>, root: Cid) {
    let steps: Result<Vec<Step>, MstError<_>> = Walk::new(&*nodes, root).collect();
    let whole = diff(&*nodes, None, root);
    assert_eq!(steps.is_ok(), whole.is_ok());
    let mut changed = Tree::load(root);
    for key in ["a/0", "app.bsky.feed.post/3laaaaaaaaaaa", "zz/zz"] {
        let before = changed.get(&*nodes, key);
        let inserted = changed.insert(&*nodes, key, root);
        if let (Ok(before), Ok(inserted)) = (&before, &inserted) {
            assert_eq!(before, inserted);
            assert_eq!(changed.delete(&*nodes, key).ok(), Some(Some(root)));
            if let Some(before) = before {
                assert_eq!(changed.insert(&*nodes, key, *before).ok(), Some(None));
            }
        }
    }
    let changed = changed.commit();
    let Ok(steps) = steps else { return };
    let records = steps.into_iter().filter_map(|step| match step {
        Step::Record { key, value } => Some((key, value)),
        Step::Node { .. } => None,
    });
    assert_eq!(build_sorted(records, |_, _| {}), Ok(root));
    assert_eq!(changed.root, root);
}

/// Changes that `fuzz_mst_ops` takes from one input, to keep it quick.
const OPS_MAX: usize = 300;

/// Any changes in any order give the tree that the bulk build gives, and each commit can be undone from its proof.
pub fn fuzz_mst_ops(input: &[u8]) {
    let (mut tree, mut nodes, mut model) = (Tree::empty(), HashMap::new(), BTreeMap::<String, Cid>::new());
    let (mut before, mut old_root) = (model.clone(), tree.commit().root);
    let mut touched: Vec<String> = Vec::new();
    for pair in input.as_chunks::<2>().0.iter().take(OPS_MAX) {
        let [what, key] = *pair;
        let path = format!("a.b/{}", u16::from(key) + u16::from(what & 0x0f) * 256);
        match what >> 4 {
            0..8 => {
                let value = Cid::for_dag_cbor(&[what]);
                assert_eq!(tree.insert(&nodes, &path, value).unwrap(), model.insert(path.clone(), value));
                touched.push(path);
            }
            8..14 => {
                assert_eq!(tree.delete(&nodes, &path).unwrap(), model.remove(&path));
                touched.push(path);
            }
            14 => tree.forget_clean(),
            _ => {
                let committed = tree.commit();
                nodes.extend(committed.new_blocks);
                assert_eq!(build_sorted(model.iter().map(|(k, v)| (k, *v)), |_, _| {}), Ok(committed.root));
                touched.sort();
                touched.dedup();
                touched.retain(|path| before.get(path) != model.get(path));
                let keys: Vec<&str> = touched.iter().map(String::as_str).collect();
                let proof: HashMap<Cid, Bytes> = tree.proof(&nodes, &keys).unwrap().into_iter().collect();
                let mut undone = Tree::load(committed.root);
                for path in &touched {
                    match before.get(path) {
                        Some(value) => undone.insert(&proof, path, *value).unwrap(),
                        None => undone.delete(&proof, path).unwrap(),
                    };
                }
                assert_eq!(undone.commit().root, old_root);
                (before, old_root) = (model.clone(), committed.root);
                touched.clear();
            }
        }
    }
}

fn public_key() -> PublicKey {
    // The generator point of secp256k1, whose secret key is one.
    let mut secret = [0; 32];
    if let Some(last) = secret.last_mut() {
        *last = 1;
    }
    crate::crypto::SigningKey::from_bytes(&secret).unwrap().public_key()
}

/// A commit is decoded or refused, and only the key's own signature is accepted.
pub fn fuzz_commit(input: &[u8]) {
    if let Ok(commit) = repo::decode_commit(input) {
        assert_eq!(cbor::check(input), Ok(()));
        let _ = repo::verify(&commit, &public_key());
    }
}

/// A frame is decoded or refused; a commit's blocks and operations are checked to an answer.
pub fn fuzz_event(input: &[u8]) {
    if let Ok(Frame::Commit { event, .. }) = decode_frame(input) {
        drop(repo::verify_commit_event(&event, &public_key()));
        if let Ok(blocks) =
            car::Reader::new(&event.blocks[..]).and_then(Iterator::collect::<Result<HashMap<_, _>, _>>)
        {
            drop(repo::invert_ops(&blocks, event.commit, &event.ops));
        }
    }
}

/// A repository is verified or refused.
pub fn fuzz_repo(input: &[u8]) {
    let did = Did::parse("did:plc:ewvi7nxzyoun6zhxrhs64oiz").unwrap();
    drop(repo::verify_repo(input, &did, &public_key(), |_, _| {}));
}

#[cfg(test)]
mod tests;

/// A hostile lexicon is read or refused, and a hostile record is checked by it or by a known one. A lexicon itself is a
/// sound record of its own type as far as that says.
pub fn fuzz_lexicon(input: &[u8]) {
    let lexicon = Lexicon::from_cbor(input).ok().or_else(|| Lexicon::from_json(input).ok());
    let mut lexicons = Lexicons::known().clone();
    let mut collections = vec![Nsid::parse("app.bsky.feed.post").unwrap()];
    if let Some(lexicon) = lexicon {
        collections.push(lexicon.id().clone());
        lexicons.insert(Arc::new(lexicon));
        let key = RecordKey::parse("com.example.thing").unwrap();
        let schema = Nsid::parse("com.atproto.lexicon.schema").unwrap();
        if cbor::check(input).is_ok() {
            assert_eq!(lexicons.check_record(&schema, &key, input), Ok(()));
        }
    }
    let key = RecordKey::parse("3kznmn7xqxl22").unwrap();
    for collection in collections {
        let checked = lexicons.check_record(&collection, &key, input);
        if let Err(error) = cbor::check(input) {
            // Size and depth of what lexicons do not describe are the encoder's business.
            let is_sized = matches!(error.why, cbor::Malformed::TooDeep | cbor::Malformed::TooManyItems);
            assert!(is_sized || checked.is_err(), "what is no data is no record");
        }
        if let Err(Fault::Mismatch(mismatch)) = checked {
            assert!(!mismatch.to_string().is_empty());
        }
    }
}
