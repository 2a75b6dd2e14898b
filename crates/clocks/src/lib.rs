//! The time guard's seeded scenarios (`timeguard::trial`) on the programs that keep Debian's clock: chronyd and
//! systemd-timesyncd. For tests and `docs/benchmarks.md` only; nothing of the box depends on it.
//!
//! The programs are Debian's own, unpacked below `target/` and not installed. `tests/clocks/shim.c`, put before their C
//! library, gives them a simulated machine: a clock that they may steer and time that passes only when they wait. The
//! servers they ask are those of the scenario, the same that the guard asks. No program reaches this machine's clock.

pub mod guard;
pub mod host;
pub mod message;
pub mod outcome;
pub mod program;
pub mod run;
pub mod table;

/// How long a scenario is watched, microseconds: 11 min, as the guard's own test does.
pub const SPAN_US: i64 = 660_000_000;

/// By when the issue asks for trust, microseconds.
pub const SOON_US: i64 = 60_000_000;
