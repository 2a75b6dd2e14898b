//! The smallest sequences that published implementations got wrong.

use super::*;

#[derive(Clone, Copy)]
enum Change {
    Add(&'static str),
    Delete(&'static str),
}
use Change::{Add, Delete};

/// Runs the changes in one instance, in one batch and with a commit and reload after each; all must agree.
fn check(changes: &[Change]) {
    for mode in 0..3 {
        let (mut tree, mut nodes, mut model) = (Tree::empty(), Nodes::new(), BTreeMap::new());
        for change in changes {
            match *change {
                Add(key) => {
                    tree.insert(&nodes, key, value(1)).unwrap();
                    model.insert(key.to_owned(), value(1));
                }
                Delete(key) => {
                    tree.delete(&nodes, key).unwrap();
                    model.remove(key);
                }
            }
            if mode > 0 {
                let root = commit(&mut tree, &mut nodes);
                assert_eq!(root, Oracle::of(&model).root);
                if mode > 1 {
                    tree = Tree::load(root);
                }
            }
        }
        assert_eq!(commit(&mut tree, &mut nodes), Oracle::of(&model).root);
    }
}

#[test]
fn add_below_a_key_two_layers_up_and_then_between() {
    check(&[
        Add("app.bsky.feed.like/3l3lsq3gjksbu"),
        Add("app.bsky.graph.follow/3lavm4awgjt6s"),
        Add("app.bsky.feed.like/3le5wpnmviw3g"),
    ]);
}

#[test]
fn deleting_the_highest_key_lowers_the_root() {
    check(&[
        Add("app.bsky.feed.like/3lftmkhsrsfye"),
        Add("app.bsky.feed.post/3lkjruwyc754y"),
        Add("app.bsky.feed.post/3lu6hib2irair"),
        Delete("app.bsky.feed.post/3lkjruwyc754y"),
    ]);
}

#[test]
fn refilling_an_emptied_tree_starts_at_the_new_keys_layer() {
    check(&[
        Add("app.bsky.graph.follow/3lqb4y3oxkywo"),
        Delete("app.bsky.graph.follow/3lqb4y3oxkywo"),
        Add("app.bsky.feed.post/3lbxedxfkj3bv"),
    ]);
}

#[test]
fn layers_of_these_keys_are_what_makes_them_hard() {
    for (key, layer) in [
        ("app.bsky.feed.like/3l3lsq3gjksbu", 1),
        ("app.bsky.graph.follow/3lavm4awgjt6s", 0),
        ("app.bsky.feed.like/3le5wpnmviw3g", 2),
        ("app.bsky.feed.like/3lftmkhsrsfye", 0),
        ("app.bsky.feed.post/3lkjruwyc754y", 3),
        ("app.bsky.feed.post/3lu6hib2irair", 1),
        ("app.bsky.graph.follow/3lqb4y3oxkywo", 3),
        ("app.bsky.feed.post/3lbxedxfkj3bv", 1),
    ] {
        assert_eq!(crate::mst::layer_of(key), layer, "{key}");
    }
}
