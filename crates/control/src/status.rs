//! What each process says about itself; the screen and the panel render it.
//!
//! Plain data. Texts meant for the owner are whole sentences that say what is wrong and what to do; a page may
//! cut them. Times are UTC in microseconds since 1970, spans end in their unit.

use platform::confine::Gap;
use platform::disk::endurance::LifeLeft;
use platform::disk::health::Health;
use platform::disk::speed::WriteSpeed;
use platform::disk::trim::TrimState;
use platform::time::{BootId, format_rfc3339_millis};
use platform::{Battery, DiskKind};
use serde::{Deserialize, Serialize};

/// A status with the moment of writing, so that a reader knows a dead writer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamped<T> {
    /// The boot that it was written in.
    pub boot_id: BootId,
    /// CLOCK_BOOTTIME of writing, nanoseconds.
    pub boottime_ns: u64,
    /// What was said.
    pub status: T,
}

/// How long a status is believed after it was written, nanoseconds.
///
/// 15 s: writers renew every 5 s at the latest, so that three renewals are lost before a page says "no answer".
pub const STATUS_LIFE_NS: u64 = 15_000_000_000;

impl<T> Stamped<T> {
    /// Tells whether the writer is still speaking.
    #[must_use]
    pub fn is_fresh(&self, boot_id: BootId, boottime_ns: u64) -> bool {
        self.boot_id == boot_id && boottime_ns.saturating_sub(self.boottime_ns) <= STATUS_LIFE_NS
    }
}

/// Where the PDS is in its life.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub enum PdsState {
    /// It opens its database.
    #[default]
    Starting,
    /// It answers.
    Serving,
    /// It does not answer.
    Stopped {
        /// Why, and what to do.
        why: String,
    },
}

/// How a relay stands to this host: who follows its firehose and shows its posts to the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum RelayState {
    /// Not asked yet.
    #[default]
    Unasked,
    /// It follows.
    Active,
    /// It knows the host and does not follow.
    Idle,
    /// It could not reach the host and has given it up.
    Offline,
    /// It takes less than there is.
    Throttled,
    /// It takes nothing from this host.
    Banned,
    /// It has never heard of the host.
    UnknownHost,
    /// It does not answer.
    Silent,
    /// It answers, but does not tell.
    NotTold,
    /// It claims numbers that this host cannot have given.
    TooFarAhead,
}

impl RelayState {
    /// Gives the words that pages show.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Unasked => "not asked yet",
            Self::Active => "active",
            Self::Idle => "idle",
            Self::Offline => "cannot reach us",
            Self::Throttled => "throttled",
            Self::Banned => "banned us",
            Self::UnknownHost => "does not know us",
            Self::Silent => "does not answer",
            Self::NotTold => "does not tell",
            Self::TooFarAhead => "claims the impossible",
        }
    }
}

/// One relay as pages show it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RelayStatus {
    /// Its host name.
    pub name: String,
    /// How it stands.
    pub state: RelayState,
    /// The newest of our events that it has.
    pub seq: Option<u64>,
    /// Events that it has yet to take, counted up to a bound.
    pub behind: Option<u64>,
    /// When it was last asked to crawl, UTC microseconds.
    pub asked_unix_us: Option<u64>,
    /// What is wrong and what to do, when something is.
    pub advice: Option<String>,
}

/// How mail stands: codes for a new password or address travel by it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub enum MailState {
    /// No mail server is set; the box shows codes on its own screen, if it has one.
    #[default]
    NotSetUp,
    /// A mail server is set, and nothing is known against it.
    SetUp,
    /// The mail server could not be used the last time.
    Fails {
        /// Why, and what to do.
        why: String,
    },
}

/// Sequence numbers that are never used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// The newest number before.
    pub from: u64,
    /// The number after which events go on.
    pub to: u64,
}

/// The PDS.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PdsStatus {
    /// Where it is in its life.
    pub state: PdsState,
    /// Handle of the first account, else the host name.
    pub name: String,
    /// Address for clients, such as `https://perch.example`.
    pub public_url: String,
    /// Accounts hosted here.
    pub accounts: u64,
    /// When a record was last written, UTC microseconds.
    pub last_post_unix_us: Option<u64>,
    /// Sequence number of the newest event; 0 when there is none.
    pub last_seq: u64,
    /// Sequence numbers that this start left out, because the disk with later data was given up.
    pub left_out: Option<LeftOut>,
    /// Who follows the firehose now: relays and tools.
    pub subscribers: u64,
    /// How mail stands.
    pub mail: MailState,
    /// Why it refuses what writes or signs, and what to do; reads go on.
    pub refuses_writes: Option<String>,
    /// Repositories whose rev lies too far ahead and that wait for their cure.
    pub repos_to_repair: u64,
    /// The relays that are asked to crawl; none is a choice.
    pub relays: Vec<RelayStatus>,
}

/// State of the time guard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TimeState {
    /// Only a time that has certainly passed is known.
    #[default]
    Unknown,
    /// The clock chip is believed.
    Rtc,
    /// A majority of time servers agrees.
    Synced,
    /// Clock chip and servers contradict each other.
    Suspect,
    /// Servers agreed once, and do not now; the error grows.
    Holdover,
}

impl TimeState {
    /// Gives the word that pages show.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Rtc => "clock chip",
            Self::Synced => "synced",
            Self::Suspect => "suspect",
            Self::Holdover => "holdover",
        }
    }
}

/// How one time source stands to the guard's view.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SourceState {
    /// Not asked yet, or no answer yet.
    #[default]
    Unasked,
    /// Its interval contains the agreed time.
    Agrees,
    /// It contradicts the majority.
    Disagrees,
    /// It does not answer.
    Silent,
    /// It told us to go away, or says itself that it is not in order.
    Refuses,
}

/// One time server as pages show it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SourceStatus {
    /// Its name or address.
    pub name: String,
    /// Who runs it: sources of one operator have one vote.
    pub operator: String,
    /// How it stands.
    pub answers: SourceState,
    /// Its time minus the guard's, microseconds; minus CLOCK_REALTIME while the guard has none.
    pub offset_us: Option<i64>,
    /// Half the width of its interval, microseconds.
    pub error_us: Option<u64>,
}

/// A vote of the operators about the time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct VoteStatus {
    /// Operators that share the most supported time.
    pub agreeing: u64,
    /// Operators that voted, or may do so in a moment.
    pub voters: u64,
    /// How many must agree.
    pub needed: u64,
}

/// The clock chip as pages show it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
#[non_exhaustive]
pub enum RtcState {
    /// There is none.
    #[default]
    Absent,
    /// It does not answer.
    Failing,
    /// Its battery died: the time means nothing until it is set.
    Stopped,
    /// It shows a time that cannot be.
    Implausible,
    /// A driver of this system had it first and may have hidden that it stopped: it counts once servers have confirmed it.
    Unproven,
    /// It runs.
    Running {
        /// Its time minus the guard's, microseconds, when the guard has one.
        offset_us: Option<i64>,
    },
}

/// The time guard.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TimeStatus {
    /// Its state.
    pub state: TimeState,
    /// Whether the PDS may sign now.
    pub trusted: bool,
    /// UTC as the guard sees it at the moment of the stamp, microseconds.
    pub unix_us: Option<u64>,
    /// Largest error of `unix_us`, microseconds.
    pub error_bound_us: Option<u64>,
    /// Why the PDS may not sign, and what to do; `None` when it may.
    pub why_untrusted: Option<String>,
    /// The servers.
    pub sources: Vec<SourceStatus>,
    /// The last vote; `None` before there was one.
    pub vote: Option<VoteStatus>,
    /// The clock chip.
    pub rtc: RtcState,
    /// The clock chip's battery.
    pub rtc_battery: Battery,
    /// How fast the clock chip runs off, as learned from it, nanoseconds per second; `None` while that takes more days.
    pub rtc_drift_ppb: Option<i64>,
    /// A time that has certainly passed, UTC microseconds.
    pub floor_us: u64,
    /// A time that waits for the owner's long press, UTC microseconds.
    pub asks_owner_us: Option<u64>,
}

impl TimeStatus {
    /// Writes the guard's UTC for a page, with `?` while it is not trusted.
    #[must_use]
    pub fn clock_text(&self) -> String {
        match (self.unix_us, self.trusted) {
            (Some(unix_us), true) => format_rfc3339_millis(unix_us),
            (Some(unix_us), false) => format!("{}?", format_rfc3339_millis(unix_us)),
            (None, _) => "not known".to_owned(),
        }
    }
}

/// How the storage stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StorageState {
    /// All is well.
    #[default]
    Ok,
    /// Little room is left.
    Low,
    /// No room: writes are refused.
    Full,
    /// The data disk is unplugged: this one must come back.
    Pulled,
    /// It returns errors.
    Failing,
}

/// How a USB disk's bridge moves its blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum BridgeState {
    /// It is not behind USB, or nothing is known.
    #[default]
    None,
    /// It uses the fast way (UAS), and nothing is known against it.
    Fast,
    /// It uses the slow and safe way.
    Safe,
    /// It loses commands on the fast way, and stays on it until the next start.
    Failing,
}

impl BridgeState {
    /// Gives the words that pages show.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::None => "no USB adapter",
            Self::Fast => "the fast way (UAS)",
            Self::Safe => "the safe way",
            Self::Failing => "fails: restart the box",
        }
    }
}

/// What is known about the data disk beyond its room.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DiskCare {
    /// Its health by its own account.
    pub health: Health,
    /// Bytes written to it on an average day.
    pub bytes_per_day: Option<u64>,
    /// How long it lives on like this.
    pub life: LifeLeft,
    /// How fast small writes become durable, measured at its first use.
    pub speed: Option<WriteSpeed>,
    /// Whether it is told which blocks are free.
    pub trim: TrimState,
    /// How its USB bridge does.
    pub bridge: BridgeState,
    /// Reads and writes that failed since the start.
    pub io_errors: u64,
}

/// The disk that holds the data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StorageStatus {
    /// The disk's model, or its kind in words when it gives none.
    pub disk: String,
    /// What sort of medium it is.
    pub kind: DiskKind,
    /// Whether it is plugged in.
    pub present: bool,
    /// How it stands.
    pub state: StorageState,
    /// Room for data, the last known when the disk is gone.
    pub free_bytes: u64,
    /// Size of the file system, the last known when the disk is gone.
    pub total_bytes: u64,
    /// Share of its life that is used, per cent, when it tells (may exceed 100).
    pub wear_percent: Option<u8>,
    /// What else is known about it.
    #[serde(default)]
    pub care: DiskCare,
}

/// The network, for programs that ask the world anew when it comes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkWord {
    /// Whether there is an address and a way out.
    pub up: bool,
    /// How often it came up, or became another one, since the supervisor's start.
    pub came_up: u64,
}

/// How one of the box's programs is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChildState {
    /// Not wanted now: its disk is away, or the box is in safe mode.
    #[default]
    Resting,
    /// It is being started, or waits a little before it is started again.
    Starting,
    /// It runs.
    Running,
    /// It ends again and again.
    Failing,
    /// It was asked to end.
    Ending,
}

impl ChildState {
    /// Gives the word that pages show.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Resting => "not wanted now",
            Self::Starting => "starting",
            Self::Running => "runs",
            Self::Failing => "fails again and again",
            Self::Ending => "ending",
        }
    }
}

/// One of the box's programs, as its supervisor sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ChildStatus {
    /// Its name, such as `pds` or `udhcpc eth0`.
    pub name: String,
    /// How it is.
    pub state: ChildState,
    /// How often it was started again since boot.
    pub restarts: u64,
    /// Why it ended the last time, until it has run well again.
    pub why: Option<String>,
    /// Seconds until it is started again.
    pub next_start_s: Option<u64>,
    /// What its sandbox does not enforce, once it has shut itself in; `None` for programs that are not ours.
    pub sandbox: Option<Vec<Gap>>,
}

impl ChildStatus {
    /// The programs that shut themselves in.
    pub const SHUT_IN: [&str; 3] = ["pds", "timeguard", "panel"];

    /// Tells whether a program runs that should be shut in and is not, or not everywhere.
    #[must_use]
    pub fn is_loose(&self) -> bool {
        let should = Self::SHUT_IN.contains(&self.name.as_str());
        should
            && self.state == ChildState::Running
            && self.sandbox.as_ref().is_none_or(|gaps| !gaps.is_empty())
    }
}

/// The box.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SystemStatus {
    /// The box's name on the home network.
    pub hostname: String,
    /// Version of Perch.
    pub version: String,
    /// The board as its owner knows it; `None` where the machine is no known board, or none is looked for.
    pub board: Option<String>,
    /// True when this is the simulation, which every page must say.
    pub simulation: bool,
    /// Addresses on the home network, the first one to show.
    pub addresses: Vec<String>,
    /// Address of the PDS.
    pub pds_url: String,
    /// Address of the panel, for the set-up page and its QR code.
    pub panel_url: String,
    /// Address of the PLC directory in use.
    pub plc_url: String,
    /// Whether a network is up.
    pub network_up: bool,
    /// Seconds since boot.
    pub uptime_s: u64,
    /// Temperature of the processor, thousandths of a degree Celsius, when it tells.
    pub temperature_mc: Option<i32>,
    /// True when the supply voltage is too low now; `None` when the board does not tell.
    pub undervoltage: Option<bool>,
    /// True when the supply voltage was too low at some time since the start.
    pub was_undervoltage: Option<bool>,
    /// True while the processor is slowed down because of heat.
    pub slowed_by_heat: Option<bool>,
    /// The box's programs, where it has a supervisor.
    pub children: Vec<ChildStatus>,
    /// Why only the most needed programs run, if so.
    pub safe_mode: Option<String>,
    /// Whether the programs run without memory limits, since the kernel has none.
    pub without_limits: bool,
    /// What is wrong with the owner's settings, if anything.
    pub settings_problem: Option<String>,
}

/// All that a page may show. What a silent process would say is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// The PDS.
    pub pds: Option<PdsStatus>,
    /// The time guard.
    pub time: Option<TimeStatus>,
    /// The data disk.
    pub storage: Option<StorageStatus>,
    /// Where the data is and what is asked about it; `None` where no disks are managed (a computer, a server).
    pub placement: Option<crate::placement::PlacementStatus>,
    /// The box.
    pub system: SystemStatus,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_status_without_newer_fields_is_read() {
        let status: TimeStatus = serde_json::from_str(r#"{"state":"synced","trusted":true}"#).unwrap();
        assert_eq!(status.state, TimeState::Synced);
        assert!(status.sources.is_empty());
    }

    #[test]
    fn each_status_survives_json() {
        let time = TimeStatus {
            state: TimeState::Holdover,
            unix_us: Some(1_795_401_296_789_000),
            rtc: RtcState::Running { offset_us: Some(-3) },
            sources: vec![SourceStatus { name: "a".to_owned(), ..SourceStatus::default() }],
            ..TimeStatus::default()
        };
        let text = serde_json::to_string(&time).unwrap();
        assert_eq!(serde_json::from_str::<TimeStatus>(&text).unwrap(), time);
        assert_eq!(time.clock_text(), "2026-11-23T02:34:56.789Z?");
        let pds = PdsStatus {
            state: PdsState::Stopped { why: "the database is damaged".to_owned() },
            relays: vec![RelayStatus {
                state: RelayState::UnknownHost,
                seq: Some(7),
                ..RelayStatus::default()
            }],
            ..PdsStatus::default()
        };
        let text = serde_json::to_string(&pds).unwrap();
        assert_eq!(serde_json::from_str::<PdsStatus>(&text).unwrap(), pds);
    }

    #[test]
    fn a_silent_writer_is_known_by_its_stamp() {
        let boot_id = BootId::from_bytes([1; 16]);
        let stamped = Stamped { boot_id, boottime_ns: 100, status: () };
        assert!(stamped.is_fresh(boot_id, 100 + STATUS_LIFE_NS));
        assert!(!stamped.is_fresh(boot_id, 101 + STATUS_LIFE_NS));
        assert!(!stamped.is_fresh(BootId::from_bytes([2; 16]), 100));
    }
}
