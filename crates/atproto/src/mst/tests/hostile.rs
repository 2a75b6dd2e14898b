//! Blocks that nobody honest wrote.

use super::*;
use crate::cbor;
use crate::mst::{KeyError, MstError, NODE_ENTRIES_MAX, NodeError, layer_of, validate_key};
use std::convert::Infallible;

/// An entry as it stands in a node: shared bytes, suffix, child after.
type RawEntry<'a> = (u64, &'a [u8], Option<Cid>);

fn raw_node(left: Option<Cid>, entries: &[RawEntry<'_>]) -> (Cid, Bytes) {
    let optional = |out: &mut Vec<u8>, cid: Option<Cid>| match cid {
        Some(cid) => cbor::write_link(out, &cid),
        None => cbor::write_null(out),
    };
    let mut out = Vec::new();
    cbor::write_map(&mut out, 2);
    cbor::write_text(&mut out, "e");
    cbor::write_list(&mut out, entries.len());
    for (shared, suffix, child) in entries {
        cbor::write_map(&mut out, 4);
        cbor::write_text(&mut out, "k");
        cbor::write_bytes(&mut out, suffix);
        cbor::write_text(&mut out, "p");
        cbor::write_uint(&mut out, *shared);
        cbor::write_text(&mut out, "t");
        optional(&mut out, *child);
        cbor::write_text(&mut out, "v");
        cbor::write_link(&mut out, &value(1));
    }
    cbor::write_text(&mut out, "l");
    optional(&mut out, left);
    (Cid::for_dag_cbor(&out), out.into())
}

/// Keys of one layer, in order.
fn keys_on(layer: u8, count: usize) -> Vec<String> {
    let mut keys: Vec<String> =
        (0..).map(|n| format!("a/{n:06}")).filter(|key| layer_of(key) == layer).take(count).collect();
    keys.sort();
    keys
}

fn walk(nodes: &Nodes, root: Cid) -> Result<usize, MstError<Infallible>> {
    Walk::new(nodes, root).try_fold(0, |count, step| step.map(|_| count + 1))
}

/// Gives the one reason for which a walk, a lookup and a diff all refuse the tree.
fn refusal(nodes: &Nodes, root: Cid) -> NodeError {
    let MstError::Node { source, .. } = walk(nodes, root).unwrap_err() else { panic!("not a node error") };
    let MstError::Node { source: in_diff, .. } = diff(nodes, None, root).unwrap_err() else { panic!() };
    assert_eq!(source, in_diff);
    source
}

fn alone(left: Option<Cid>, entries: &[RawEntry<'_>]) -> NodeError {
    let (root, block) = raw_node(left, entries);
    let nodes = Nodes::from([(root, block)]);
    let MstError::Node { source, .. } = Tree::load(root).get(&nodes, "a/b").unwrap_err() else { panic!() };
    assert_eq!(source, refusal(&nodes, root));
    source
}

#[test]
fn refuses_keys_out_of_order_twice_or_wrongly_shortened() {
    let keys = keys_on(0, 3);
    let (a, b) = (keys[0].as_bytes(), keys[1].as_bytes());
    let shared = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    assert_eq!(alone(None, &[(0, b, None), (0, a, None)]), NodeError::Order);
    assert_eq!(alone(None, &[(0, a, None), (a.len() as u64, b"", None)]), NodeError::Order);
    assert_eq!(alone(None, &[(0, a, None), (0, b, None)]), NodeError::Prefix);
    assert_eq!(alone(None, &[(1, &a[1..], None)]), NodeError::Prefix);
    assert_eq!(alone(None, &[(u64::MAX, a, None)]), NodeError::Prefix);
    let (root, block) = raw_node(None, &[(0, a, None), (shared as u64, &b[shared..], None)]);
    assert_eq!(walk(&Nodes::from([(root, block)]), root).unwrap(), 3);
}

#[test]
fn refuses_keys_that_are_no_paths() {
    for bad in ["", "a", "a/", "/a", "a/b/c", "a b/c", "a/\u{e9}", &"a/".repeat(600)] {
        assert!(validate_key(bad).is_err(), "{bad}");
        assert!(matches!(alone(None, &[(0, bad.as_bytes(), None)]), NodeError::Key(_)), "{bad}");
    }
    assert_eq!(alone(None, &[(0, &[0xff, b'/', b'a'], None)]), NodeError::Key(KeyError::Shape));
    let mut tree = Tree::empty();
    assert!(matches!(tree.insert(&Nodes::new(), "a", value(1)), Err(MstError::Key(_))));
}

#[test]
fn refuses_misplaced_layers() {
    let (low, high) = (keys_on(0, 1), keys_on(1, 2));
    let (low, high) = (low[0].as_bytes(), high[0].as_bytes());
    // Two layers in one node.
    let (first, second) = if low < high { (low, high) } else { (high, low) };
    let shared = first.iter().zip(second).take_while(|(a, b)| a == b).count();
    assert!(matches!(
        alone(None, &[(0, first, None), (shared as u64, &second[shared..], None)]),
        NodeError::Layer(_)
    ));
    // A child whose keys belong on its parent's layer, and one below the lowest layer.
    let (child, block) = raw_node(None, &[(0, high, None)]);
    let two = keys_on(1, 2);
    let (root, top) = raw_node(Some(child), &[(0, two[1].as_bytes(), None)]);
    assert_eq!(refusal(&Nodes::from([(child, block), (root, top)]), root), NodeError::Layer(0));
    assert_eq!(alone(Some(value(1)), &[(0, low, None)]), NodeError::ChildBelowLowest);
    assert_eq!(alone(None, &[(0, low, Some(value(1)))]), NodeError::ChildBelowLowest);
}

#[test]
fn refuses_hollow_nodes() {
    let high = keys_on(2, 1);
    let (hollow, block) = raw_node(None, &[]);
    assert_eq!(walk(&Nodes::from([(hollow, block.clone())]), hollow).unwrap(), 1, "the empty tree is one");
    // An empty node below a root, and a root that only points down.
    let (root, top) = raw_node(Some(hollow), &[(0, high[0].as_bytes(), None)]);
    assert_eq!(refusal(&Nodes::from([(hollow, block), (root, top.clone())]), root), NodeError::Hollow);
    assert_eq!(alone(Some(root), &[]), NodeError::Hollow);
}

#[test]
fn refuses_a_child_on_the_wrong_side_of_its_parents_keys() {
    let low = keys_on(0, 40);
    let high = keys_on(1, 3);
    let middle = high[1].as_str();
    let after = low.iter().find(|key| key.as_str() > middle).unwrap();
    let (child, block) = raw_node(None, &[(0, after.as_bytes(), None)]);
    let (root, top) = raw_node(Some(child), &[(0, middle.as_bytes(), None)]);
    let mut nodes = Nodes::from([(child, block), (root, top)]);
    assert_eq!(refusal(&nodes, root), NodeError::Order);
    let before = low.iter().find(|key| key.as_str() < middle).unwrap();
    let found = Tree::load(root).get(&nodes, before);
    assert!(matches!(found, Err(MstError::Node { source: NodeError::Order, .. })), "{found:?}");
    // The mirror image: a child after the key whose keys are before it.
    let (child, block) = raw_node(None, &[(0, before.as_bytes(), None)]);
    let (root, top) = raw_node(None, &[(0, middle.as_bytes(), Some(child))]);
    nodes.extend([(child, block), (root, top)]);
    assert_eq!(refusal(&nodes, root), NodeError::Order);
    let found = Tree::load(root).delete(&nodes, middle);
    assert!(matches!(found, Err(MstError::Node { source: NodeError::Order, .. })), "{found:?}");
    let found = Tree::load(root).insert(&nodes, after, value(1));
    assert!(matches!(found, Err(MstError::Node { source: NodeError::Order, .. })), "{found:?}");
}

#[test]
fn refuses_foreign_bytes_raw_children_and_cycles() {
    let (root, block) = raw_node(None, &[(0, b"a/b", None)]);
    let other = raw_node(None, &[(0, b"a/c", None)]).1;
    assert_eq!(refusal(&Nodes::from([(root, other)]), root), NodeError::Hash);
    let high = keys_on(1, 1);
    assert_eq!(alone(Some(Cid::for_raw(b"x")), &[(0, high[0].as_bytes(), None)]), NodeError::RawChild);
    let mut long = block.to_vec();
    long.push(0);
    let cid = Cid::for_dag_cbor(&long);
    assert!(matches!(refusal(&Nodes::from([(cid, long.into())]), cid), NodeError::Cbor(_)));
    // A hash cannot be made to contain itself; a source that claims so is caught by the hash.
    let fake = value(77);
    let (_, cyclic) = raw_node(Some(fake), &[(0, high[0].as_bytes(), None)]);
    assert_eq!(refusal(&Nodes::from([(fake, cyclic)]), fake), NodeError::Hash);
}

#[test]
fn refuses_nodes_of_too_many_keys_and_to_make_them() {
    let keys = keys_on(0, NODE_ENTRIES_MAX + 1);
    let entries: Vec<RawEntry<'_>> = keys.iter().map(|key| (0, key.as_bytes(), None)).collect();
    assert_eq!(alone(None, &entries), NodeError::TooManyEntries);
    let (mut tree, nodes) = (Tree::empty(), Nodes::new());
    let (last, fitting) = keys.split_last().unwrap();
    for key in fitting {
        tree.insert(&nodes, key, value(1)).unwrap();
    }
    let root = tree.commit().root;
    assert!(matches!(tree.insert(&nodes, last, value(1)), Err(MstError::NodeFull)));
    assert_eq!(tree.commit().root, root);
    let built = build_sorted(keys.iter().map(|key| (key, value(1))), |_, _| {});
    assert!(built.is_err());
}

#[test]
fn joining_two_half_full_nodes_is_refused_before_anything_changes() {
    let between = keys_on(1, 600).into_iter().find(|key| key.as_str() > "a/003000").unwrap();
    let keys = keys_on(0, 6000);
    let (before, after): (Vec<_>, Vec<_>) = keys.iter().partition(|key| **key < between);
    let (mut tree, nodes) = (Tree::empty(), Nodes::new());
    tree.insert(&nodes, &between, value(1)).unwrap();
    for key in before.iter().take(300).chain(after.iter().take(300)) {
        tree.insert(&nodes, key, value(1)).unwrap();
    }
    let root = tree.commit().root;
    assert!(matches!(tree.delete(&nodes, &between), Err(MstError::NodeFull)));
    assert_eq!(tree.root(), Some(root));
    assert_eq!(tree.get(&nodes, &between).unwrap(), Some(value(1)));
}

#[test]
fn a_missing_node_is_an_error_that_changes_nothing() {
    for seed in 0..150 {
        let mut rng = Rng::new(seed);
        let records: BTreeMap<_, _> = (0..60).map(|n| (random_key(&mut rng), value(n))).collect();
        let mut whole = Nodes::new();
        let root = build(&records, &mut whole);
        let mut nodes = whole.clone();
        let lost = usize::try_from(rng.below(nodes.len() as u64)).unwrap();
        let lost = *nodes.keys().nth(lost).unwrap();
        nodes.remove(&lost);
        assert!(matches!(walk(&nodes, root), Err(MstError::Missing(cid)) if cid == lost));

        let (mut tree, mut model) = (Tree::load(root), records.clone());
        for key in records.keys() {
            let fresh = random_key(&mut rng);
            if tree.delete(&nodes, key).is_ok() {
                model.remove(key);
            }
            if tree.insert(&nodes, &fresh, value(5)).is_ok() {
                model.insert(fresh, value(5));
            }
        }
        // Read with the whole set, the tree holds exactly the changes that were not refused.
        let changed = commit(&mut tree, &mut whole);
        assert_eq!(changed, Oracle::of(&model).root, "seed {seed}");
    }
}

#[test]
fn proof_wants_a_committed_tree() {
    let (mut tree, nodes) = (Tree::empty(), Nodes::new());
    tree.insert(&nodes, "a/b", value(1)).unwrap();
    assert!(matches!(tree.proof(&nodes, &["a/b"]), Err(MstError::Uncommitted)));
    tree.commit();
    let root = tree.proof(&nodes, &["a/b"]).unwrap();
    assert_eq!((root.len(), &root), (1, &tree.proof(&nodes, &[]).unwrap()));
    tree.delete(&nodes, "a/b").unwrap();
    let empty = tree.commit();
    assert_eq!(tree.path(&nodes, "a/b").unwrap(), empty.new_blocks);
}
