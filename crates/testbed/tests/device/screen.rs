//! The display: what the guest's driver sends over I2C, decoded into a picture, is the golden page; and no failure of
//! the display outlasts it.

use std::{path::PathBuf, time::Duration};

use platform::{Frame, screen::HEIGHT};
use testbed::{
    I2cBus, Machine, Setup, cache,
    i2c::oled::{Controller, Oled},
};

const LIMIT: Duration = Duration::from_secs(60);
/// Bytes on the bus of a whole picture, and of a usual change.
const FULL_BYTES_MAX: usize = 1_100;
const USUAL_BYTES_MAX: usize = 200;
const ADDRESS: u8 = 0x3c;

fn probe() -> PathBuf {
    cache().join("../cross/aarch64-unknown-linux-gnu/quick/examples/front_probe")
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn golden(name: &str) -> String {
    let path = root().join("crates/appliance/src/screen/golden").join(format!("{name}.txt"));
    std::fs::read_to_string(path).unwrap()
}

fn board(driver: &str, upside_down: bool) -> String {
    let text = std::fs::read_to_string(root().join("board/qemu-virt/board.toml")).unwrap();
    let text = text.replace("driver = \"ssd1306\"", &format!("driver = \"{driver}\""));
    let text = text.replace("upside_down = false", &format!("upside_down = {upside_down}"));
    let bus = text.lines().find(|line| line.starts_with("bus = ")).unwrap().to_owned();
    text.replace(&bus, "bus = \"/dev/i2c-0\"")
}

/// The picture with one character of the last line changed, as when the minute goes on.
fn with_next_minute(page: &str) -> String {
    let mut lines: Vec<String> = page.lines().map(str::to_owned).collect();
    for line in &mut lines[HEIGHT - 9..HEIGHT - 1] {
        line.replace_range(100..112, "#.#.##..##.#");
    }
    lines.join("\n") + "\n"
}

fn turned(frame: &Frame) -> Frame {
    let mut turned = Frame::new();
    for y in 0..HEIGHT {
        for x in 0..128 {
            turned.set(127 - x, HEIGHT - 1 - y, frame.get(x, y));
        }
    }
    turned
}

/// A probe that obeys in the guest through two pipes.
struct Probe<'a> {
    machine: &'a Machine,
    name: &'static str,
}

impl<'a> Probe<'a> {
    fn start(machine: &'a Machine, name: &'static str, board: &str) -> Self {
        machine.write_file(&format!("/tmp/{name}.toml"), 0o644, board.as_bytes()).unwrap();
        let script = format!(
            "cd /tmp; mkfifo {name}.in {name}.out; (probe {name}.toml <{name}.in >{name}.out 2>{name}.err; \
             echo $? >{name}.ended) & exec 3>{name}.in 4<{name}.out; (sleep 100000 >{name}.in) & \
             (sleep 100000 <{name}.out) & exit 0"
        );
        machine.sh(&format!("({script}) >/dev/null 2>&1")).unwrap();
        Self { machine, name }
    }

    fn say(&self, line: &str) -> String {
        let name = self.name;
        self.machine.sh(&format!("cd /tmp; echo '{line}' >{name}.in; head -n 1 {name}.out")).unwrap()
    }
}

#[test]
fn pages_arrive_pixel_by_pixel_and_failures_pass() {
    let bus = I2cBus::new();
    let mut setup = Setup::new().i2c(&bus).host_file("/bin/probe", 0o755, probe());
    for page in ["home", "time", "storage", "set-up"] {
        setup = setup.file(&format!("/{page}"), 0o644, golden(page).as_bytes());
    }
    let setup = setup.file("/minute", 0o644, with_next_minute(&golden("home")).as_bytes());
    let machine = Machine::boot(&setup).unwrap();

    for (name, driver, controller) in
        [("one", "ssd1306", Controller::Ssd1306), ("two", "sh1106", Controller::Sh1106)]
    {
        let probe = Probe::start(&machine, name, &board(driver, false));
        // Absent at first: said, and nothing else.
        assert!(probe.say("show /home").starts_with("failed: screen"), "{driver}");
        let oled = Oled::new(controller);
        bus.plug(ADDRESS, oled.clone());
        assert_eq!(probe.say("show /home"), "ok");
        assert_eq!(oled.picture().to_text(), golden("home"), "{driver}");

        // A whole other picture, the usual change, and none at all.
        let bytes_of = |command: &str| {
            let _before = bus.take_transfers();
            assert_eq!(probe.say(command), "ok");
            bus.wire_bytes(ADDRESS)
        };
        let full = bytes_of("show /set-up");
        assert_eq!(oled.picture().to_text(), golden("set-up"), "{driver}");
        let back = bytes_of("show /home");
        let minute = bytes_of("show /minute");
        assert_eq!(oled.picture().to_text(), with_next_minute(&golden("home")), "{driver}");
        let still = bytes_of("show /minute");
        println!("{driver}: other page {full} and {back} bytes, minute {minute}, nothing new {still}");
        assert!(full <= FULL_BYTES_MAX && back <= FULL_BYTES_MAX && minute <= USUAL_BYTES_MAX && still == 0);

        // Dark against burn-in, and lit again with what was there.
        assert_eq!(probe.say("dark"), "ok");
        assert_eq!(oled.picture(), Frame::new(), "{driver}");
        assert_eq!(probe.say("lit"), "ok");
        assert_eq!(oled.picture().to_text(), with_next_minute(&golden("home")), "{driver}");

        // Pulled out while it runs; another one in its place knows nothing.
        bus.unplug(ADDRESS);
        assert!(probe.say("show /time").starts_with("failed: screen"), "{driver}");
        let other = Oled::new(controller);
        bus.plug(ADDRESS, other.clone());
        let restart = bytes_of("show /time");
        println!("{driver}: start and whole picture {restart} bytes");
        assert_eq!(other.picture().to_text(), golden("time"), "{driver}");
        assert!(oled.complaints().is_empty() && other.complaints().is_empty(), "{:?}", other.complaints());
        bus.unplug(ADDRESS);
    }

    // Mounted upside down.
    let oled = Oled::new(Controller::Sh1106);
    bus.plug(ADDRESS, oled.clone());
    let probe = Probe::start(&machine, "three", &board("sh1106", true));
    assert_eq!(probe.say("show /storage"), "ok");
    assert_eq!(turned(&oled.picture()).to_text(), golden("storage"));
    machine.wait_for("! [ -e /tmp/one.ended ]", LIMIT).unwrap();
}
