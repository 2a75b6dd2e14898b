//! Measures what a post costs: bytes, CPU, time; and how fast batches, exports and cold starts are.
//!
//! `cargo run --release -p store --example measure -- DIR` fills and uses a store in DIR (which must not exist) and prints
//! one line per figure; `-- DIR import` measures an import of 100,000 records alone. The decisions made by it stand in `docs/design/001-store.md`.

#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a tool for developers: it prints, and ends on errors"
)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use atproto::cbor::{Map, Value, encode};
use atproto::cid::Cid;
use atproto::crypto::SigningKey;
use atproto::syntax::{Did, Handle, Nsid, RecordKey, Tid};
use platform::sim::{SimClock, trusted_clock};
use store::{Change, Config, NewAccount, Op, Record, Status, Store, WriteRequest};

/// 2026-11-23, microseconds since 1970.
const NOW_US: u64 = 1_795_392_000_000_000;

/// What the kernel has counted for this process.
#[derive(Clone, Copy)]
struct Spent {
    cpu: Duration,
    written: u64,
    at: Instant,
}

impl Spent {
    fn now() -> Self {
        let io = std::fs::read_to_string("/proc/self/io").expect("Linux counts bytes");
        let written = io.lines().find_map(|line| line.strip_prefix("write_bytes: "));
        let mut cpu_ns = 0;
        for task in std::fs::read_dir("/proc/self/task").expect("Linux lists threads") {
            let path = task.expect("a thread").path().join("schedstat");
            let text = std::fs::read_to_string(path).unwrap_or_default();
            cpu_ns += text.split(' ').next().and_then(|ns| ns.parse::<u64>().ok()).unwrap_or(0);
        }
        let written = written.and_then(|bytes| bytes.parse().ok()).unwrap_or(0);
        Self { cpu: Duration::from_nanos(cpu_ns), written, at: Instant::now() }
    }

    fn report(self, what: &str, count: u32) {
        let end = Self::now();
        let each = f64::from(count);
        let cpu_us = end.cpu.saturating_sub(self.cpu).as_secs_f64() * 1e6 / each;
        let seconds = (end.at - self.at).as_secs_f64();
        let written = u32::try_from((end.written - self.written) / 1024).unwrap_or(u32::MAX);
        println!(
            "{what:44} {:9.0} /s {cpu_us:9.1} us CPU {:8.2} KiB written, each of {count}",
            each / seconds,
            f64::from(written) / each
        );
    }
}

struct Bench {
    store: Store,
    clock: Arc<SimClock>,
    clock_id: u16,
    posts: AtomicU64,
}

impl Bench {
    async fn account(&self, number: u32) -> Did {
        let did = Did::parse(&format!("did:plc:{number:024}")).expect("a DID");
        let new = NewAccount {
            did: did.clone(),
            handle: Handle::parse(&format!("u{number}.test")).expect("a handle"),
            email: None,
            password_hash: String::new(),
            signing_key: SigningKey::generate().expect("randomness"),
            plc_operation: None,
            invite: None,
        };
        self.store.begin_account(new).await.expect("begun");
        self.store.complete_account(&did, Status::Active).await.expect("an account");
        did
    }

    fn post(&self, number: u32) -> Op {
        self.clock.advance(Duration::from_micros(50));
        // Two clients may meet in one microsecond of the hand-moved clock; record names must differ.
        let at = NOW_US + 50 * self.posts.fetch_add(1, Ordering::Relaxed);
        let text = format!("a small post about nothing much, number {number}, as people write them all day");
        let entries = vec![
            ("$type".to_owned(), Value::from("app.bsky.feed.post")),
            ("text".to_owned(), Value::from(text)),
            ("createdAt".to_owned(), Value::from("2026-11-23T02:34:56.789Z")),
            ("langs".to_owned(), Value::List(vec!["en".into()])),
        ];
        let bytes = encode(&Value::Map(Map::from_entries(entries).expect("keys differ")));
        let record = Record { cid: Cid::for_dag_cbor(&bytes), bytes, blobs: Vec::new() };
        Op {
            collection: Nsid::parse("app.bsky.feed.post").expect("an NSID"),
            rkey: RecordKey::parse(Tid::from_micros(at, self.clock_id).as_str()).expect("a record key"),
            change: Change::Create(record),
            swap_record: None,
        }
    }

    async fn write(&self, did: &Did, ops: Vec<Op>) {
        let request = WriteRequest { did: did.clone(), ops, swap_commit: None };
        self.store.write(request).await.expect("a commit");
    }

    async fn posts(&self, what: &str, dids: &[Did], count: u32) {
        let begin = Spent::now();
        for (number, did) in (0..count).zip(dids.iter().cycle()) {
            self.write(did, vec![self.post(number)]).await;
        }
        begin.report(what, count);
    }

    async fn many_clients(self: &Arc<Self>, what: &str, did: &Did, clients: u32, count: u32) {
        let begin = Spent::now();
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..clients {
            let (bench, did) = (Arc::clone(self), did.clone());
            tasks.spawn(async move {
                for number in 0..count / clients {
                    let op = bench.post(number);
                    bench.write(&did, vec![op]).await;
                }
            });
        }
        while tasks.join_next().await.is_some() {}
        begin.report(what, count);
    }

    async fn batches(&self, what: &str, did: &Did, count: u32) {
        let begin = Spent::now();
        for start in (0..count).step_by(200) {
            let ops = (start..start + 200).map(|number| self.post(number)).collect();
            self.write(did, ops).await;
        }
        begin.report(what, count);
    }

    async fn export(&self, what: &str, did: &Did) {
        let begin = Spent::now();
        let mut export = self.store.export(did, None).await.expect("an export");
        let mut bytes = 0_usize;
        while let Some(chunk) = export.next().await.expect("a chunk") {
            bytes += chunk.len();
        }
        let mb = f64::from(u32::try_from(bytes / 1000).unwrap_or(u32::MAX)) / 1000.0;
        let cpu_ms = Spent::now().cpu.saturating_sub(begin.cpu).as_secs_f64() * 1e3;
        let rate = mb / begin.at.elapsed().as_secs_f64();
        println!("{what:44} {rate:9.0} MB/s {:9.2} ms CPU for each of {mb:.1} MB", cpu_ms / mb);
    }
}

/// A repo of so many posts as a file, made as another server would.
fn car_of(did: &Did, records: u32) -> Vec<u8> {
    let mut blocks = Vec::new();
    let mut entries = Vec::new();
    for number in 0..records {
        let repeats = usize::try_from(number % 4).unwrap_or(0) + 1;
        let text = format!("{number} {}", "The quick brown fox jumps over the lazy dog. ".repeat(repeats));
        let fields = vec![
            ("$type".to_owned(), Value::from("app.bsky.feed.post")),
            ("text".to_owned(), Value::from(text)),
            ("createdAt".to_owned(), Value::from("2026-01-01T00:00:00.000Z")),
            ("langs".to_owned(), Value::List(vec!["en".into()])),
        ];
        let bytes = encode(&Value::Map(Map::from_entries(fields).expect("keys differ")));
        let cid = Cid::for_dag_cbor(&bytes);
        let rkey = Tid::from_micros(NOW_US - 1_000_000_000 * u64::from(records - number), 3);
        entries.push((format!("app.bsky.feed.post/{rkey}"), cid));
        blocks.push((cid, bytes));
    }
    let mut nodes = Vec::new();
    let root = atproto::mst::build_sorted(entries, |cid, block| nodes.push((cid, block))).expect("a tree");
    let key = SigningKey::generate().expect("randomness");
    let (commit, block) = atproto::repo::sign(did, root, Tid::from_micros(NOW_US - 1_000_000, 3), &key);
    let nodes = nodes.iter().map(|(cid, block)| (*cid, &block[..]));
    let bodies = blocks.iter().map(|(cid, block)| (*cid, &block[..]));
    atproto::car::to_vec(&[commit], std::iter::once((commit, &block[..])).chain(nodes).chain(bodies))
}

/// Imports a large repo while another account posts, and prints what that costs both.
async fn import(bench: &Arc<Bench>) {
    let (mover, other) = (bench.account(1).await, bench.account(2).await);
    for (what, busy) in [("import of 100,000", false), ("import of 100,000 beside posts", true)] {
        let car = car_of(&mover, 100_000);
        println!("file of {} KB; before {}", car.len() / 1000, resident());
        let begin = Spent::now();
        let stop = Arc::new(std::sync::atomic::AtomicBool::new(!busy));
        let (poster, did, stopped) = (Arc::clone(bench), other.clone(), Arc::clone(&stop));
        let mut posts = tokio::task::JoinSet::new();
        posts.spawn(async move {
            let mut waits = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                let op = poster.post(0);
                let began = Instant::now();
                poster.write(&did, vec![op]).await;
                waits.push(began.elapsed());
            }
            waits
        });
        let mut import = bench.store.begin_import(&mover).await.expect("a place");
        for piece in car.chunks(64 * 1024) {
            import.write(piece).await.expect("taken");
        }
        let received = begin.at.elapsed();
        let done = import.finish().await.expect("imported");
        let end = Spent::now();
        let times = f64::from(u32::try_from((end.written - begin.written) / 1000).unwrap_or(u32::MAX))
            / f64::from(u32::try_from(car.len() / 1000).unwrap_or(1));
        println!(
            "{what}: {} records in {:.2} s ({:.2} s to receive), CPU {:.2} s, written {times:.2} x the file, {}",
            done.records,
            begin.at.elapsed().as_secs_f64(),
            received.as_secs_f64(),
            end.cpu.saturating_sub(begin.cpu).as_secs_f64(),
            resident()
        );
        stop.store(true, Ordering::Relaxed);
        let mut waits = posts.join_next().await.expect("one task").expect("the posts");
        waits.sort_unstable();
        if let (Some(p99), Some(max)) = (waits.get(waits.len() * 99 / 100), waits.last()) {
            println!("{} posts meanwhile: p99 {p99:?}, longest {max:?}", waits.len());
        }
        let begin = Spent::now();
        let removed = bench.store.maintain().await.expect("kept").repo_rows;
        println!("{removed} old rows removed in {:?}", begin.at.elapsed());
    }
}

fn open(dir: &Path, clock_us: u64) -> (Store, Arc<SimClock>) {
    let begin = Instant::now();
    let (clock, sim) = trusted_clock(clock_us);
    let store = Store::open(Config::new(dir.to_owned(), "plc".to_owned(), clock)).expect("a store");
    println!("{:44} {:9.1} ms", "open", begin.elapsed().as_secs_f64() * 1e3);
    (store, sim)
}

fn resident() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().find(|line| line.starts_with("VmRSS")).unwrap_or_default().replace('\t', " ")
}

#[tokio::main]
async fn main() {
    let dir = PathBuf::from(std::env::args().nth(1).expect("usage: measure DIR"));
    assert!(!dir.exists(), "the folder must not exist");
    let (store, clock) = open(&dir, NOW_US);
    let bench = Arc::new(Bench { store, clock, clock_id: 7, posts: AtomicU64::new(0) });
    println!("idle {}", resident());
    if std::env::args().nth(2).as_deref() == Some("import") {
        import(&bench).await;
        return;
    }
    let small = bench.account(1).await;
    bench.posts("posts, small repo", std::slice::from_ref(&small), 2000).await;
    let ten = bench.account(2).await;
    bench.batches("batches of 200 to 10,000", &ten, 10_000).await;
    bench.posts("posts, 10,000 records", std::slice::from_ref(&ten), 2000).await;
    println!("after {}", resident());
    bench.many_clients("posts, 10,000 records, 16 clients", &ten, 16, 4000).await;
    let mut dids = Vec::new();
    for number in 10..110 {
        dids.push(bench.account(number).await);
    }
    bench.posts("posts, 100 accounts in turn, first", &dids, 1000).await;
    bench.posts("posts, 100 accounts in turn, then", &dids, 2000).await;
    bench.export("export of 16,000", &ten).await;
    let large = bench.account(3).await;
    bench.batches("batches of 200 to 100,000", &large, 100_000).await;
    bench.export("export of 100,000", &large).await;
    println!("after {}", resident());
    let clock_us = u64::try_from(bench.clock.true_us()).unwrap_or(NOW_US);
    Arc::into_inner(bench).expect("all tasks ended").store.close().await.expect("closed");

    let (store, clock) = open(&dir, clock_us + 1_000_000);
    let bench = Bench { store, clock, clock_id: 9, posts: AtomicU64::new(0) };
    let begin = Instant::now();
    bench.write(&large, vec![bench.post(0)]).await;
    println!("{:44} {:9.2} ms", "first post, cold, 100,000 records", begin.elapsed().as_secs_f64() * 1e3);
    bench.posts("posts, 100,000 records", std::slice::from_ref(&large), 2000).await;
    bench.store.close().await.expect("closed");
    let size = std::fs::metadata(dir.join("perch.sqlite")).map_or(0, |file| file.len());
    println!("database of 120,000 records: {} MiB", size >> 20);
}
