//! What was promised, and when: for each thing the values that it was given, each with the time of the call and of the
//! answer, as positions in the disk's log.
//!
//! A cut between call and answer may show the old value or the new one; after the answer only the new one.

use std::collections::{BTreeMap, BTreeSet};

use atproto::cid::Cid;
use atproto::syntax::{Did, Nsid, Tid};
use bytes::Bytes;

/// Something that the store keeps.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Thing {
    /// An account; its handle.
    Account(Did),
    /// An account's state; the protocol's word.
    Status(Did),
    /// An account creation under way; the bytes of its operation.
    Intent(Did),
    /// A signing key; its bytes.
    SigningKey(Did),
    /// A record by `collection/rkey`; its bytes.
    Record(Did, String),
    /// A blob; its content.
    Blob(Did, Cid),
    /// A session by the name of its token; what it was exchanged for, if it was.
    Session(Did, String),
    /// An account's preferences; their bytes.
    Preferences(Did),
    /// The operator's hold on a record by `collection/rkey`; its reference.
    RecordHold(Did, String),
    /// A lexicon that was fetched, by its name; its bytes.
    Lexicon(Nsid),
    /// A secret of the server; its bytes.
    Secret(&'static str),
    /// An event by its number; its frame.
    Event(u64),
}

/// One call that gave a thing a value.
#[derive(Clone, Debug)]
struct Claim {
    /// Calls that must happen wholly or not at all have one number.
    call: u64,
    begun: usize,
    /// `None`: never answered, or nobody may rely on it.
    answered: Option<usize>,
    /// `None`: it is gone.
    value: Option<Bytes>,
}

/// A revision that somebody was told of.
#[derive(Clone, Debug)]
struct ToldRev {
    position: usize,
    did: Did,
    rev: Tid,
}

/// All promises of one load.
#[derive(Debug, Default)]
pub struct Ledger {
    claims: BTreeMap<Thing, Vec<Claim>>,
    revs: Vec<ToldRev>,
    /// Numbers that were passed, by position: none up to them may be given any more.
    passed: Vec<(usize, u64)>,
    /// Trusted time by position, microseconds since 1970.
    times: Vec<(usize, u64)>,
    /// Trusted time by event when a subscriber got it, microseconds since 1970.
    sent_us: BTreeMap<u64, u64>,
    calls: u64,
}

/// A call under way.
#[derive(Debug)]
pub struct Call {
    number: u64,
    claimed: Vec<Thing>,
    /// Position at which it began.
    pub begun: usize,
}

impl Ledger {
    /// Notes that a call begins which gives these things these values.
    pub fn begin(&mut self, begun: usize, values: Vec<(Thing, Option<Bytes>)>) -> Call {
        self.calls += 1;
        let mut call = Call { number: self.calls, claimed: Vec::new(), begun };
        for (thing, value) in values {
            self.add(&mut call, thing, value);
        }
        call
    }

    fn add(&mut self, call: &mut Call, thing: Thing, value: Option<Bytes>) {
        let claim = Claim { call: call.number, begun: call.begun, answered: None, value };
        self.claims.entry(thing.clone()).or_default().push(claim);
        call.claimed.push(thing);
    }

    /// Notes that a call was answered at a position.
    pub fn answered(&mut self, call: &Call, position: usize) {
        for thing in &call.claimed {
            for claim in self.claims.get_mut(thing).into_iter().flatten() {
                if claim.call == call.number {
                    claim.answered = Some(position);
                }
            }
        }
    }

    /// Notes an event that a subscriber got at a position. What a cut before it shows is anybody's guess.
    pub fn sent(&mut self, position: usize, seq: u64, frame: Bytes) {
        self.calls += 1;
        let claim = Claim { call: self.calls, begun: 0, answered: Some(position), value: Some(frame) };
        self.claims.entry(Thing::Event(seq)).or_default().push(claim);
        let now_us = self.times.last().map_or(0, |(_, unix_us)| *unix_us);
        self.sent_us.insert(seq, now_us);
    }

    /// Lists the events that were sent before a time.
    pub(crate) fn events_before(&self, unix_us: u64) -> Vec<Thing> {
        let sent = self.sent_us.iter().filter(|(_, sent_us)| **sent_us < unix_us);
        sent.map(|(seq, _)| Thing::Event(*seq)).collect()
    }

    /// Gives the newest value of a thing.
    pub(crate) fn value(&self, thing: &Thing) -> Option<&Bytes> {
        self.claims.get(thing)?.last()?.value.as_ref()
    }

    /// Notes that things may go from a position on, without anybody being told when.
    pub fn may_go(&mut self, begun: usize, things: impl IntoIterator<Item = Thing>) {
        self.calls += 1;
        for thing in things {
            let claim = Claim { call: self.calls, begun, answered: None, value: None };
            self.claims.entry(thing).or_default().push(claim);
        }
    }

    /// Notes a revision that somebody was told of.
    pub fn told_rev(&mut self, position: usize, did: Did, rev: Tid) {
        self.revs.push(ToldRev { position, did, rev });
    }

    /// Notes that numbers up to this one will not be given any more.
    pub(crate) fn passed(&mut self, position: usize, seq: u64) {
        self.passed.push((position, seq));
    }

    /// Notes the trusted time.
    pub fn at_time(&mut self, position: usize, unix_us: u64) {
        self.times.push((position, unix_us));
    }

    /// Lists the things of one kind that have a value now, as far as was promised.
    #[must_use]
    pub fn present(&self, wanted: impl Fn(&Thing) -> bool) -> Vec<Thing> {
        let is_present = |claims: &Vec<Claim>| claims.last().is_some_and(|claim| claim.value.is_some());
        let found = self.claims.iter().filter(|(thing, claims)| wanted(thing) && is_present(claims));
        found.map(|(thing, _)| thing.clone()).collect()
    }

    /// Says what a cut at a position may show.
    #[must_use]
    pub fn expected_at(&self, position: usize) -> Expected<'_> {
        Expected { ledger: self, position, second: None }
    }
}

/// What a cut at one position may show.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'l> {
    ledger: &'l Ledger,
    position: usize,
    /// What the store promised when it was started again after that position, and where it was cut then.
    second: Option<(&'l SecondLife, usize)>,
}

/// Promises of a store that was started again after a cut or a kill.
#[derive(Debug, Default)]
pub(crate) struct SecondLife {
    promises: BTreeMap<Thing, (usize, Bytes)>,
    revs: Vec<ToldRev>,
    /// Position at which all events that were found had been sent again.
    pub(crate) sent_at: usize,
}

impl SecondLife {
    /// Notes a value that was promised at a position of the second log.
    pub(crate) fn promise(&mut self, position: usize, thing: Thing, value: Bytes) {
        self.promises.insert(thing, (position, value));
    }

    /// Notes a revision that somebody was told of.
    pub(crate) fn told_rev(&mut self, position: usize, did: Did, rev: Tid) {
        self.revs.push(ToldRev { position, did, rev });
    }
}

/// How a value that was found compares with what was promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    /// It is the one promised value.
    Kept,
    /// A call was under way, and this is its value.
    New(u64),
    /// A call was under way, and this is the value before it.
    Old(u64),
    /// A call was under way which would have changed nothing.
    Either,
    /// It is none of those that it may be.
    Broken,
}

impl<'l> Expected<'l> {
    /// Says what a cut at a position of the log of a second life may show.
    pub(crate) fn then(self, life: &'l SecondLife, cut: usize) -> Self {
        Self { second: Some((life, cut)), ..self }
    }

    /// Gives the position of the (first) cut.
    pub(crate) fn position(&self) -> usize {
        self.position
    }

    fn promised_then(&self, thing: &Thing) -> Option<(bool, &'l Bytes)> {
        let (life, cut) = self.second?;
        life.promises.get(thing).map(|(position, value)| (*position <= cut, value))
    }

    /// Tells whether anybody ever put a thing there.
    pub(crate) fn knows(&self, thing: &Thing) -> bool {
        self.ledger.claims.contains_key(thing) || self.promised_then(thing).is_some()
    }

    /// Compares a value that was found (`None`: it is not there).
    pub(crate) fn compare(&self, thing: &Thing, found: Option<&[u8]>) -> Comparison {
        match self.promised_then(thing) {
            Some((_, value)) if found == Some(value) => return Comparison::Either,
            Some((true, _)) => return Comparison::Broken,
            Some((false, _)) | None => {}
        }
        let claims = self.ledger.claims.get(thing).map(Vec::as_slice).unwrap_or_default();
        let is_answered = |claim: &Claim| claim.answered.is_some_and(|at| at <= self.position);
        let settled = claims.iter().rposition(is_answered);
        let base = settled.and_then(|at| claims.get(at)).and_then(|claim| claim.value.as_deref());
        let later = claims.get(settled.map_or(0, |at| at + 1)..).unwrap_or_default();
        let later: Vec<&Claim> = later.iter().filter(|claim| claim.begun < self.position).collect();
        let news = later.iter().rev().find(|claim| claim.value.as_deref() == found);
        match (found == base, news, later.last()) {
            (true, None, None) => Comparison::Kept,
            (true, None, Some(claim)) => Comparison::Old(claim.call),
            (true, Some(_), _) => Comparison::Either,
            (false, Some(claim), _) => Comparison::New(claim.call),
            (false, None, _) => Comparison::Broken,
        }
    }

    /// Lists everything of which a promise holds here, or may hold.
    pub(crate) fn things(&self) -> BTreeSet<&'l Thing> {
        let begun = |claims: &Vec<Claim>| claims.iter().any(|claim| claim.begun < self.position);
        let first = self.ledger.claims.iter().filter(|(_, claims)| begun(claims)).map(|(thing, _)| thing);
        first.chain(self.second.iter().flat_map(|(life, _)| life.promises.keys())).collect()
    }

    /// Gives the largest number of an event that somebody got before the cut, or that was passed.
    pub(crate) fn last_sent(&self) -> u64 {
        let sent = |(thing, claims): (&Thing, &Vec<Claim>)| match thing {
            Thing::Event(seq) => claims
                .iter()
                .any(|claim| claim.answered.is_some_and(|at| at <= self.position))
                .then_some(*seq),
            _ => None,
        };
        let again = |(life, cut): (&SecondLife, usize)| {
            let kept = life.promises.iter().filter(|(_, (position, _))| *position <= cut);
            kept.filter_map(|(thing, _)| if let Thing::Event(seq) = thing { Some(*seq) } else { None }).max()
        };
        let then = self.second.and_then(again).unwrap_or(0);
        let passed = self.ledger.passed.iter().filter(|(position, _)| *position <= self.position);
        let passed = passed.map(|(_, seq)| *seq).max().unwrap_or(0);
        self.ledger.claims.iter().filter_map(sent).max().unwrap_or(0).max(then).max(passed)
    }

    /// Gives the newest revision of each repo that somebody was told of before the cut.
    pub(crate) fn revs(&self) -> BTreeMap<&'l Did, Tid> {
        let mut newest: BTreeMap<&Did, Tid> = BTreeMap::new();
        let then = self
            .second
            .iter()
            .flat_map(|(life, cut)| life.revs.iter().filter(move |told| told.position <= *cut));
        for told in self.ledger.revs.iter().filter(|told| told.position <= self.position).chain(then) {
            let entry = newest.entry(&told.did).or_insert(told.rev);
            *entry = (*entry).max(told.rev);
        }
        newest
    }

    /// Gives the trusted time at the cut, microseconds since 1970.
    pub(crate) fn unix_us(&self) -> u64 {
        let before = self.ledger.times.iter().rfind(|(position, _)| *position <= self.position);
        before.or(self.ledger.times.first()).map_or(0, |(_, unix_us)| *unix_us)
    }
}

/// Finds calls that were done in part.
#[derive(Debug, Default)]
pub(crate) struct Wholeness {
    new: BTreeSet<u64>,
    old: BTreeSet<u64>,
}

impl Wholeness {
    /// Takes what one thing showed.
    pub(crate) fn add(&mut self, comparison: Comparison) {
        match comparison {
            Comparison::New(call) => self.new.insert(call),
            Comparison::Old(call) => self.old.insert(call),
            Comparison::Kept | Comparison::Either | Comparison::Broken => false,
        };
    }

    /// Counts the calls of which some parts are there and others are not.
    pub(crate) fn halves(&self) -> usize {
        self.new.intersection(&self.old).count()
    }
}

#[cfg(test)]
mod tests {
    use atproto::syntax::Did;
    use bytes::Bytes;

    use super::{Comparison, Ledger, Thing};

    #[test]
    fn between_call_and_answer_both_values_may_be_there() {
        let thing = Thing::Record(Did::parse("did:web:a.test").unwrap(), "c/r".to_owned());
        let mut ledger = Ledger::default();
        let first = ledger.begin(10, vec![(thing.clone(), Some(Bytes::from_static(b"one")))]);
        ledger.answered(&first, 20);
        let second = ledger.begin(30, vec![(thing.clone(), None)]);
        ledger.answered(&second, 40);
        let compare = |at, found| ledger.expected_at(at).compare(&thing, found);
        let one: Option<&[u8]> = Some(b"one");
        assert_eq!(compare(10, None), Comparison::Kept);
        assert_eq!(compare(10, one), Comparison::Broken);
        assert_eq!((compare(15, None), compare(15, one)), (Comparison::Old(1), Comparison::New(1)));
        assert_eq!((compare(20, one), compare(30, None)), (Comparison::Kept, Comparison::Broken));
        assert_eq!((compare(35, one), compare(35, None)), (Comparison::Old(2), Comparison::New(2)));
        assert_eq!((compare(40, None), compare(40, one)), (Comparison::Kept, Comparison::Broken));
    }
}
