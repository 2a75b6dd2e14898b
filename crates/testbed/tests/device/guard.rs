//! The time guard's process in the guest: a clock that is wrong by years, every sort of clock chip, a foreign hand on the
//! clock, `kill -9`. Only the guest's clock is ever set.

use std::path::PathBuf;
use std::time::Duration;

use testbed::i2c::ds3231::Ds3231;
use testbed::time_server::{Behaviour, HONEST, TimeServer, Utc};
use testbed::{I2cBus, Job, Machine, Setup, cache};

/// How long anything is waited for; an emulated machine on busy processors takes tens of seconds for what is done in one.
const LIMIT: Duration = Duration::from_secs(120);

const CHIP_ADDRESS: u8 = 0x68;
const DAY_US: i64 = 86_400_000_000;
const HOUR_S: i64 = 3_600;

/// How far from UTC a chip may be that was set on the second's edge, seconds. One that was not is off by half a second on
/// average.
const ON_THE_EDGE_S: f64 = 0.15;

fn cross(program: &str) -> PathBuf {
    cache().join("../cross/aarch64-unknown-linux-gnu/quick").join(program)
}

/// A guest with the guard's programs, a bus for the chip, and four time servers on the host.
struct World {
    machine: Machine,
    bus: I2cBus,
    servers: Vec<TimeServer>,
    utc: Utc,
}

impl World {
    fn boot() -> Self {
        let bus = I2cBus::new();
        let utc = Utc::of_this_computer().unwrap();
        let start = || TimeServer::start(([127, 0, 0, 1], 0).into(), utc, Behaviour::Silent).unwrap();
        let servers: Vec<TimeServer> = (0..4).map(|_| start()).collect();
        let list = servers.iter().map(|server| {
            let port = server.address().port();
            format!("{{ name = \"10.0.2.2:{port}\", operator = \"{port}\" }},")
        });
        let settings =
            format!("use_dhcp = false\ncertificate_hosts = []\nservers = [{}]\n", list.collect::<String>());
        let board = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../board/qemu-virt/board.toml");
        let setup = Setup::new()
            .i2c(&bus)
            .network(&[])
            .rtc_base("2019-02-03T04:05:06")
            .file("/etc/guard.toml", 0o644, settings.as_bytes())
            .host_file("/etc/perch/boards/qemu-virt/board.toml", 0o644, board)
            .host_file("/bin/perch-timeguard", 0o755, cross("perch-timeguard"))
            .host_file("/bin/trust-probe", 0o755, cross("examples/trust_probe"));
        Self { machine: Machine::boot(&setup).unwrap(), bus, servers, utc }
    }

    fn tell(&self, behaviour: Behaviour) {
        self.servers.iter().for_each(|server| server.tell(behaviour));
    }

    /// UTC in whole seconds: what a right chip shows.
    fn second(&self) -> i64 {
        self.utc.us() / 1_000_000
    }

    /// Starts a guard whose last trusted time is a day ago.
    fn guard(&self, name: &'static str) -> Guard<'_> {
        let floor_us = self.utc.us() - DAY_US;
        let saved = format!("{{\"floor_us\":{floor_us},\"rtc_set_us\":{floor_us}}}");
        self.machine.write_file(&format!("/data/{name}/saved.json"), 0o600, saved.as_bytes()).unwrap();
        Guard::start(self, name)
    }

    /// Fails unless the chip's registers show UTC, to the phase of its seconds.
    fn assert_chip_is_set(&self, chip: &Ds3231) {
        let utc_s = Duration::from_micros(self.utc.us().unsigned_abs()).as_secs_f64();
        let off_s = chip.unix_s() - utc_s;
        println!("the chip is {:.1} ms ahead", off_s * 1e3);
        assert!(off_s.abs() < ON_THE_EDGE_S, "{off_s} s");
        assert!(!chip.osf());
    }
}

/// A guard's process.
struct Guard<'a> {
    world: &'a World,
    name: &'static str,
    job: Option<Job>,
}

impl<'a> Guard<'a> {
    fn start(world: &'a World, name: &'static str) -> Self {
        let script = format!(
            "mkdir -p /run/{name}; rm -f /run/{name}/status.json; exec perch-timeguard --config /etc/guard.toml \
             --run-dir /run/{name} --data-dir /data/{name} 2>>/tmp/{name}.log"
        );
        let job = world.machine.start(&script).unwrap();
        let guard = Self { world, name, job: Some(job) };
        guard.wait("[ -e $status ]");
        guard
    }

    /// Waits until a condition on its `$status` or `$verdict` file holds.
    fn wait(&self, condition: &str) {
        let name = self.name;
        let script = format!("status=/run/{name}/status.json; verdict=/run/{name}/verdict.json; {condition}");
        if let Err(error) = self.world.machine.wait_for(&script, LIMIT) {
            let shown = self.world.machine.run(&format!("cat /run/{name}/*.json /tmp/{name}.log")).unwrap();
            panic!("{name}: waited in vain for {condition}: {error}\n{}", shown.text());
        }
    }

    fn wait_for_status(&self, words: &str) {
        self.wait(&format!("grep -q '{words}' $status"));
    }

    /// What a reader of the verdict is told.
    fn now(&self) -> String {
        self.world.machine.sh(&format!("trust-probe now /run/{}/verdict.json", self.name)).unwrap()
    }

    /// Waits until it has remembered that it set the chip.
    fn wait_for_chip_set(&self) {
        self.wait(&format!("grep -q '\"rtc_set_boot\":\"' /data/{}/saved.json", self.name));
    }

    fn wait_for_trust(&self) {
        self.wait("trust-probe now $verdict | grep -q ^trusted");
    }

    fn signal(&self, signal: &str) {
        self.world.machine.sh(&format!("kill -{signal} $(pidof perch-timeguard)")).unwrap();
    }

    /// Ends it as `kill -9` does.
    fn kill(&mut self) {
        if let Some(job) = self.job.take() {
            self.world.machine.stop(&job).unwrap();
        }
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.kill();
    }
}

#[test]
fn a_box_with_a_wrong_clock_and_every_sort_of_chip_signs_only_with_the_right_time() {
    let world = World::boot();
    let year = |text: &str| assert_eq!(world.machine.sh("date -u +%Y").unwrap(), text);
    year("2019");
    from_no_network_to_a_foreign_hand(&world);
    chips_alone(&world);
    a_chip_that_is_hours_ahead(&world);
    assert_ne!(world.machine.sh("date -u +%Y").unwrap(), "2019");
}

/// The clock is years behind and there is no network; it comes; the guard is killed; somebody sets the clock.
fn from_no_network_to_a_foreign_hand(world: &World) {
    world.tell(HONEST);
    let mut guard = world.guard("network");
    assert!(guard.now().starts_with("refused"));
    let up = "cut -d' ' -f1 /proc/uptime; ip link set eth0 up; ip addr add 10.0.2.15/24 dev eth0; \
              ip route add default via 10.0.2.2";
    let came_s: f64 = world.machine.sh(up).unwrap().parse().unwrap();
    guard.wait_for_trust();
    let trusted_s: f64 = world.machine.sh("cut -d' ' -f1 /proc/uptime").unwrap().parse().unwrap();
    println!("trusted at most {:.1} s after the network came, in emulation", trusted_s - came_s);
    guard.wait_for_status("\"state\":\"synced\"");
    let off_s = world.machine.sh("date -u +%s").unwrap().parse::<i64>().unwrap() - world.second();
    assert!(off_s.abs() <= 2, "the clock is off by {off_s} s");
    println!("{}", world.machine.sh("grep VmRSS /proc/$(pidof perch-timeguard)/status").unwrap());

    // Killed: what it said holds for its 30 s, and the next one says it anew.
    guard.kill();
    assert!(guard.now().starts_with("trusted"));
    let mut guard = Guard::start(world, "network");
    guard.wait_for_status("\"state\":\"synced\"");
    assert!(guard.now().starts_with("trusted"));

    // A foreign hand, while the guard cannot see it: whoever asks next is refused.
    guard.signal("STOP");
    let step = "trust-probe step-and-ask 7200000000 /run/network/verdict.json";
    let refused = world.machine.sh(step).unwrap();
    assert!(refused.contains("is 7200 s away") || refused.contains("is 7199 s away"), "{refused}");
    guard.signal("CONT");
    guard.wait_for_trust();
    let off_s = world.machine.sh("date -u +%s").unwrap().parse::<i64>().unwrap() - world.second();
    assert!(off_s.abs() <= 2, "the clock was not set back: {off_s} s");
    guard.kill();
}

/// No server answers: what the chip says is all there is.
fn chips_alone(world: &World) {
    world.tell(Behaviour::Silent);
    let right = Ds3231::showing(world.second());
    world.bus.plug(CHIP_ADDRESS, right.clone());
    // A year behind, as after a start on a battery-less board.
    world.machine.sh("trust-probe step -31536000000000").unwrap();
    let guard = world.guard("right-chip");
    guard.wait_for_trust();
    guard.wait_for_status("\"state\":\"rtc\"");
    let off_s = world.machine.sh("date -u +%s").unwrap().parse::<i64>().unwrap() - world.second();
    assert!(off_s.abs() <= 3, "the clock was not set from the chip: {off_s} s");
    drop(guard);

    // The battery died and the chip runs again: it shows a time, and its flag says what that is worth.
    right.stop();
    right.start();
    let guard = world.guard("stopped-chip");
    guard.wait_for_status("\"is\":\"stopped\"");
    assert!(guard.now().starts_with("refused"));
    world.tell(HONEST);
    world.machine.sh("trust-probe network-up /run/stopped-chip/control.sock").unwrap();
    guard.wait_for_trust();
    guard.wait_for_chip_set();
    world.assert_chip_is_set(&right);
    drop(guard);
    world.tell(Behaviour::Silent);

    // An empty battery: the year 2000, also where a driver has taken the flag away.
    let empty = Ds3231::without_battery();
    empty.set_osf(false);
    world.bus.plug(CHIP_ADDRESS, empty.clone());
    let guard = world.guard("empty-chip");
    guard.wait_for_status("\"is\":\"implausible\"");
    assert!(guard.now().starts_with("refused"));
    drop(guard);

    // A driver that finds a stopped chip clears its flag (older kernels) or leaves it: either way it is known.
    let stopped = Ds3231::showing(world.second() - HOUR_S);
    stopped.set_osf(true);
    world.bus.plug(CHIP_ADDRESS, stopped.clone());
    world.machine.sh("echo ds3231 0x68 >/sys/bus/i2c/devices/i2c-0/new_device").unwrap();
    println!("the driver left the stop flag: {}", stopped.osf());
    let guard = world.guard("driver-first");
    guard.wait_for_status("\"is\":\"stopped\"");
    assert!(guard.now().starts_with("refused"));
    drop(guard);
    world.machine.sh("echo 0x68 >/sys/bus/i2c/devices/i2c-0/delete_device").unwrap();

    // No chip, not even the machine's own.
    world.bus.unplug(CHIP_ADDRESS);
    world.machine.sh("cd /sys/bus/amba/drivers/rtc-pl031; echo *.pl031 >unbind").unwrap();
    let guard = world.guard("no-chip");
    guard.wait_for_status("\"is\":\"absent\"");
    assert!(guard.now().starts_with("refused"));
}

/// Somebody has set the chip two hours ahead: believed while nobody contradicts it, doubted as soon as servers do, and then
/// the owner decides.
fn a_chip_that_is_hours_ahead(world: &World) {
    world.tell(Behaviour::Silent);
    let ahead = Ds3231::showing(world.second() + 2 * HOUR_S);
    world.bus.plug(CHIP_ADDRESS, ahead.clone());
    let guard = world.guard("ahead");
    guard.wait_for_status("\"state\":\"rtc\"");
    world.tell(HONEST);
    world.machine.sh("trust-probe network-up /run/ahead/control.sock").unwrap();
    guard.wait_for_status("\"state\":\"suspect\"");
    assert!(guard.now().contains("Clock chip and time servers are"), "{}", guard.now());
    let accept = format!("trust-probe accept {} /run/ahead/control.sock", world.utc.us());
    assert_eq!(world.machine.sh(&accept).unwrap(), "Done");
    guard.wait_for_trust();
    guard.wait_for_chip_set();
    world.assert_chip_is_set(&ahead);
}
