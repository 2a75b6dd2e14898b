//! The tree against its definition: random changes, bulk builds, diffs, proofs, snapshots and memory.

mod hostile;
mod oracle;
mod others;
mod vectors;

use super::{Builder, Step, Tree, Walk, build_sorted, diff};
use crate::cid::Cid;
use bytes::Bytes;
use oracle::{Oracle, Rng, random_key};
use std::collections::{BTreeMap, HashMap, HashSet};

type Nodes = HashMap<Cid, Bytes>;

fn value(number: u64) -> Cid {
    Cid::for_dag_cbor(&number.to_be_bytes())
}

/// Commits and keeps the new nodes, as a store does.
fn commit(tree: &mut Tree, nodes: &mut Nodes) -> Cid {
    let committed = tree.commit();
    nodes.extend(committed.new_blocks);
    committed.root
}

fn build(records: &BTreeMap<String, Cid>, nodes: &mut Nodes) -> Cid {
    build_sorted(records.iter().map(|(key, value)| (key, *value)), |cid, block| {
        nodes.insert(cid, block);
    })
    .unwrap()
}

/// One change to a tree and to the model beside it.
fn change(rng: &mut Rng, tree: &mut Tree, nodes: &Nodes, model: &mut BTreeMap<String, Cid>) -> String {
    let known = |rng: &mut Rng, model: &BTreeMap<String, Cid>| {
        let at = usize::try_from(rng.below(model.len() as u64)).unwrap();
        model.keys().nth(at).unwrap().clone()
    };
    match rng.below(8) {
        0..4 => {
            let (key, value) = (random_key(rng), value(rng.below(1 << 40)));
            assert_eq!(tree.insert(nodes, &key, value).unwrap(), model.insert(key.clone(), value));
            key
        }
        4 if !model.is_empty() => {
            let (key, value) = (known(rng, model), value(rng.below(1 << 40)));
            assert_eq!(tree.update(nodes, &key, value).unwrap(), model.insert(key.clone(), value));
            key
        }
        5 => {
            let key = random_key(rng);
            assert_eq!(tree.delete(nodes, &key).unwrap(), model.remove(&key));
            key
        }
        _ if !model.is_empty() => {
            let key = known(rng, model);
            assert_eq!(tree.delete(nodes, &key).unwrap(), model.remove(&key));
            key
        }
        _ => random_key(rng),
    }
}

#[test]
fn random_changes_agree_with_rebuilding_by_layer() {
    for seed in 0..400 {
        let mut rng = Rng::new(seed);
        let (mut tree, mut nodes, mut model) = (Tree::empty(), Nodes::new(), BTreeMap::new());
        for step in 0..60 {
            change(&mut rng, &mut tree, &nodes, &mut model);
            if rng.below(12) == 0 {
                // Empty it in the same instance, so that refilling starts from what deletions left.
                for key in std::mem::take(&mut model).keys() {
                    assert!(tree.delete(&nodes, key).unwrap().is_some());
                }
            }
            match rng.below(4) {
                0 => continue,
                1 => tree.forget_clean(),
                2 => tree.forget_below(1),
                _ => {}
            }
            let root = commit(&mut tree, &mut nodes);
            let oracle = Oracle::of(&model);
            assert_eq!(root, oracle.root, "seed {seed} step {step}: {:?}", model.keys());
            for (cid, block) in &oracle.nodes {
                assert_eq!(nodes.get(cid), Some(block), "seed {seed} step {step}");
            }
            if rng.below(3) == 0 {
                tree = Tree::load(root);
            }
        }
        for (key, value) in &model {
            assert_eq!(tree.get(&nodes, key).unwrap(), Some(*value));
        }
    }
}

#[test]
fn bulk_build_and_walk_agree_with_rebuilding_by_layer() {
    for seed in 0..200 {
        let mut rng = Rng::new(seed);
        let records: BTreeMap<_, _> = (0..rng.below(80)).map(|n| (random_key(&mut rng), value(n))).collect();
        let oracle = Oracle::of(&records);
        let mut nodes = Nodes::new();
        assert_eq!(build(&records, &mut nodes), oracle.root);
        assert_eq!(nodes, oracle.nodes);

        let (mut walked, mut seen) = (Nodes::new(), Vec::new());
        for step in Walk::new(&nodes, oracle.root) {
            match step.unwrap() {
                Step::Node { cid, block } => assert!(walked.insert(cid, block).is_none()),
                Step::Record { key, value } => seen.push((key.into_string(), value)),
            }
        }
        assert_eq!(walked, nodes);
        assert!(seen.into_iter().eq(records));
    }
}

#[test]
fn diff_agrees_with_comparing_everything() {
    for seed in 0..200 {
        let mut rng = Rng::new(seed);
        let (mut tree, mut nodes, mut model) = (Tree::empty(), Nodes::new(), BTreeMap::new());
        for _ in 0..rng.below(60) {
            change(&mut rng, &mut tree, &nodes, &mut model);
        }
        let (old, before) = (commit(&mut tree, &mut nodes), model.clone());
        for _ in 0..=rng.below(8) {
            change(&mut rng, &mut tree, &nodes, &mut model);
        }
        let new = commit(&mut tree, &mut nodes);
        let found = diff(&nodes, Some(old), new).unwrap();

        let (a, b) = (Oracle::of(&before).nodes, Oracle::of(&model).nodes);
        let created: HashSet<Cid> = found.created_nodes.iter().map(|(cid, _)| *cid).collect();
        let deleted: HashSet<Cid> = found.deleted_nodes.iter().copied().collect();
        assert_eq!(created, b.keys().filter(|cid| !a.contains_key(*cid)).copied().collect(), "seed {seed}");
        assert_eq!(deleted, a.keys().filter(|cid| !b.contains_key(*cid)).copied().collect(), "seed {seed}");
        assert_eq!((created.len(), deleted.len()), (found.created_nodes.len(), found.deleted_nodes.len()));

        let keys: std::collections::BTreeSet<_> = before.keys().chain(model.keys()).collect();
        let expected: Vec<_> = keys
            .into_iter()
            .map(|key| (key.clone(), before.get(key).copied(), model.get(key).copied()))
            .filter(|(_, old, new)| old != new)
            .collect();
        let ops: Vec<_> = found.ops.into_iter().map(|op| (op.key.into_string(), op.old, op.new)).collect();
        assert_eq!(ops, expected, "seed {seed}");
    }
}

#[test]
fn diff_from_nothing_is_the_whole_tree() {
    let mut rng = Rng::new(7);
    let records: BTreeMap<_, _> = (0..50).map(|n| (random_key(&mut rng), value(n))).collect();
    let mut nodes = Nodes::new();
    let root = build(&records, &mut nodes);
    let whole = diff(&nodes, None, root).unwrap();
    assert_eq!(whole.created_nodes.len(), nodes.len());
    assert_eq!((whole.deleted_nodes.len(), whole.ops.len()), (0, records.len()));
    assert!(diff(&nodes, Some(root), root).unwrap().ops.is_empty());
}

#[test]
fn covering_proof_is_enough_to_undo_a_commit() {
    for seed in 0..400 {
        let mut rng = Rng::new(seed);
        let (mut tree, mut nodes, mut model) = (Tree::empty(), Nodes::new(), BTreeMap::new());
        for _ in 0..rng.below(80) {
            change(&mut rng, &mut tree, &nodes, &mut model);
        }
        let (old, before) = (commit(&mut tree, &mut nodes), model.clone());
        let mut touched = std::collections::BTreeSet::new();
        for _ in 0..=rng.below(12) {
            touched.insert(change(&mut rng, &mut tree, &nodes, &mut model));
        }
        touched.retain(|key| before.get(key) != model.get(key));
        let committed = tree.commit();
        // A batch may touch a node and undo it; what the commit really made is what was not there.
        let made: Vec<Cid> =
            committed.new_blocks.iter().map(|(cid, _)| *cid).filter(|cid| !nodes.contains_key(cid)).collect();
        nodes.extend(committed.new_blocks);
        if rng.below(2) == 0 {
            tree.forget_clean();
        }
        let keys: Vec<&str> = touched.iter().map(String::as_str).collect();
        let proof: Nodes = tree.proof(&nodes, &keys).unwrap().into_iter().collect();
        assert!(
            made.iter().all(|cid| proof.contains_key(cid)),
            "seed {seed}: a new node is not in the proof"
        );

        let mut undone = Tree::load(committed.root);
        for key in touched.iter().rev() {
            match before.get(key) {
                Some(value) => undone.insert(&proof, key, *value).unwrap(),
                None => undone.delete(&proof, key).unwrap(),
            };
        }
        assert_eq!(undone.commit().root, old, "seed {seed}");
    }
}

#[test]
fn setting_the_same_value_changes_nothing() {
    let (mut tree, mut nodes) = (Tree::empty(), Nodes::new());
    tree.insert(&nodes, "app.bsky.feed.post/1", value(1)).unwrap();
    let root = commit(&mut tree, &mut nodes);
    assert_eq!(tree.insert(&nodes, "app.bsky.feed.post/1", value(1)).unwrap(), Some(value(1)));
    assert_eq!(tree.update(&nodes, "app.bsky.feed.post/2", value(1)).unwrap(), None);
    assert_eq!(tree.delete(&nodes, "app.bsky.feed.post/2").unwrap(), None);
    assert_eq!(tree.root(), Some(root));
    assert!(tree.commit().new_blocks.is_empty());
}

#[test]
fn clone_is_a_snapshot_to_go_back_to() {
    let mut rng = Rng::new(3);
    let (mut tree, mut nodes, mut model) = (Tree::empty(), Nodes::new(), BTreeMap::new());
    for _ in 0..40 {
        change(&mut rng, &mut tree, &nodes, &mut model);
    }
    let root = commit(&mut tree, &mut nodes);
    let mut snapshot = tree.clone();
    for _ in 0..10 {
        change(&mut rng, &mut tree, &nodes, &mut model.clone());
        model = model_of(&mut snapshot.clone(), &nodes, &model);
        tree = snapshot.clone();
    }
    assert_eq!(snapshot.commit().root, root);
    snapshot.insert(&nodes, "a/b", value(9)).unwrap();
    snapshot.delete(&nodes, "a/b").unwrap();
    assert_eq!(snapshot.commit().root, root);
}

fn model_of(tree: &mut Tree, nodes: &Nodes, model: &BTreeMap<String, Cid>) -> BTreeMap<String, Cid> {
    for (key, value) in model {
        assert_eq!(tree.get(nodes, key).unwrap(), Some(*value));
    }
    model.clone()
}

#[test]
fn loads_only_the_path_and_forgets_it() {
    let mut rng = Rng::new(11);
    let records: BTreeMap<_, _> = (0..3000).map(|n| (random_key(&mut rng), value(n))).collect();
    let mut nodes = Nodes::new();
    let root = build(&records, &mut nodes);
    let mut tree = Tree::load(root);
    tree.get(&nodes, records.keys().next().unwrap()).unwrap();
    let path = tree.memory_bytes();
    assert!(path < 20_000, "{path} bytes for one path");
    for key in records.keys() {
        tree.get(&nodes, key).unwrap();
    }
    assert!(tree.memory_bytes() > 20 * path);
    tree.forget_below(2);
    assert!((1..20_000).contains(&tree.memory_bytes()), "{}", tree.memory_bytes());
    tree.insert(&nodes, "a/b", value(1)).unwrap();
    tree.forget_clean();
    assert!((1..20_000).contains(&tree.memory_bytes()));
    commit(&mut tree, &mut nodes);
    tree.forget_clean();
    assert_eq!(tree.memory_bytes(), 0);
    assert_eq!(tree.get(&nodes, "a/b").unwrap(), Some(value(1)));
}

#[test]
fn builder_refuses_what_is_not_sorted() {
    let mut builder = Builder::new();
    builder.push("a/b", value(1)).unwrap();
    assert!(builder.push("a/b", value(1)).is_err());
    assert!(builder.push("a/a", value(1)).is_err());
    assert!(builder.push("a", value(1)).is_err());
    builder.push("a/c", value(1)).unwrap();
}
