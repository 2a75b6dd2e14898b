//! The tree by its definition: split the sorted keys at each layer. Slow, short, and sharing no code with ours.

use super::Nodes;
use crate::cid::Cid;
use bytes::Bytes;
use ipld_core::ipld::Ipld;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

pub(super) struct Oracle {
    pub(super) root: Cid,
    pub(super) nodes: Nodes,
}

fn layer(key: &str) -> u32 {
    let bits: String = Sha256::digest(key).iter().map(|byte| format!("{byte:08b}")).collect();
    u32::try_from(bits.find('1').unwrap() / 2).unwrap()
}

fn link(cid: Option<Cid>) -> Ipld {
    cid.map_or(Ipld::Null, |cid| {
        Ipld::Link(ipld_core::cid::Cid::try_from(cid.as_bytes().as_slice()).unwrap())
    })
}

impl Oracle {
    pub(super) fn of(records: &BTreeMap<String, Cid>) -> Self {
        let records: Vec<_> = records.iter().map(|(key, value)| (key.as_str(), *value)).collect();
        let top = records.iter().map(|(key, _)| layer(key)).max().unwrap_or(0);
        let mut nodes = Nodes::new();
        let root = Self::node(&records, top, &mut nodes);
        Self { root, nodes }
    }

    fn child(records: &[(&str, Cid)], layer: u32, nodes: &mut Nodes) -> Option<Cid> {
        (!records.is_empty()).then(|| Self::node(records, layer - 1, nodes))
    }

    fn node(records: &[(&str, Cid)], at: u32, nodes: &mut Nodes) -> Cid {
        let (mut previous, mut entries) = ("", Vec::new());
        let mut groups = records.split(|(key, _)| layer(key) == at);
        let left = Self::child(groups.next().unwrap_or_default(), at, nodes);
        for (own, after) in records.iter().filter(|(key, _)| layer(key) == at).zip(groups) {
            let p = own.0.bytes().zip(previous.bytes()).take_while(|(a, b)| a == b).count();
            entries.push(Ipld::Map(BTreeMap::from([
                ("k".to_owned(), Ipld::Bytes(own.0[p..].into())),
                ("p".to_owned(), Ipld::Integer(p as i128)),
                ("t".to_owned(), link(Self::child(after, at, nodes))),
                ("v".to_owned(), link(Some(own.1))),
            ])));
            previous = own.0;
        }
        let node =
            Ipld::Map(BTreeMap::from([("e".to_owned(), Ipld::List(entries)), ("l".to_owned(), link(left))]));
        let block = Bytes::from(serde_ipld_dagcbor::to_vec(&node).unwrap());
        let cid = Cid::for_dag_cbor(&block);
        nodes.insert(cid, block);
        cid
    }
}

/// A small generator, so that a failing seed can be run again.
pub(super) struct Rng(u64);

impl Rng {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) % bound.max(1)
    }
}

/// A key from a small space, so that deletions and repeated keys meet, with layers from 0 up.
pub(super) fn random_key(rng: &mut Rng) -> String {
    let collection = ["app.bsky.feed.post", "app.bsky.feed.like", "app.bsky.graph.follow"]
        [usize::try_from(rng.below(3)).unwrap()];
    if rng.below(4) == 0 {
        format!("{collection}/{}", rng.below(64))
    } else {
        format!("{collection}/3l{:08x}", rng.below(1 << 30))
    }
}
