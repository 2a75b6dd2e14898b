//! The machine itself: commands, files, hardware on the bus, disks, the end.

use std::time::Duration;

use testbed::{I2cBus, Machine, Setup, i2c::ds3231::Ds3231};

const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn commands_files_and_the_bus_work_as_promised() {
    let bus = I2cBus::new();
    let chip = Ds3231::showing(1_893_456_000);
    bus.plug(0x68, chip.clone());
    let setup = Setup::new().i2c(&bus).rtc_base("2019-02-03T04:05:06").file("/etc/greeting", 0o600, b"hello");
    let machine = Machine::boot(&setup).unwrap();
    println!("booted after {:?}", machine.booted_after());

    // Commands.
    let done = machine.run("echo out; echo err >&2; exit 7").unwrap();
    assert_eq!((done.code, done.text(), done.error_text()), (7, "out\n".into(), "err\n".into()));
    assert!(machine.sh("false").is_err());
    let slow = machine.start("echo begun; sleep 600").unwrap();
    assert_eq!(machine.sh("echo meanwhile").unwrap(), "meanwhile");
    machine.wait_for("pidof sleep", LIMIT).unwrap();
    let stopped = machine.stop(&slow).unwrap();
    assert_eq!((stopped.code, stopped.text()), (137, "begun\n".into()));
    assert!(machine.run_within("sleep 600", Duration::from_millis(200)).is_err());
    machine.wait_for("! pidof sleep", LIMIT).unwrap();

    // Files, with every byte.
    assert_eq!(machine.read_file("/etc/greeting").unwrap(), b"hello");
    assert_eq!(machine.sh("stat -c %a /etc/greeting").unwrap(), "600");
    let content: Vec<u8> = (0..300_000_u32).map(|n| u8::try_from(n * 7 % 256).unwrap()).collect();
    machine.write_file("/tmp/deep/er/file", 0o640, &content).unwrap();
    assert_eq!(machine.read_file("/tmp/deep/er/file").unwrap(), content);
    assert!(machine.read_file("/nowhere").is_err());

    // The clocks.
    assert_eq!(machine.sh("date -u +%Y").unwrap(), "2019");
    machine.sh("echo ds1307 0x68 >/sys/bus/i2c/devices/i2c-0/new_device").unwrap();
    let rtc = "rtc=$(grep -l 'ds1307\\|ds3231' /sys/class/rtc/*/name); rtc=${rtc%/name};";
    machine.wait_for(&format!("{rtc} [ -n \"$rtc\" ]"), LIMIT).unwrap();
    assert_eq!(machine.sh(&format!("{rtc} cat $rtc/date")).unwrap(), "2030-01-01");
    println!("rtc: {}", machine.sh(&format!("{rtc} cat $rtc/name")).unwrap());
    bus.unplug(0x68);
    assert!(machine.sh(&format!("{rtc} cat $rtc/date")).is_err());

    machine.switch_off().unwrap();
}
