//! Sets CLOCK_REALTIME by clock_adjtime, and tells the kernel how far to believe it.
//!
//! Leap seconds and the TAI offset are left alone: the guard carries leaps itself. On a kernel that may write the
//! clock chip (the 11-minute mode of RTC_SYSTOHC) the clock stays marked as not synchronised, since that mark is the
//! only thing that keeps the kernel from writing.

use platform::DeviceError;
use platform::time::ClockControl;

/// What errors call the clock.
const DEVICE: &str = "system clock";

/// Largest error that the kernel can note, microseconds (NTP_PHASE_LIMIT, 16 s).
const MAX_ERROR_US: u64 = 16_000_000;

/// Microseconds per tick of a clock that nobody bends: a hundredth of a second (USER_HZ is 100 on all our machines).
const NOMINAL_TICK_US: libc::c_long = 10_000;

const SECOND_US: i64 = 1_000_000;

/// Whether the kernel writes CLOCK_REALTIME into the first clock chip every 11 minutes while it counts as synchronised
/// (RTC_SYSTOHC).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KernelWritesChip {
    /// It was built without.
    Never,
    /// It was built with it.
    WhenSynchronised,
    /// Its configuration is not to be found.
    Unknown,
}

/// The right to set the clock of this kernel.
#[derive(Debug)]
pub struct LinuxClockControl {
    may_call_it_synchronised: bool,
}

impl LinuxClockControl {
    /// Takes the clock over: what a former owner left (frequency, tick, slews under way) is taken out, since the guard
    /// counts on an oscillator that nobody bends, and the clock is marked as not synchronised.
    ///
    /// # Errors
    /// Without CAP_SYS_TIME, or where the call is filtered.
    pub fn take_over(kernel: KernelWritesChip) -> Result<Self, DeviceError> {
        for request in take_over_requests(leap_bits()?) {
            adjust(request, "take it over")?;
        }
        Ok(Self { may_call_it_synchronised: kernel == KernelWritesChip::Never })
    }
}

impl ClockControl for LinuxClockControl {
    fn step(&self, delta_us: i64) -> Result<(), DeviceError> {
        adjust(step_request(delta_us), "set it").map(drop)
    }

    fn slew(&self, delta_us: i64) -> Result<(), DeviceError> {
        adjust(slew_request(delta_us)?, "slew it").map(drop)
    }

    fn vouch(&self, bound_us: Option<u64>) -> Result<(), DeviceError> {
        let request = vouch_request(bound_us, self.may_call_it_synchronised, leap_bits()?);
        adjust(request, "note its error").map(drop)
    }
}

/// A request that changes nothing.
#[expect(unsafe_code, reason = "a C struct has no other empty value")]
fn empty() -> libc::timex {
    // SAFETY: `timex` is a C struct of integers for which all zero bytes are a value.
    unsafe { std::mem::zeroed() }
}

/// Asks the kernel to change its clock; gives what it says afterwards.
#[expect(unsafe_code, reason = "clock_adjtime has no safe wrapper")]
fn adjust(mut request: libc::timex, operation: &'static str) -> Result<libc::timex, DeviceError> {
    // SAFETY: the pointer is to a live `timex` that this thread alone holds; the kernel reads and fills it.
    let state = unsafe { libc::clock_adjtime(libc::CLOCK_REALTIME, &raw mut request) };
    if state < 0 {
        return Err(DeviceError::new(DEVICE, operation, std::io::Error::last_os_error()));
    }
    Ok(request)
}

/// Gives the leap second that is armed, as status bits.
fn leap_bits() -> Result<libc::c_int, DeviceError> {
    Ok(adjust(empty(), "ask about it")?.status & (libc::STA_INS | libc::STA_DEL))
}

fn take_over_requests(leap: libc::c_int) -> [libc::timex; 3] {
    // The kernel goes on with a former owner's slews whatever the status says: both are overwritten with zero, the one
    // of the phase-locked loop while that is on.
    let mut settle = empty();
    settle.modes = libc::ADJ_STATUS | libc::ADJ_OFFSET | libc::ADJ_FREQUENCY | libc::ADJ_TICK;
    settle.status = libc::STA_PLL | libc::STA_UNSYNC | leap;
    settle.tick = NOMINAL_TICK_US;
    let mut end_slew = empty();
    end_slew.modes = libc::ADJ_OFFSET_SINGLESHOT;
    [settle, end_slew, vouch_request(None, false, leap)]
}

fn step_request(delta_us: i64) -> libc::timex {
    let mut request = empty();
    request.modes = libc::ADJ_SETOFFSET;
    // The kernel wants whole seconds and a fraction that is not negative.
    request.time.tv_sec = delta_us.div_euclid(SECOND_US);
    request.time.tv_usec = delta_us.rem_euclid(SECOND_US);
    request
}

/// adjtime(3): 500 ppm until done, replacing a slew under way.
fn slew_request(delta_us: i64) -> Result<libc::timex, DeviceError> {
    let mut request = empty();
    request.modes = libc::ADJ_OFFSET_SINGLESHOT;
    if delta_us.unsigned_abs() >= SECOND_US.unsigned_abs() {
        let source = std::io::Error::from(std::io::ErrorKind::InvalidInput);
        return Err(DeviceError::new(DEVICE, "slew it by a second or more", source));
    }
    request.offset = delta_us;
    Ok(request)
}

fn vouch_request(bound_us: Option<u64>, may_call_it_synchronised: bool, leap: libc::c_int) -> libc::timex {
    let mut request = empty();
    request.modes = libc::ADJ_STATUS | libc::ADJ_MAXERROR | libc::ADJ_ESTERROR;
    request.status = leap;
    if bound_us.is_none() || !may_call_it_synchronised {
        request.status |= libc::STA_UNSYNC;
    }
    let error_us = bound_us.unwrap_or(MAX_ERROR_US).min(MAX_ERROR_US);
    // It fits: the limit is 16 million.
    request.maxerror = libc::c_long::try_from(error_us).unwrap_or(libc::c_long::MAX);
    request.esterror = request.maxerror;
    request
}

#[cfg(test)]
mod tests {
    //! No test here may change the clock of the machine that runs it: the requests are looked at, a guest carries them
    //! out.
    use super::*;

    #[test]
    fn a_step_back_has_a_fraction_that_is_not_negative() {
        let request = step_request(-1_500_000);
        assert_eq!((request.time.tv_sec, request.time.tv_usec), (-2, 500_000));
        let request = step_request(3_000_001);
        assert_eq!((request.time.tv_sec, request.time.tv_usec), (3, 1));
        assert_eq!(request.modes, libc::ADJ_SETOFFSET);
    }

    #[test]
    fn a_slew_of_a_second_is_refused() {
        assert_eq!(slew_request(-499_999).unwrap().offset, -499_999);
        assert!(slew_request(1_000_000).is_err());
    }

    #[test]
    fn a_kernel_that_may_write_the_chip_never_counts_as_synchronised() {
        for leap in [0, libc::STA_INS] {
            let mut foreign = vouch_request(Some(20_000), false, leap);
            assert_eq!((foreign.status, foreign.maxerror), (libc::STA_UNSYNC | leap, 20_000));
            foreign = vouch_request(Some(20_000), true, leap);
            assert_eq!((foreign.status, foreign.maxerror), (leap, 20_000));
            foreign = vouch_request(None, true, leap);
            assert_eq!((foreign.status, foreign.maxerror), (libc::STA_UNSYNC | leap, 16_000_000));
        }
        for request in take_over_requests(0) {
            assert!(request.modes == libc::ADJ_OFFSET_SINGLESHOT || request.status & libc::STA_UNSYNC != 0);
        }
    }

    #[test]
    fn leap_seconds_and_the_offset_to_tai_are_left_alone() {
        let requests = take_over_requests(libc::STA_DEL).into_iter().chain([step_request(1), empty()]);
        for request in requests {
            assert_eq!(request.modes & libc::ADJ_TAI & !libc::ADJ_OFFSET_SINGLESHOT, 0);
            assert!(request.modes & libc::ADJ_STATUS == 0 || request.status & libc::STA_DEL != 0);
        }
    }
}
