//! The process dies at any moment: what was acknowledged is there afterwards, and what was sent is not taken back.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use atproto::event::{Frame, decode_frame};

use crate::harness::{Perch, Person, Posted, wait_for};
use crate::http::Messages;

/// How many posts are acknowledged before the process dies.
const POSTS: usize = 150;

/// How long the firehose may be silent before a reader takes it that everything was sent.
const SILENCE: Duration = Duration::from_secs(1);

fn seq_of(message: &[u8]) -> u64 {
    match decode_frame(message).unwrap() {
        Frame::Commit { seq, .. }
        | Frame::Sync { seq, .. }
        | Frame::Identity { seq, .. }
        | Frame::Account { seq, .. } => seq,
        other => panic!("an event without a number: {other:?}"),
    }
}

/// Reads the firehose until it ends or falls silent. Numbers must grow.
fn read_all(messages: &mut Messages) -> BTreeMap<u64, Vec<u8>> {
    let mut events = BTreeMap::new();
    while let Some(message) = messages.next() {
        let seq = seq_of(&message);
        assert!(events.last_key_value().is_none_or(|(last, _)| *last < seq), "{seq} is out of order");
        events.insert(seq, message);
    }
    events
}

/// What the outside knew when the process died.
struct Known {
    people: Vec<Person>,
    /// By person.
    posts: Vec<Vec<Posted>>,
    events: BTreeMap<u64, Vec<u8>>,
}

/// Lets three people post at once, with a reader on the firehose, until `POSTS` are acknowledged; then `die`.
fn run_and_die(data: &Path, die: impl FnOnce(Perch) + Send) -> Known {
    let perch = Perch::start(data);
    let people: Vec<Person> =
        ["alice.test", "bob.test", "carol.test"].iter().map(|name| perch.join(name)).collect();
    let posts: Vec<Mutex<Vec<Posted>>> = people.iter().map(|_| Mutex::default()).collect();
    let stop = AtomicBool::new(false);
    let mut messages = perch.firehose(Some(0));
    let events = thread::scope(|scope| {
        let reader = scope.spawn(move || read_all(&mut messages));
        for (person, posts) in people.iter().zip(&posts) {
            let stop = &stop;
            scope.spawn(move || {
                for number in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let Ok(answer) = person.try_post(&format!("post {number}")) else { break };
                    if answer.code == 200 {
                        posts.lock().unwrap().push(Posted::new(&answer.json()));
                    }
                }
            });
        }
        let count = || posts.iter().map(|posts| posts.lock().unwrap().len()).sum::<usize>();
        wait_for("enough posts", || (count() >= POSTS).then_some(()));
        die(perch);
        stop.store(true, Ordering::Relaxed);
        reader.join().unwrap()
    });
    let posts = posts.into_iter().map(|posts| posts.into_inner().unwrap()).collect();
    Known { people, posts, events }
}

fn check_after(data: &Path, known: &Known) {
    let perch = Perch::start(data);
    let mut newest = 0;
    for (person, posts) in known.people.iter().zip(&known.posts) {
        let (repo, records) = perch.verify(person);
        for post in posts {
            assert!(
                records.contains(&(post.key.clone(), post.cid.clone())),
                "{post:?} was acknowledged and is gone"
            );
            assert!(
                post.rev.as_str() <= repo.commit.rev.to_string().as_str(),
                "{post:?} is newer than its repo"
            );
        }
        // One post may have become durable without its answer being heard.
        assert!(records.len() <= posts.len() + 1, "{} records, {} answers", records.len(), posts.len());
        newest = newest.max(posts.len());
    }
    assert!(newest > 0);
    let person = known.people[0].sign_in(&perch);
    person.post("after the crash");
    let mut messages = perch.firehose(Some(0));
    messages.set_wait(SILENCE);
    let events = read_all(&mut messages);
    for (seq, message) in &known.events {
        assert_eq!(events.get(seq), Some(message), "event {seq} was sent and is another one now");
    }
    let last_known = known.events.last_key_value().map_or(0, |(seq, _)| *seq);
    assert!(events.last_key_value().is_some_and(|(seq, _)| *seq > last_known));
    perch.terminate();
}

#[test]
fn sigkill_under_load_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let known = run_and_die(folder.path(), Perch::kill);
    check_after(folder.path(), &known);
}

#[test]
fn power_cut_under_load_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let known = run_and_die(folder.path(), |perch| {
        let status = perch.tell_and_die("power cut");
        assert!(!status.success(), "a cut is no orderly end");
    });
    check_after(folder.path(), &known);
}
