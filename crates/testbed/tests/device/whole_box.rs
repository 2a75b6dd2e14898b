//! The whole box, from BusyBox init to a post that a client from outside makes: serving, memory, programs that are killed,
//! a supervisor that hangs, and switching off.

use std::{
    io::{Read, Write},
    net::TcpStream,
    path::PathBuf,
    time::Duration,
};

use bench::{
    http::Http,
    xrpc::{POSTS, procedure, query_json, text},
};
use serde_json::json;
use testbed::{
    Machine,
    appliance::{Appliance, is_clean, make_card, programs},
    free_port,
};

/// Wait for the box to serve, or for anything else that takes seconds on an idle computer.
pub(crate) const LIMIT: Duration = Duration::from_secs(300);

/// Largest memory of all four programs with one account, and of the guard alone, KiB.
const MEMORY_MAX_KIB: u64 = 48 * 1024;
const GUARD_MAX_KIB: u64 = 8 * 1024;

/// What the supervisor starts of ours.
const CHILDREN: [&str; 3] = ["perch-pds", "perch-timeguard", "perch-panel"];

const HEALTH: &str = "wget -q -O /dev/null http://127.0.0.1:2583/xrpc/_health";
const SYNCED: &str = "perchctl status | grep -q '^Time .*(synced'";

/// A box that runs, with its card.
pub(crate) struct Running {
    pub(crate) appliance: Appliance,
    pub(crate) machine: Machine,
    card: PathBuf,
    _folder: tempfile::TempDir,
}

impl Running {
    /// Boots a box with a fresh card, whose machine believes that it is 2019, and waits until it serves.
    pub(crate) fn boot() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let card = folder.path().join("card.img");
        make_card(&card).unwrap();
        let appliance = Appliance::new(&programs(), &card, free_port().unwrap(), free_port().unwrap())
            .unwrap()
            .with(|setup| setup.rtc_base("2019-02-03T04:05:06"));
        let machine = appliance.boot().unwrap();
        let running = Self { appliance, machine, card, _folder: folder };
        running.wait_until_serving();
        running
    }

    pub(crate) fn wait_until_serving(&self) {
        if let Err(error) = self.machine.wait_for(&format!("{HEALTH} && {SYNCED}"), LIMIT) {
            let said = self.machine.run("perchctl status; cat /proc/mounts").unwrap();
            panic!("{error}\n{}{}\n{}", said.text(), said.error_text(), self.machine.serial_log());
        }
    }

    /// A connection of a client from outside.
    pub(crate) fn connect(&self) -> Http {
        Http::connect(&format!("127.0.0.1:{}", self.appliance.pds_port)).unwrap()
    }

    /// The answer of the panel to a request under this name.
    fn panel_answer(&self, host: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.appliance.panel_port)).unwrap();
        write!(stream, "GET / HTTP/1.0\r\nHost: {host}\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Resident and proportional memory of a program, KiB.
    fn memory(&self, program: &str) -> (u64, u64) {
        let rollup = self.machine.sh(&format!("cat /proc/$(pidof {program})/smaps_rollup")).unwrap();
        let field = |name: &str| -> u64 {
            let line = rollup.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.split_whitespace().next().unwrap().parse().unwrap()
        };
        (field("Rss:"), field("Pss:"))
    }
}

/// An account of a client from outside.
pub(crate) struct Account {
    did: String,
    token: String,
}

impl Account {
    pub(crate) fn new(running: &Running) -> Self {
        let input =
            json!({ "handle": "ada.test", "email": "ada@example.org", "password": "a-long-enough-password" });
        let made =
            procedure(&mut running.connect(), "com.atproto.server.createAccount", None, &input).unwrap();
        let field = |name| text(&made, name).unwrap().to_owned();
        Self { did: field("did"), token: field("accessJwt") }
    }

    /// Makes a post, which must be taken.
    pub(crate) fn post(&self, running: &Running, words: &str) {
        let record = json!({ "$type": POSTS, "text": words, "createdAt": "2026-11-23T12:00:00Z" });
        let input = json!({ "repo": self.did, "collection": POSTS, "record": record });
        let token = Some(self.token.as_str());
        procedure(&mut running.connect(), "com.atproto.repo.createRecord", token, &input).unwrap();
    }

    /// The posts, the newest first.
    pub(crate) fn posts(&self, running: &Running) -> Vec<String> {
        let call = format!("com.atproto.repo.listRecords?repo={}&collection={POSTS}", self.did);
        let listed = query_json(&mut running.connect(), &call).unwrap();
        let records = listed["records"].as_array().unwrap();
        records.iter().map(|record| record["value"]["text"].as_str().unwrap().to_owned()).collect()
    }
}

#[test]
fn the_whole_box_serves_and_survives_its_programs_and_its_supervisor() {
    let running = Running::boot();
    let (machine, appliance) = (&running.machine, &running.appliance);
    println!("{}", machine.sh("cat /proc/uptime; perchctl status").unwrap());

    // The time: the machine's own clock began in 2019.
    let told_s: i64 = machine.sh("date +%s").unwrap().parse().unwrap();
    let off_s = told_s - appliance.utc.us() / 1_000_000;
    assert!((-5..=1).contains(&off_s), "off by {off_s} s");

    // A client from outside, and the panel, which answers to its own names only.
    let ada = Account::new(&running);
    ada.post(&running, "hello from the box");
    assert_eq!(ada.posts(&running), ["hello from the box"]);
    assert!(running.panel_answer("localhost").starts_with("HTTP/1.0 200"));
    assert!(running.panel_answer("evil.example").starts_with("HTTP/1.0 4"));

    // Memory.
    let mut all = (0, 0);
    for program in ["perch-appliance"].into_iter().chain(CHILDREN) {
        let (resident, proportional) = running.memory(program);
        println!("{program:<16} {resident:>6} KiB resident, {proportional:>6} KiB proportional");
        all = (all.0 + resident, all.1 + proportional);
        assert!(program != "perch-timeguard" || resident <= GUARD_MAX_KIB);
    }
    println!("{:<16} {:>6} KiB resident, {:>6} KiB proportional", "all", all.0, all.1);
    assert!(all.0 <= MEMORY_MAX_KIB);

    // Each program is killed and comes back.
    for program in CHILDREN {
        let before = machine.sh(&format!("pidof {program}")).unwrap();
        machine.sh(&format!("kill -9 {before}")).unwrap();
        machine.wait_for(&format!("p=$(pidof {program}) && [ $p != {before} ]"), LIMIT).unwrap();
    }
    running.wait_until_serving();
    assert_eq!(ada.posts(&running), ["hello from the box"]);
    assert!(machine.sh("perchctl status").unwrap().contains("pds: runs, started again 1 time"));

    // A supervisor that hangs: the watchdog restarts the machine.
    ada.post(&running, "before the watchdog");
    machine.sh("kill -STOP $(pidof perch-appliance)").unwrap();
    machine.wait_restart(LIMIT).unwrap();
    running.wait_until_serving();
    assert_eq!(ada.posts(&running), ["before the watchdog", "hello from the box"]);

    // Switched off in order: the file system needs no repair.
    assert!(machine.sh("perchctl off").unwrap().contains("switches itself off"));
    machine.wait_end(LIMIT).unwrap();
    assert!(is_clean(&running.card).unwrap());
}
