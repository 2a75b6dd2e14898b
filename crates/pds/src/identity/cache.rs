//! Remembers what others said, DID documents and handles, few and not for long.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::Hash,
};

/// How much is remembered, and how long. Times are of the clock of this boot, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Answers that are kept; the oldest makes room.
    entries_max: usize,
    /// How long an answer is good without asking again.
    fresh_ns: u64,
    /// How long an answer serves while its source does not answer.
    usable_ns: u64,
    /// How long it counts that there was no answer.
    brief_ns: u64,
}

/// Documents. One is about 2 KiB in memory: 1 MiB in all, for the few hosts that a small server meets. Fresh for 10
/// minutes: a changed key or server is noticed soon, and a busy peer costs six requests an hour. Usable for an hour, as
/// in the reference.
pub(super) const DOCUMENTS: Bounds = Bounds {
    entries_max: 512,
    fresh_ns: 600 * SECOND_NS,
    usable_ns: 3_600 * SECOND_NS,
    brief_ns: 30 * SECOND_NS,
};
/// Handles. One is some 200 bytes in memory. Fresh for 5 minutes: people watch a handle that they have just set up.
/// That there is none counts for 30 seconds only, for the same reason.
pub(super) const HANDLES: Bounds = Bounds {
    entries_max: 1_024,
    fresh_ns: 300 * SECOND_NS,
    usable_ns: 3_600 * SECOND_NS,
    brief_ns: 30 * SECOND_NS,
};
/// How long after asking a bad signature does not cause another question, nanoseconds.
const JUST_ASKED_NS: u64 = 30 * SECOND_NS;
const SECOND_NS: u64 = 1_000_000_000;

/// What the cache has.
#[derive(Clone, Debug)]
pub(super) enum Found<V> {
    /// Good as it is.
    Fresh(V),
    /// Only if there is no newer one to be had.
    Stale(V),
    /// Nothing.
    Nothing,
}

#[derive(Clone, Debug)]
struct Kept<V> {
    at_ns: u64,
    brief: bool,
    value: V,
}

/// The answers by what was asked.
#[derive(Debug)]
pub(super) struct Cache<K, V> {
    bounds: Bounds,
    entries: HashMap<K, Kept<V>>,
}

impl<K: Clone + Eq + Hash, V: Clone> Cache<K, V> {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self { bounds, entries: HashMap::new() }
    }

    pub(super) fn get(&self, key: &K, now_ns: u64) -> Found<V> {
        let Some(kept) = self.entries.get(key) else { return Found::Nothing };
        let age_ns = now_ns.saturating_sub(kept.at_ns);
        let (fresh_ns, usable_ns) = if kept.brief {
            (self.bounds.brief_ns, self.bounds.brief_ns)
        } else {
            (self.bounds.fresh_ns, self.bounds.usable_ns)
        };
        if age_ns < fresh_ns {
            Found::Fresh(kept.value.clone())
        } else if age_ns < usable_ns {
            Found::Stale(kept.value.clone())
        } else {
            Found::Nothing
        }
    }

    pub(super) fn put(&mut self, key: &K, value: V, now_ns: u64) {
        self.keep(key, Kept { at_ns: now_ns, brief: false, value });
    }

    /// Keeps an answer that may be better in a moment.
    pub(super) fn put_briefly(&mut self, key: &K, value: V, now_ns: u64) {
        self.keep(key, Kept { at_ns: now_ns, brief: true, value });
    }

    pub(super) fn forget(&mut self, key: &K) {
        self.entries.remove(key);
    }

    pub(super) fn is_just_asked(&self, key: &K, now_ns: u64) -> bool {
        self.entries.get(key).is_some_and(|kept| now_ns.saturating_sub(kept.at_ns) < JUST_ASKED_NS)
    }

    fn keep(&mut self, key: &K, kept: Kept<V>) {
        if self.entries.len() >= self.bounds.entries_max && !self.entries.contains_key(key) {
            self.make_room();
        }
        match self.entries.entry(key.clone()) {
            Entry::Occupied(mut entry) => drop(entry.insert(kept)),
            Entry::Vacant(entry) => {
                entry.insert(kept);
            }
        }
    }

    /// Drops the oldest entry. Looking through all is cheap beside the request that brought the new one.
    fn make_room(&mut self) {
        let oldest = self.entries.iter().min_by_key(|(_, kept)| kept.at_ns).map(|(key, _)| key.clone());
        if let Some(key) = oldest {
            self.entries.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_by_the_clock_of_this_boot() {
        let mut cache = Cache::new(DOCUMENTS);
        cache.put(&"a", 1, 5);
        assert!(matches!(cache.get(&"a", 5 + DOCUMENTS.fresh_ns - 1), Found::Fresh(1)));
        assert!(matches!(cache.get(&"a", 5 + DOCUMENTS.fresh_ns), Found::Stale(1)));
        assert!(matches!(cache.get(&"a", 5 + DOCUMENTS.usable_ns), Found::Nothing));
        assert!(cache.is_just_asked(&"a", 6) && !cache.is_just_asked(&"a", 5 + JUST_ASKED_NS));
        cache.forget(&"a");
        assert!(matches!(cache.get(&"a", 6), Found::Nothing));
    }

    #[test]
    fn that_there_was_nothing_counts_briefly_and_is_never_stale() {
        let mut cache = Cache::new(HANDLES);
        cache.put_briefly(&"a", 1, 5);
        assert!(matches!(cache.get(&"a", 5 + HANDLES.brief_ns - 1), Found::Fresh(1)));
        assert!(matches!(cache.get(&"a", 5 + HANDLES.brief_ns), Found::Nothing));
    }

    #[test]
    fn never_holds_more_than_its_bound() {
        let mut cache = Cache::new(DOCUMENTS);
        let max = DOCUMENTS.entries_max;
        for n in 0..max + 10 {
            cache.put(&n, n, u64::try_from(n).unwrap());
        }
        assert_eq!(cache.entries.len(), max);
        assert!(matches!(cache.get(&9, 600), Found::Nothing));
        assert!(matches!(cache.get(&10, 600), Found::Fresh(10)));
    }
}
