//! The public test vectors.

use super::*;
use crate::mst::{layer_of, node::shared_prefix};
use crate::vectors::read;
use serde_json::Value as Json;

fn json(name: &str) -> Option<Json> {
    read(name).map(|text| serde_json::from_str(&text).unwrap())
}

fn text(json: &Json) -> &str {
    json.as_str().unwrap()
}

fn cid(json: &Json) -> Cid {
    Cid::parse(text(json)).unwrap()
}

fn list<'j>(json: &'j Json, field: &str) -> &'j [Json] {
    json[field].as_array().unwrap()
}

#[test]
fn interop_key_heights() {
    let Some(cases) = json("interop/mst/key_heights.json") else { return };
    for case in cases.as_array().unwrap() {
        assert_eq!(u64::from(layer_of(text(&case["key"]))), case["height"].as_u64().unwrap(), "{case}");
    }
}

#[test]
fn interop_common_prefix() {
    let Some(cases) = json("interop/mst/common_prefix.json") else { return };
    for case in cases.as_array().unwrap() {
        let shared = shared_prefix(text(&case["left"]), text(&case["right"]));
        assert_eq!(shared as u64, case["len"].as_u64().unwrap(), "{case}");
    }
}

#[test]
fn interop_example_keys_name_their_layers() {
    let Some(keys) = read("interop/mst/example_keys.txt") else { return };
    let (mut tree, mut nodes, mut model) = (Tree::empty(), Nodes::new(), BTreeMap::new());
    for (number, key) in keys.lines().enumerate() {
        assert_eq!(u32::from(layer_of(key)), key.chars().nth(1).unwrap().to_digit(10).unwrap(), "{key}");
        tree.insert(&nodes, key, value(number as u64)).unwrap();
        model.insert(key.to_owned(), value(number as u64));
    }
    assert!(model.len() > 100);
    assert_eq!(commit(&mut tree, &mut nodes), Oracle::of(&model).root);
}

#[test]
fn interop_commit_proofs() {
    let Some(cases) = json("interop/firehose/commit-proof-fixtures.json") else { return };
    let cases = cases.as_array().unwrap();
    assert_eq!(cases.len(), 6);
    for case in cases {
        let name = text(&case["comment"]);
        let leaf = cid(&case["leafValue"]);
        let (mut tree, mut nodes) = (Tree::empty(), Nodes::new());
        for key in list(case, "keys") {
            tree.insert(&nodes, text(key), leaf).unwrap();
        }
        let before = commit(&mut tree, &mut nodes);
        assert_eq!(before, cid(&case["rootBeforeCommit"]), "{name}");
        let (adds, dels) = (list(case, "adds"), list(case, "dels"));
        for key in adds {
            assert_eq!(tree.insert(&nodes, text(key), leaf).unwrap(), None);
        }
        for key in dels {
            assert_eq!(tree.delete(&nodes, text(key)).unwrap(), Some(leaf));
        }
        assert_eq!(commit(&mut tree, &mut nodes), cid(&case["rootAfterCommit"]), "{name}");

        let keys: Vec<&str> = adds.iter().chain(dels).map(text).collect();
        let proof: Nodes = tree.proof(&nodes, &keys).unwrap().into_iter().collect();
        let expected: HashSet<Cid> = list(case, "blocksInProof").iter().map(cid).collect();
        assert_eq!(proof.keys().copied().collect::<HashSet<_>>(), expected, "{name}");

        let mut undone = Tree::load(cid(&case["rootAfterCommit"]));
        for key in dels {
            undone.insert(&proof, text(key), leaf).unwrap();
        }
        for key in adds {
            undone.delete(&proof, text(key)).unwrap();
        }
        assert_eq!(undone.commit().root, before, "{name}");
    }
}
