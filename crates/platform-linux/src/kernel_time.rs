//! What the kernel says about its own synchronisation (adjtimex), for a PDS on a server that something else keeps
//! on time.

use platform::time::{BootClock, BootId};
use platform::time::{TRUST_BOUND_US, VERDICT_LIFE_NS, Verdict, VerdictSource};

/// How fast the bound grows until the next look, parts per billion: the kernel itself adds 500 ppm to `maxerror`.
const RATE_PPB: u64 = 500_000;

/// Why the kernel did not answer.
#[derive(Debug, thiserror::Error)]
#[error("cannot ask the kernel about its clock (adjtimex)")]
pub struct KernelTimeError(#[source] std::io::Error);

/// The kernel's words about CLOCK_REALTIME.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelTime {
    /// False while STA_UNSYNC is set or the state is TIME_ERROR: nobody keeps the clock.
    pub synchronised: bool,
    /// Largest error as the program that keeps the clock told it, microseconds.
    pub max_error_us: u64,
}

/// Asks the kernel, changing nothing; needs no rights.
///
/// # Errors
/// When the call is refused (a seccomp filter).
#[expect(unsafe_code, reason = "adjtimex has no safe wrapper")]
pub fn read_kernel_time() -> Result<KernelTime, KernelTimeError> {
    // SAFETY: `timex` is a C struct of integers for which all zero bytes are a value.
    let mut timex: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a live `timex` that this thread alone holds; with `modes` 0 the kernel only fills it.
    let state = unsafe { libc::adjtimex(&raw mut timex) };
    if state < 0 {
        return Err(KernelTimeError(std::io::Error::last_os_error()));
    }
    Ok(KernelTime {
        synchronised: state != libc::TIME_ERROR && timex.status & libc::STA_UNSYNC == 0,
        max_error_us: u64::try_from(timex.maxerror).unwrap_or(u64::MAX),
    })
}

/// Takes the kernel's word as the verdict: for `perch-pds` alone on a server with chrony, ntpd or timesyncd.
///
/// It trusts CLOCK_REALTIME when the kernel says synchronised and `maxerror` is at most 5 s, asked anew at each
/// question. It is weaker than the guard: one lying server of the other program is enough to fool it.
#[derive(Debug)]
pub struct KernelVerdict<C> {
    clock: C,
}

impl<C: BootClock> KernelVerdict<C> {
    /// Stands on the clocks of this kernel.
    #[must_use]
    pub fn new(clock: C) -> Self {
        Self { clock }
    }
}

impl<C: BootClock> VerdictSource for KernelVerdict<C> {
    fn verdict(&self) -> Option<Verdict> {
        let time = read_kernel_time().ok()?;
        verdict_of(time, self.clock.boot_id(), self.clock.boottime_ns(), self.clock.realtime_us())
    }

    fn refusal(&self) -> Option<String> {
        match read_kernel_time() {
            Err(error) => Some(format!("{error}; allow the call or use the time guard")),
            Ok(time) if !time.synchronised => Some(
                "the system says that its clock is not synchronised; install and start chrony or systemd-timesyncd"
                    .to_owned(),
            ),
            Ok(time) if time.max_error_us > TRUST_BOUND_US => Some(format!(
                "the system says that its clock may be wrong by {} ms; check its time service",
                time.max_error_us / 1_000
            )),
            Ok(_) => None,
        }
    }
}

/// Turns the kernel's words into a verdict; `None` unless synchronised within 5 s.
fn verdict_of(time: KernelTime, boot_id: BootId, boottime_ns: u64, realtime_us: i64) -> Option<Verdict> {
    if !time.synchronised || time.max_error_us > TRUST_BOUND_US {
        return None;
    }
    Some(Verdict {
        boot_id,
        boottime_ns,
        unix_us_at_boottime: u64::try_from(realtime_us).ok()?,
        error_bound_us: time.max_error_us,
        rate_ppb: RATE_PPB,
        generation: boottime_ns,
        valid_until_boottime_ns: boottime_ns.saturating_add(VERDICT_LIFE_NS),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_of_this_machine_answers() {
        let time = read_kernel_time().unwrap();
        assert!(!time.synchronised || time.max_error_us < u64::MAX);
    }

    #[test]
    fn only_a_synchronised_clock_within_five_seconds_is_a_verdict() {
        let boot_id = BootId::from_bytes([7; 16]);
        let of = |synchronised, max_error_us| {
            verdict_of(KernelTime { synchronised, max_error_us }, boot_id, 1_000, 1_795_401_296_000_000)
        };
        assert_eq!(of(true, 20_000).unwrap().error_bound_us, 20_000);
        assert!(of(true, TRUST_BOUND_US).is_some());
        assert!(of(true, TRUST_BOUND_US + 1).is_none());
        assert!(of(false, 0).is_none());
    }
}
