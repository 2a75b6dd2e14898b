//! Run in the guest by tests: reads and sets clock and clock chip of the machine by the code that the box uses.
//!
//! CLOCK_REALTIME is taken for the truth. It must never run on a machine that is not a guest: it refuses where the
//! guest's agent is not.

use std::path::Path;
use std::process::ExitCode;

use platform::board::{RtcChip, RtcWiring};
use platform::time::{BootClock, ClockControl};
use platform::{DeviceError, Rtc};
use platform_linux::{
    LinuxClock, LinuxClockControl, LinuxRtc, kernel_writes_chip, other_hands, read_kernel_time,
};

/// What only the guest has.
const AGENT: &str = "/sbin/testbed-agent";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if !Path::new(AGENT).exists() {
        say("not a guest: nothing is done");
        return ExitCode::FAILURE;
    }
    match act(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            say(&why);
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stdout, reason = "a command-line tool: its output is its purpose")]
fn say(line: &str) {
    println!("{line}");
}

fn act(arguments: &[String]) -> Result<(), String> {
    let clock = LinuxClock::new().map_err(|error| error.to_string())?;
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let number = |text: &str| text.parse::<i64>().map_err(|error| error.to_string());
    match words.as_slice() {
        ["read", chip] => read(&mut found(chip, &clock)?, &clock),
        ["set", chip] => found(chip, &clock)?.set(clock.realtime_us()).map_err(in_full),
        ["step", delta_us] => control()?.step(number(delta_us)?).map_err(in_full),
        ["slew", delta_us] => control()?.slew(number(delta_us)?).map_err(in_full),
        ["vouch", bound_us] => {
            let bound_us = u64::try_from(number(bound_us)?).map_err(|error| error.to_string())?;
            control()?.vouch(Some(bound_us)).map_err(in_full)?;
            let time = read_kernel_time().map_err(|error| error.to_string())?;
            say(&format!("synchronised={} max_error_us={}", time.synchronised, time.max_error_us));
            Ok(())
        }
        ["hands"] => {
            other_hands().iter().for_each(|hand| say(&hand.to_string()));
            Ok(())
        }
        _ => Err("read|set ds3231|other, step|slew|vouch MICROSECONDS, hands".to_owned()),
    }
}

fn control() -> Result<LinuxClockControl, String> {
    LinuxClockControl::take_over(kernel_writes_chip()).map_err(in_full)
}

fn found(chip: &str, clock: &LinuxClock) -> Result<LinuxRtc, String> {
    let wiring = RtcWiring {
        chip: RtcChip::Ds3231,
        names: Vec::new(),
        bus: Some("/dev/i2c-0".to_owned()),
        address: Some(0x68),
    };
    let wanted = if chip == "ds3231" { RtcChip::Ds3231 } else { RtcChip::Other };
    let wiring = (wanted == RtcChip::Ds3231).then_some(&wiring);
    LinuxRtc::find(wiring, clock).filter(|rtc| rtc.kind() == wanted).ok_or_else(|| "absent".to_owned())
}

/// Prints how far the chip is from CLOCK_REALTIME.
fn read(rtc: &mut LinuxRtc, clock: &LinuxClock) -> Result<(), String> {
    let reading = rtc.read().map_err(in_full)?;
    let aged_ns = clock.boottime_ns().saturating_sub(reading.boottime_ns);
    let realtime_us = clock.realtime_us().saturating_sub_unsigned(aged_ns / 1_000);
    let off_us = reading.unix_us.saturating_sub(realtime_us);
    say(&format!("stopped={} off_us={off_us} uncertainty_us={}", reading.stopped, reading.uncertainty_us));
    Ok(())
}

#[expect(clippy::needless_pass_by_value, reason = "map_err gives it away")]
fn in_full(error: DeviceError) -> String {
    format!("{error}: {}", error.source)
}
