//! Remembers DID documents, few and not for long.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use atproto::{did_doc::DidDocument, syntax::Did};

/// Documents that are kept. One is about 2 KiB in memory: 1 MiB in all, for the few hosts that a small server meets.
const ENTRIES_MAX: usize = 512;
/// How long a document is good without asking again, nanoseconds (10 minutes): a changed key or server is noticed
/// soon, and a busy peer costs six requests an hour.
const FRESH_NS: u64 = 600 * SECOND_NS;
/// How long a document serves while its source does not answer, nanoseconds (1 hour), as in the reference.
const USABLE_NS: u64 = 3_600 * SECOND_NS;
/// How long after asking a bad signature does not cause another question, nanoseconds.
const JUST_ASKED_NS: u64 = 30 * SECOND_NS;
const SECOND_NS: u64 = 1_000_000_000;

/// What the cache has of a DID.
#[derive(Clone, Debug)]
pub(super) enum Found {
    /// Good as it is.
    Fresh(Arc<DidDocument>),
    /// Only if there is no newer one to be had.
    Stale(Arc<DidDocument>),
    /// Nothing.
    Nothing,
}

/// The documents by DID, each with when it was had, by the clock of this boot in nanoseconds.
#[derive(Debug, Default)]
pub(super) struct Cache(HashMap<Did, (u64, Arc<DidDocument>)>);

impl Cache {
    pub(super) fn get(&self, did: &Did, now_ns: u64) -> Found {
        let Some((at_ns, document)) = self.0.get(did) else { return Found::Nothing };
        match now_ns.saturating_sub(*at_ns) {
            0..FRESH_NS => Found::Fresh(Arc::clone(document)),
            FRESH_NS..USABLE_NS => Found::Stale(Arc::clone(document)),
            USABLE_NS.. => Found::Nothing,
        }
    }

    pub(super) fn put(&mut self, did: &Did, document: Arc<DidDocument>, now_ns: u64) {
        if self.0.len() >= ENTRIES_MAX && !self.0.contains_key(did) {
            self.make_room();
        }
        match self.0.entry(did.clone()) {
            Entry::Occupied(mut entry) => drop(entry.insert((now_ns, document))),
            Entry::Vacant(entry) => {
                entry.insert((now_ns, document));
            }
        }
    }

    pub(super) fn forget(&mut self, did: &Did) {
        self.0.remove(did);
    }

    pub(super) fn is_just_asked(&self, did: &Did, now_ns: u64) -> bool {
        self.0.get(did).is_some_and(|(at_ns, _)| now_ns.saturating_sub(*at_ns) < JUST_ASKED_NS)
    }

    /// Drops the oldest entry. Looking through all is cheap beside the request that brought the new one.
    fn make_room(&mut self) {
        let oldest = self.0.iter().min_by_key(|(_, (at_ns, _))| *at_ns).map(|(did, _)| did.clone());
        if let Some(did) = oldest {
            self.0.remove(&did);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(did: &Did) -> Arc<DidDocument> {
        let json = format!(r#"{{"id":"{did}"}}"#);
        Arc::new(DidDocument::parse(did, json.as_bytes()).unwrap())
    }

    #[test]
    fn ages_by_the_clock_of_this_boot() {
        let did = Did::parse("did:web:example.com").unwrap();
        let mut cache = Cache::default();
        cache.put(&did, document(&did), 5);
        assert!(matches!(cache.get(&did, 5 + FRESH_NS - 1), Found::Fresh(_)));
        assert!(matches!(cache.get(&did, 5 + FRESH_NS), Found::Stale(_)));
        assert!(matches!(cache.get(&did, 5 + USABLE_NS), Found::Nothing));
        assert!(cache.is_just_asked(&did, 6) && !cache.is_just_asked(&did, 5 + JUST_ASKED_NS));
        cache.forget(&did);
        assert!(matches!(cache.get(&did, 6), Found::Nothing));
    }

    #[test]
    fn never_holds_more_than_its_bound() {
        let mut cache = Cache::default();
        let did = |n: usize| Did::parse(&format!("did:web:h{n}.example.com")).unwrap();
        for n in 0..ENTRIES_MAX + 10 {
            cache.put(&did(n), document(&did(n)), u64::try_from(n).unwrap());
        }
        assert_eq!(cache.0.len(), ENTRIES_MAX);
        assert!(matches!(cache.get(&did(9), 600), Found::Nothing));
        assert!(matches!(cache.get(&did(10), 600), Found::Fresh(_)));
    }
}
