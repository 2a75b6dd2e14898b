//! The whole box, from BusyBox init to a post that a client from outside makes: serving, memory, programs that are killed,
//! a supervisor that hangs, and switching off.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use bench::{
    http::Http,
    xrpc::{POSTS, procedure, query_json, text},
};
use serde_json::{Value, json};
use testbed::{
    Machine,
    appliance::{Appliance, make_card, programs},
    free_port,
};

/// Wait for the box to serve: some 20 s of emulation on an idle computer.
const START_LIMIT: Duration = Duration::from_secs(300);

/// Largest memory of all four programs with one account, and of the guard alone, KiB.
const MEMORY_MAX_KIB: u64 = 48 * 1024;
const GUARD_MAX_KIB: u64 = 8 * 1024;

/// The programs, and the names that the supervisor's report gives those that it starts.
const CHILDREN: [&str; 3] = ["perch-pds", "perch-timeguard", "perch-panel"];

const HEALTH: &str = "wget -q -O /dev/null http://127.0.0.1:2583/xrpc/_health";
const SYNCED: &str = "perchctl status | grep -q '^Time .*(synced'";

fn wait_until_serving(machine: &Machine) {
    if let Err(error) = machine.wait_for(&format!("{HEALTH} && {SYNCED}"), START_LIMIT) {
        let said = machine.run("perchctl status; cat /proc/mounts").unwrap();
        panic!("{error}\n{}{}\n{}", said.text(), said.error_text(), machine.serial_log());
    }
}

fn connect(appliance: &Appliance) -> Http {
    Http::connect(&format!("127.0.0.1:{}", appliance.pds_port)).unwrap()
}

/// The status of an answer of the panel to a request under this name.
fn panel_answer(appliance: &Appliance, host: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", appliance.panel_port)).unwrap();
    write!(stream, "GET / HTTP/1.0\r\nHost: {host}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Makes a post that must be taken and gives its address.
fn post(http: &mut Http, did: &str, token: &str, words: &str) -> String {
    let record = json!({ "$type": POSTS, "text": words, "createdAt": "2026-11-23T12:00:00Z" });
    let input = json!({ "repo": did, "collection": POSTS, "record": record });
    let made = procedure(http, "com.atproto.repo.createRecord", Some(token), &input).unwrap();
    text(&made, "uri").unwrap().to_owned()
}

fn posts(http: &mut Http, did: &str) -> Vec<String> {
    let call = format!("com.atproto.repo.listRecords?repo={did}&collection={POSTS}");
    let listed = query_json(http, &call).unwrap();
    let records = listed["records"].as_array().unwrap();
    records.iter().map(|record| record["value"]["text"].as_str().unwrap().to_owned()).collect()
}

/// Resident and proportional memory of a program, KiB.
fn memory(machine: &Machine, program: &str) -> (u64, u64) {
    let script = format!("cat /proc/$(pidof {program})/smaps_rollup");
    let rollup = machine.sh(&script).unwrap();
    let field = |name: &str| -> u64 {
        let line = rollup.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    };
    (field("Rss:"), field("Pss:"))
}

#[test]
fn the_whole_box_boots_and_serves() {
    let folder = tempfile::tempdir().unwrap();
    let card = folder.path().join("card.img");
    make_card(&card).unwrap();
    let (pds_port, panel_port) = (free_port().unwrap(), free_port().unwrap());
    let appliance = Appliance::new(&programs(), &card, pds_port, panel_port)
        .unwrap()
        .with(|setup| setup.rtc_base("2019-02-03T04:05:06"));
    let machine = appliance.boot().unwrap();
    wait_until_serving(&machine);
    println!("{}", machine.sh("cat /proc/uptime; perchctl status").unwrap());

    // The time: the machine's own clock began in 2019.
    let told_s: i64 = machine.sh("date +%s").unwrap().parse().unwrap();
    let off_s = told_s - appliance.utc.us() / 1_000_000;
    assert!((-5..=1).contains(&off_s), "off by {off_s} s");

    // A client from outside.
    let mut http = connect(&appliance);
    let input =
        json!({ "handle": "ada.test", "email": "ada@example.org", "password": "a-long-enough-password" });
    let made: Value = procedure(&mut http, "com.atproto.server.createAccount", None, &input).unwrap();
    let (did, token) = (text(&made, "did").unwrap(), text(&made, "accessJwt").unwrap());
    post(&mut http, did, token, "hello from the box");
    assert_eq!(posts(&mut http, did), ["hello from the box"]);

    // The panel answers to its own name only.
    assert!(panel_answer(&appliance, "localhost").starts_with("HTTP/1.0 200"));
    assert!(panel_answer(&appliance, "evil.example").starts_with("HTTP/1.0 4"));

    // Memory.
    let mut all = (0, 0);
    for program in ["perch-appliance"].into_iter().chain(CHILDREN) {
        let (resident, proportional) = memory(&machine, program);
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
        machine.wait_for(&format!("p=$(pidof {program}) && [ $p != {before} ]"), START_LIMIT).unwrap();
    }
    wait_until_serving(&machine);
    assert_eq!(posts(&mut connect(&appliance), did), ["hello from the box"]);
    assert!(machine.sh("perchctl status").unwrap().contains("pds: runs, started again 1 time"));

    // A supervisor that hangs: the watchdog restarts the machine.
    post(&mut connect(&appliance), did, token, "before the watchdog");
    machine.sh("kill -STOP $(pidof perch-appliance)").unwrap();
    machine.wait_restart(START_LIMIT).unwrap();
    wait_until_serving(&machine);
    assert_eq!(posts(&mut connect(&appliance), did), ["before the watchdog", "hello from the box"]);
}
