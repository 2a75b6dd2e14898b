//! The measurements: what is done to a server, in which order, and what is noted.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    disk::LoopDisk,
    figures::{Figure, Results},
    http::Http,
    import, load,
    process::Usage,
    server::{Kind, Server},
    xrpc::{self, Account},
};

/// Clients at once in the parallel measurements.
const CLIENTS: usize = 16;

/// Records of one `applyWrites`, the most that the reference accepts.
const BATCH: u64 = 200;

/// Time that a server is left alone before its memory is read as idle.
const SETTLE: Duration = Duration::from_secs(1);

/// How much is done; the same for every server.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Rounds of each rate; the median counts.
    pub rounds: u32,
    /// Posts of a round with one client.
    pub posts_1: u64,
    /// Posts of a round with 16 clients.
    pub posts_16: u64,
    /// Records of the larger repo.
    pub records: u64,
    /// Accounts that post in turn.
    pub accounts: u64,
    /// Times that each of them posts.
    pub turns: u64,
    /// Records of the repo that is read cold; 0 leaves this out.
    pub cold_records: u64,
    /// Posts on the disk whose sectors are counted.
    pub device_posts: u64,
}

impl Plan {
    /// The whole measurement.
    pub const FULL: Self = Self {
        rounds: 5,
        posts_1: 200,
        posts_16: 800,
        records: 10_000,
        accounts: 100,
        turns: 6,
        cold_records: 100_000,
        device_posts: 1_000,
    };

    /// A short one, to see that all works; its figures are noise.
    pub const QUICK: Self = Self {
        rounds: 1,
        posts_1: 60,
        posts_16: 160,
        records: 1_000,
        accounts: 10,
        turns: 2,
        cold_records: 3_000,
        device_posts: 60,
    };
}

/// A whole number as a floating one; exact up to 2^52, far above anything counted here.
fn float(number: u64) -> f64 {
    // Split, because there is no lossless conversion of 64 bits.
    let high = u32::try_from(number >> 32).unwrap_or(u32::MAX);
    let low = u32::try_from(number & u64::from(u32::MAX)).unwrap_or(u32::MAX);
    f64::from(high) * 4_294_967_296.0 + f64::from(low)
}

/// Measures a server from an empty folder; `on_step` is told what comes next.
pub fn all(
    kind: &Kind,
    folder: &Path,
    plan: &Plan,
    results: &mut Results,
    on_step: &dyn Fn(&str),
) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    main_session(kind, &folder.join("main"), plan, results, on_step)?;
    on_step("flushes (strace)");
    if let Err(error) = flushes(kind, &folder.join("traced"), plan, results) {
        results.missing.push(format!("flushes: {error:#}"));
    }
    on_step("device bytes (loop disk)");
    if let Err(error) = device(kind, folder, plan, results) {
        results.missing.push(format!("device bytes: {error:#}"));
    }
    Ok(())
}

/// A running server, the connection to it, and numbers for new posts and handles.
#[derive(Debug)]
struct Session {
    server: Server,
    http: Http,
    next: u64,
}

impl Session {
    fn start(kind: &Kind, data: &Path, tracer: &[String]) -> Result<Self> {
        fs::create_dir_all(data).with_context(|| format!("cannot make {}", data.display()))?;
        let server = Server::start(kind, data, tracer)?;
        let http = Http::connect(&server.address())?;
        Ok(Self { server, http, next: 0 })
    }

    fn restart(&mut self) -> Result<()> {
        self.server.restart()?;
        self.http = Http::connect(&self.server.address())?;
        Ok(())
    }

    fn accounts(&mut self, count: u64) -> Result<Vec<Account>> {
        (0..count)
            .map(|_| {
                self.next += 1;
                xrpc::create_account(&mut self.http, &format!("bench{}.test", self.next))
            })
            .collect()
    }

    /// Posts and returns the rate per second.
    fn posts(&mut self, accounts: &[Account], clients: usize, posts: u64) -> Result<f64> {
        let first = self.next;
        self.next += posts;
        let time = load::posts(&self.server.address(), accounts, clients, posts, first)?;
        Ok(float(posts) / time.as_secs_f64())
    }

    fn usage(&self) -> Result<Usage> {
        Usage::of(self.server.pid()?)
    }

    /// Writes `records` records in batches and returns the rate of each tenth.
    fn batches(&mut self, account: &Account, records: u64) -> Result<Vec<f64>> {
        let mut rates = Vec::new();
        let part = (records / 10).max(BATCH);
        let mut written = 0;
        while written < records {
            let (began, from) = (Instant::now(), written);
            while written < records && written - from < part {
                let input = xrpc::batch(account, self.next, BATCH);
                self.next += BATCH;
                xrpc::procedure(
                    &mut self.http,
                    "com.atproto.repo.applyWrites",
                    Some(&account.token),
                    &input,
                )?;
                written += BATCH;
            }
            rates.push(float(written - from) / began.elapsed().as_secs_f64());
        }
        Ok(rates)
    }
}

fn main_session(
    kind: &Kind,
    data: &Path,
    plan: &Plan,
    results: &mut Results,
    on_step: &dyn Fn(&str),
) -> Result<()> {
    on_step("starts and idle memory");
    let mut session = Session::start(kind, data, &[])?;
    let account = session.accounts(1)?;
    for _ in 0..3 {
        session.restart()?;
        results.add(Figure::Start, session.server.start_time()?.as_secs_f64() * 1000.0);
    }
    std::thread::sleep(SETTLE);
    results.add(Figure::RssIdle, float(session.usage()?.rss_kib) / 1024.0);

    on_step("createRecord, 1 client");
    session.posts(&account, 1, plan.posts_1 / 4)?;
    let before = session.usage()?;
    for _ in 0..plan.rounds {
        let rate = session.posts(&account, 1, plan.posts_1)?;
        results.add(Figure::Create1, rate);
    }
    let after = session.usage()?;
    let posts = float(plan.posts_1 * u64::from(plan.rounds));
    results.add(Figure::WriteSmall, float(after.write_bytes - before.write_bytes) / 1000.0 / posts);
    let warm_cpu = (after.cpu_seconds - before.cpu_seconds) * 1000.0 / posts;
    results.add(Figure::Cpu, warm_cpu);

    on_step("createRecord, 16 clients");
    let many = session.accounts(u64::try_from(CLIENTS).context("too many clients")?)?;
    for _ in 0..plan.rounds {
        let rate = session.posts(&many, CLIENTS, plan.posts_16)?;
        results.add(Figure::Create16, rate);
    }
    for _ in 0..plan.rounds {
        let rate = session.posts(&account, CLIENTS, plan.posts_16 / 2)?;
        results.add(Figure::Create16One, rate);
    }

    on_step("applyWrites and the larger repo");
    let large = session.accounts(1)?;
    let large_account = large.first().context("no account")?;
    for rate in session.batches(large_account, plan.records)? {
        results.add(Figure::ApplyWrites, rate);
    }
    results.add(Figure::RssLoaded, float(session.usage()?.rss_kib) / 1024.0);
    let before = session.usage()?;
    // As many as in the small repo: checkpoints come in lumps, one in hundreds of posts.
    let posts = plan.posts_1 * u64::from(plan.rounds);
    session.posts(&large, 1, posts)?;
    let after = session.usage()?;
    let written = float(after.write_bytes - before.write_bytes);
    results.add(Figure::WriteLarge, written / 1000.0 / float(posts));
    export(&mut session, large_account, plan, results)?;

    on_step("accounts in turn");
    in_turn(&mut session, plan, results)?;
    if plan.cold_records > 0 {
        on_step("a cold, large repo");
        cold(&mut session, large_account, plan, results)?;
    }
    if plan.cold_records > 0 {
        on_step("a large import and its export");
        if let Err(error) = large_import(&mut session, plan, results) {
            results.missing.push(format!("a large import: {error:#}"));
        }
    }
    session.server.stop()
}

/// Imports a large repo alone, exports it, and imports another one beside posts of a third account.
fn large_import(session: &mut Session, plan: &Plan, results: &mut Results) -> Result<()> {
    session.restart()?;
    let accounts = session.accounts(3)?;
    let [alone, beside, other] = accounts.as_slice() else { bail!("three accounts are needed") };
    let (address, pid) = (session.server.address(), session.server.pid()?);
    std::thread::sleep(SETTLE);
    let file = import::file(&alone.did, plan.cold_records)?;
    let cost = import::import(&address, pid, alone, &file)?;
    results.add(Figure::ImportTime, cost.time.as_secs_f64());
    let size = u64::try_from(file.len()).context("a very large file")?;
    results.add(Figure::ImportWritten, float(cost.written) / float(size));
    results.add(Figure::ImportRss, float(cost.rss_kib) / 1024.0);

    let (cost, bytes) = import::export(&address, pid, alone)?;
    ensure!(bytes > plan.cold_records * 100, "the import is not there: getRepo has {bytes} bytes");
    results.add(Figure::ExportRss, float(cost.rss_kib - cost.rss_before_kib) / 1024.0);

    let file = import::file(&beside.did, plan.cold_records)?;
    let waits = import::import_beside_posts(&address, pid, beside, &file, other, session.next)?;
    session.next += u64::try_from(waits.len()).context("too many posts")?;
    let p99 = waits.get(waits.len() * 99 / 100).context("no post was answered meanwhile")?;
    results.add(Figure::ImportOther, p99.as_secs_f64() * 1000.0);
    Ok(())
}

fn export(session: &mut Session, account: &Account, plan: &Plan, results: &mut Results) -> Result<()> {
    let path = format!("/xrpc/com.atproto.sync.getRepo?did={}", account.did);
    let request = session.http.request("GET", &path, None, None);
    for _ in 0..plan.rounds {
        let began = Instant::now();
        let answer = session.http.send(&request)?;
        let seconds = began.elapsed().as_secs_f64();
        let bytes = u64::try_from(answer.body.len()).context("a very large export")?;
        ensure!(answer.status == 200 && bytes > plan.records * 100, "getRepo: {} {bytes}", answer.status);
        results.add(Figure::GetRepo, float(bytes) / 1e6 / seconds);
    }
    Ok(())
}

/// Processor time per post of many accounts in turn, by that of one account with as many posts.
fn in_turn(session: &mut Session, plan: &Plan, results: &mut Results) -> Result<()> {
    let accounts = session.accounts(plan.accounts)?;
    let one = accounts.get(..1).context("no accounts")?.to_vec();
    let posts = plan.accounts * plan.turns;
    let cpu = |session: &mut Session, accounts: &[Account]| -> Result<f64> {
        let before = session.usage()?;
        for number in 0..posts {
            let at = usize::try_from(number).context("too many posts")? % accounts.len();
            let account = accounts.get(at).context("no accounts")?;
            let request = xrpc::post_request(&session.http, account, session.next);
            session.next += 1;
            let status = session.http.send(&request)?.status;
            ensure!(status == 200, "createRecord: {status}");
        }
        Ok(session.usage()?.cpu_seconds - before.cpu_seconds)
    };
    let warm = cpu(session, &one)?;
    let turns = cpu(session, &accounts)?;
    ensure!(warm > 0.0, "too few posts to measure processor time");
    results.add(Figure::InTurn, turns / warm);
    Ok(())
}

/// Grows the large repo, then measures the first post to it after a start, three times.
fn cold(session: &mut Session, account: &Account, plan: &Plan, results: &mut Results) -> Result<()> {
    let mut account = account.clone();
    xrpc::log_in(&mut session.http, &mut account)?;
    session.batches(&account, plan.cold_records.saturating_sub(plan.records))?;
    for _ in 0..3 {
        session.restart()?;
        xrpc::wait_accepted(&mut session.http, &account.token)?;
        let request = xrpc::post_request(&session.http, &account, session.next);
        session.next += 1;
        let began = Instant::now();
        let answer = session.http.send(&request)?;
        let time = began.elapsed();
        ensure!(answer.status == 200, "{} {}", answer.status, String::from_utf8_lossy(answer.body));
        results.add(Figure::ColdPost, time.as_secs_f64() * 1000.0);
    }
    Ok(())
}

/// Counts the flushes of a server that runs under strace.
fn flushes(kind: &Kind, data: &Path, plan: &Plan, results: &mut Results) -> Result<()> {
    let mut log = data.to_path_buf().into_os_string();
    log.push(".strace");
    let log = Path::new(&log);
    // Only these calls stop the server; all others run at full speed.
    let calls = "trace=fdatasync,fsync,sync_file_range,sync,syncfs";
    let mut tracer: Vec<String> =
        ["strace", "-f", "--seccomp-bpf", "-qq", "-e", calls, "-o"].map(Into::into).into();
    tracer.push(log.to_string_lossy().into_owned());
    let mut session = Session::start(kind, data, &tracer)?;
    let many = session.accounts(u64::try_from(CLIENTS).context("too many clients")?)?;
    let count = || -> Result<f64> {
        let text = fs::read_to_string(log).context("cannot read what strace wrote")?;
        let calls = text.lines().filter(|line| line.contains("sync") && !line.contains("resumed>"));
        Ok(float(u64::try_from(calls.count()).context("too many calls")?))
    };
    for (figure, clients, posts) in
        [(Figure::Flushes1, 1, plan.posts_1), (Figure::Flushes16, CLIENTS, plan.posts_16)]
    {
        session.posts(&many, clients, posts / 4)?;
        let before = count()?;
        session.posts(&many, clients, posts)?;
        results.add(figure, (count()? - before) / float(posts));
    }
    session.server.stop()
}

/// Counts what reaches a disk of its own, a clean stop (and so a checkpoint) included.
fn device(kind: &Kind, folder: &Path, plan: &Plan, results: &mut Results) -> Result<()> {
    let disk = LoopDisk::make(folder)?;
    let mut session = Session::start(kind, &disk.folder().join("data"), &[])?;
    let account = session.accounts(1)?;
    session.posts(&account, 1, plan.device_posts / 4)?;
    let before = disk.written_bytes()?;
    session.posts(&account, 1, plan.device_posts)?;
    session.server.stop()?;
    let written = disk.written_bytes()? - before;
    results.add(Figure::Device, float(written) / 1024.0 / float(plan.device_posts));
    Ok(())
}
