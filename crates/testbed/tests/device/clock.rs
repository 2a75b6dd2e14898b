//! Clock and clock chip: set, stopped, absent, and a kernel that must not write behind our back. Only the guest's clock
//! is ever set.

use testbed::{I2cBus, Machine, Setup, i2c::ds3231::Ds3231};

/// 2030-01-01.
const WRONG_S: i64 = 1_893_456_000;

/// How far a chip may be off after a setting, beyond the uncertainty of the reading, microseconds.
const SET_WELL_US: i64 = 25_000;

const YEAR_US: i64 = 365 * 86_400 * 1_000_000;

/// Runs the probe, which must succeed.
fn probe(machine: &Machine, words: &str) -> Result<String, String> {
    machine.sh(&format!("/bin/clock-probe {words}")).map_err(|error| format!("{words}: {error}"))
}

/// Reads a chip: stopped, chip minus clock, uncertainty (microseconds).
fn read(machine: &Machine, chip: &str) -> Result<(bool, i64, i64), String> {
    let text = probe(machine, &format!("read {chip}"))?;
    let value = |name: &str| {
        text.split(' ').find_map(|part| part.strip_prefix(name)).ok_or_else(|| format!("no {name} in {text}"))
    };
    let number = |name: &str| value(name)?.parse().map_err(|error| format!("{text}: {error}"));
    Ok((value("stopped=")? == "true", number("off_us=")?, number("uncertainty_us=")?))
}

#[test]
fn clock_and_chip_are_read_and_set_on_the_edge_and_a_dead_battery_is_seen() {
    let bus = I2cBus::new();
    let chip = Ds3231::showing(WRONG_S);
    bus.plug(0x68, chip.clone());
    let program = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../target/cross/aarch64-unknown-linux-gnu/quick/examples/clock_probe"
    );
    let setup =
        Setup::new().i2c(&bus).rtc_base("2026-11-23T02:34:56").host_file("/bin/clock-probe", 0o755, program);
    let machine = Machine::boot(&setup).unwrap();

    // A chip that somebody has set wrongly is read as it is.
    let (stopped, off_us, _) = read(&machine, "ds3231").unwrap();
    assert!(!stopped && off_us > 2 * YEAR_US);

    // Set on the edge and read back.
    probe(&machine, "set ds3231").unwrap();
    let (stopped, off_us, uncertainty_us) = read(&machine, "ds3231").unwrap();
    assert!(!stopped && off_us.abs() <= SET_WELL_US + uncertainty_us);

    // A battery that died: seen by the flag, although the chip runs again and shows a date; cleared by a setting.
    chip.stop();
    assert!(read(&machine, "ds3231").unwrap().0, "it stands still");
    chip.start();
    assert!(read(&machine, "ds3231").unwrap().0, "it runs again, and was stopped");
    probe(&machine, "set ds3231").unwrap();
    assert!(!chip.osf());
    assert!(!read(&machine, "ds3231").unwrap().0);

    // The kernel's driver hides the flag; our reading does not depend on the driver, and works beside it.
    machine.sh("echo ds3231 0x68 >/sys/bus/i2c/devices/i2c-0/new_device").unwrap();
    chip.set_osf(true);
    assert!(read(&machine, "ds3231").unwrap().0);
    probe(&machine, "set ds3231").unwrap();

    // A chip that is gone is absent, and one with a phase of its own is set to the nearest second.
    bus.unplug(0x68);
    assert!(!machine.run("/bin/clock-probe read ds3231").unwrap().code.eq(&0));
    probe(&machine, "set other").unwrap();
    let (stopped, off_us, uncertainty_us) = read(&machine, "other").unwrap();
    assert!(!stopped && off_us.abs() <= 530_000 + uncertainty_us);

    // The clock is stepped both ways, and slewed.
    machine.sh(&format!("/bin/clock-probe step {}", -7 * YEAR_US)).unwrap();
    assert_eq!(machine.sh("date -u +%Y").unwrap(), "2019");
    machine.sh(&format!("/bin/clock-probe step {}", 10 * YEAR_US)).unwrap();
    assert_eq!(machine.sh("date -u +%Y").unwrap(), "2029");
    machine.sh("/bin/clock-probe slew -300000").unwrap();
    assert!(machine.run("/bin/clock-probe slew 1000000").unwrap().code != 0, "a second is a step");

    // This kernel may write the chip, for all that can be known: its clock never counts as synchronised.
    let vouched = machine.sh("/bin/clock-probe vouch 20000").unwrap();
    assert!(vouched.starts_with("synchronised=false max_error_us=20"), "{vouched}");
    machine.sh("mkdir -p /boot; echo '# CONFIG_RTC_SYSTOHC is not set' >/boot/config-$(uname -r)").unwrap();
    let vouched = machine.sh("/bin/clock-probe vouch 20000").unwrap();
    assert!(vouched.starts_with("synchronised=true max_error_us=20"), "{vouched}");
    machine.sh("echo CONFIG_RTC_SYSTOHC=y >/boot/config-$(uname -r)").unwrap();
    let hands = machine.sh("/bin/clock-probe hands").unwrap();
    assert!(hands.contains("writes the clock chip every 11 minutes"), "{hands}");
}
