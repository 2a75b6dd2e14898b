//! What is wrong and what to do about it, in plain words, the worst first.
//!
//! The one list that the screen, the panel and the terminal all show. A pure function of the status: it asks nobody.

use control::status::{
    BridgeState, ChildState, MailState, PdsState, RelayState, RtcState, SourceState, Status, StorageState,
    StorageStatus, TimeState,
};
use platform::Battery;
use platform::disk::speed::SpeedVerdict;

use control::placement::Placement;

use super::words;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// What kind it is; a new kind wakes the screen, new figures in the words do not.
    pub kind: Kind,
    /// The trouble in at most [`TITLE_COLUMNS`] characters.
    pub title: &'static str,
    /// What it means and what to do, in sentences. The screen holds five lines of 25 characters and cuts the rest.
    pub advice: String,
}

/// The characters of a title that fit the screen's title bar beside the count of troubles.
pub const TITLE_COLUMNS: usize = 17;

/// The kinds of trouble, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A question about disks waits for a hold of the button.
    DiskQuestion,
    /// The data is not available, and nothing takes its place.
    DataHeld,
    /// The data moves to another disk.
    DataMoving,
    /// The data disk is not there.
    DiskMissing,
    /// The data disk fails.
    DiskFailing,
    /// Only the most needed programs run.
    SafeMode,
    /// The owner's settings cannot be used.
    SettingsWrong,
    /// The supply voltage is too low: whatever else is wrong may come from it.
    PowerWeak,
    /// The data disk's USB bridge loses commands.
    BridgeFails,
    /// The PDS is not running although its disk is there.
    PdsStopped,
    /// No room is left for new data.
    DiskFull,
    /// A date waits for the owner's confirmation.
    DateUnconfirmed,
    /// Nothing may be signed.
    ClockUntrusted,
    /// A repository's rev lies too far ahead; it waits for its cure.
    RepoNeedsRepair,
    /// The PDS refuses writes for a reason of its own.
    PdsReadOnly,
    /// One of the box's programs ends again and again.
    ProgramFails,
    /// The processor is slowed down by heat.
    TooWarm,
    /// The network is down.
    NetworkDown,
    /// A relay does not take what is posted here.
    RelayTrouble,
    /// No time server answers; the clock still holds.
    TimeServersSilent,
    /// A time server says something else than the others.
    TimeServerLies,
    /// The clock chip has lost its time or does not answer.
    ClockChipStopped,
    /// The clock chip's battery is nearly empty.
    ClockBatteryLow,
    /// The mail server could not be used: codes do not reach their owners.
    MailFails,
    /// Room is running out.
    DiskLow,
    /// The disk's own wear counter nears its end.
    DiskWorn,
    /// The data disk makes small writes durable too slowly.
    DiskSlow,
    /// The supply voltage was too low, and is well now.
    PowerWasWeak,
}

/// Above this share of its rated life, per cent, a disk is announced as worn out: months remain to buy another.
const WEAR_PERCENT_ALARM: u8 = 90;

/// Lists everything that is wrong, the worst first.
pub fn troubles(status: &Status) -> Vec<Trouble> {
    let mut found = Vec::new();
    placement(status, &mut found);
    disk(status, &mut found);
    power(status, &mut found);
    supervisor(status, &mut found);
    time(status, &mut found);
    // Last, since a stopped or read-only PDS is worth a line of its own only when nothing above explains it.
    service(status, &mut found);
    network(status, &mut found);
    found.sort_by_key(|trouble| trouble.kind);
    found
}

/// Titles of what the storage part says; another one is shown as [`HELD`].
const PLACEMENT_TITLES: &[&str] = &[
    "DISK IS MISSING",
    "DISK WAS PULLED",
    "DATA FOUND",
    "TWO SAME DISKS",
    "WHOSE DATA?",
    "DISK IS DAMAGED",
    "DISK UNREADABLE",
    "NOT PERCH DATA",
    "NO PLACE FOR DATA",
    "DISK TROUBLE",
    "DATA NOT USABLE",
    "USE THIS DISK?",
    "ERASE IT ALL?",
    "USE THIS DATA?",
    "GIVE IT UP?",
    "OLD DATA FOUND",
    "REPAIR THE DISK?",
];

/// The title of what is held for a reason without a title of its own.
const HELD: &str = "DATA IS HELD";

/// Where the data is, and what is asked about it: a question first, since it tells what is wrong as well.
fn placement(status: &Status, found: &mut Vec<Trouble>) {
    let Some(placement) = &status.placement else { return };
    let known = |title: &str| PLACEMENT_TITLES.iter().find(|known| **known == title).copied().unwrap_or(HELD);
    if let Some(question) = &placement.question {
        let title = known(&question.title);
        found.push(Trouble { kind: Kind::DiskQuestion, title, advice: question.text.clone() });
    }
    match &placement.data {
        Placement::Held { title, why } if placement.question.is_none() => {
            found.push(Trouble { kind: Kind::DataHeld, title: known(title), advice: why.clone() });
        }
        Placement::Moving { to, percent } => found.push(Trouble {
            kind: Kind::DataMoving,
            title: "DATA IS MOVING",
            advice: format!(
                "{percent} % is on {to}. No posts until it is done. Leave both disks plugged in."
            ),
        }),
        Placement::Held { .. } | Placement::Live { .. } | Placement::Starting => {}
    }
}

fn disk(status: &Status, found: &mut Vec<Trouble>) {
    let Some(storage) = &status.storage else { return };
    let free = words::size(storage.free_bytes);
    let (kind, title, advice) = match storage.state {
        StorageState::Pulled => (
            Kind::DiskMissing,
            "DISK IS MISSING",
            format!(
                "Plug this disk back in: {}. All posts are on it; nothing works without it.",
                storage.disk
            ),
        ),
        StorageState::Failing => (
            Kind::DiskFailing,
            "DISK FAILS",
            format!("{} returns errors. Make a backup now and replace it.", storage.disk),
        ),
        StorageState::Full => (
            Kind::DiskFull,
            "DISK IS FULL",
            format!("{free} free. New posts are refused, reading works. Delete posts or fit a larger disk."),
        ),
        StorageState::Low => (
            Kind::DiskLow,
            "DISK ALMOST FULL",
            format!("{free} free. Plan for a larger disk; posting still works."),
        ),
        StorageState::Ok => return disk_care(storage, found),
    };
    found.push(Trouble { kind, title, advice });
}

/// What is wrong with a disk that is there and has room.
fn disk_care(storage: &StorageStatus, found: &mut Vec<Trouble>) {
    let care = &storage.care;
    let mut add = |kind, title, advice| found.push(Trouble { kind, title, advice });
    if care.health.is_failing() {
        let why = care.health.alarms.first().map_or("some of it cannot be read", String::as_str);
        add(
            Kind::DiskFailing,
            "DISK FAILS",
            format!("{}: {why}. Make a backup now and replace it.", storage.disk),
        );
    } else if let Some(wear) = storage.wear_percent.filter(|wear| *wear >= WEAR_PERCENT_ALARM) {
        add(
            Kind::DiskWorn,
            "DISK IS WORN OUT",
            format!("{wear} % of its life is used. Replace {} soon.", storage.disk),
        );
    }
    if care.bridge == BridgeState::Failing {
        let advice =
            "The disk's USB adapter loses commands. Restart the box: it then uses the slower, safe way.";
        add(Kind::BridgeFails, "USB ADAPTER FAILS", advice.to_owned());
    }
    if care.speed.is_some_and(|speed| speed.verdict() == SpeedVerdict::Unfit) {
        let advice = "It takes long to make a post safe, so apps may give up. Use an SSD or a better card.";
        add(Kind::DiskSlow, "DISK IS TOO SLOW", advice.to_owned());
    }
}

fn power(status: &Status, found: &mut Vec<Trouble>) {
    if status.system.undervoltage == Some(true) {
        found.push(Trouble {
            kind: Kind::PowerWeak,
            title: "POWER IS WEAK",
            advice: "The voltage is too low: use the right power supply and a short, thick cable.".to_owned(),
        });
    } else if status.system.was_undervoltage == Some(true) {
        found.push(Trouble {
            kind: Kind::PowerWasWeak,
            title: "POWER WAS WEAK",
            advice: "The voltage was too low since the start, and is well now. A better supply is safer."
                .to_owned(),
        });
    }
    if status.system.slowed_by_heat == Some(true) {
        found.push(Trouble {
            kind: Kind::TooWarm,
            title: "BOX IS TOO WARM",
            advice: "It runs slower to cool down. Give it air, a heat sink or a place without sun."
                .to_owned(),
        });
    }
}

fn supervisor(status: &Status, found: &mut Vec<Trouble>) {
    if let Some(why) = &status.system.safe_mode {
        found.push(Trouble {
            kind: Kind::SafeMode,
            title: "SAFE MODE",
            advice: format!("{why} The PDS rests, its data is safe. Restart the box to leave."),
        });
    }
    if let Some(why) = &status.system.settings_problem {
        found.push(Trouble { kind: Kind::SettingsWrong, title: "SETTINGS WRONG", advice: why.clone() });
    }
    let failing = status.system.children.iter().find(|child| child.state == ChildState::Failing);
    if let Some(child) = failing {
        let why = child.why.as_deref().unwrap_or("no reason is known");
        found.push(Trouble {
            kind: Kind::ProgramFails,
            title: "PROGRAM FAILS",
            advice: format!("{} ends again and again: {why}", child.name),
        });
    }
}

fn time(status: &Status, found: &mut Vec<Trouble>) {
    let Some(time) = &status.time else {
        found.push(Trouble {
            kind: Kind::ClockUntrusted,
            title: "CLOCK NOT TRUSTED",
            advice: "The time guard does not answer. It is started again by itself; no posts until then."
                .to_owned(),
        });
        return;
    };
    let spoke = time.sources.iter().filter(|source| source.answers != SourceState::Unasked);
    let silent = spoke.clone().filter(|source| source.answers == SourceState::Silent).count();
    let all_silent = silent > 0 && silent == spoke.count();
    if let Some(date_us) = time.asks_owner_us {
        let date = platform::time::format_rfc3339_millis(date_us);
        let day = date.split('T').next().unwrap_or_default();
        found.push(Trouble {
            kind: Kind::DateUnconfirmed,
            title: "IS THIS THE DATE?",
            advice: format!("{day}. Hold the button if it is. Until then no posts; reading works."),
        });
    } else if !time.trusted {
        let advice = untrusted(time.state, all_silent).to_owned();
        found.push(Trouble { kind: Kind::ClockUntrusted, title: "CLOCK NOT TRUSTED", advice });
    } else if all_silent {
        found.push(Trouble {
            kind: Kind::TimeServersSilent,
            title: "NO TIME SERVER",
            advice: "None answers. The clock holds for now, not for ever: check the network.".to_owned(),
        });
    }
    let liar = time.sources.iter().find(|source| source.answers == SourceState::Disagrees);
    if let (true, Some(liar)) = (time.trusted, liar) {
        found.push(Trouble {
            kind: Kind::TimeServerLies,
            title: "TIME SERVER WRONG",
            advice: format!("{} is outvoted and ignored. Nothing to do, unless it stays so.", liar.name),
        });
    }
    chip(&time.rtc, found);
    if time.rtc_battery == Battery::Low {
        found.push(Trouble {
            kind: Kind::ClockBatteryLow,
            title: "CLOCK BATTERY LOW",
            advice:
                "Replace the battery of the clock chip soon. Without it a start without network has no time."
                    .to_owned(),
        });
    }
}

/// The network, and the first relay that has something to say. No relay can be reached without a network.
fn network(status: &Status, found: &mut Vec<Trouble>) {
    if !status.system.network_up {
        found.push(Trouble {
            kind: Kind::NetworkDown,
            title: "NO NETWORK",
            advice: "Check cable or Wi-Fi and the router. Posts wait here until it is back.".to_owned(),
        });
        return;
    }
    let relays = status.pds.iter().flat_map(|pds| &pds.relays);
    let told = relays.filter_map(|relay| Some((relay, relay.advice.clone()?)));
    let Some((relay, advice)) = told.max_by_key(|(relay, _)| relay.state == RelayState::Banned) else {
        return;
    };
    found.push(Trouble {
        kind: Kind::RelayTrouble,
        title: "RELAY TROUBLE",
        advice: format!("{}: {advice}", relay.name),
    });
}

fn chip(rtc: &RtcState, found: &mut Vec<Trouble>) {
    let (title, advice) = match rtc {
        RtcState::Stopped | RtcState::Implausible => {
            ("CLOCK CHIP DEAD", "Replace its battery. Until then a start without network has no time.")
        }
        RtcState::Failing => (
            "CLOCK CHIP SILENT",
            "Check that it sits firmly. Until then a start without network has no time.",
        ),
        _ => return,
    };
    found.push(Trouble { kind: Kind::ClockChipStopped, title, advice: advice.to_owned() });
}

fn untrusted(state: TimeState, all_silent: bool) -> &'static str {
    match (state, all_silent) {
        (TimeState::Suspect, _) => {
            "Clock chip and time servers disagree. No posts until that is settled; reading works."
        }
        (_, true) => "No time server answers. No posts until one does; reading works. Check the network.",
        (_, false) => "Asking time servers. No posts until most agree; reading works. It takes a minute.",
    }
}

fn service(status: &Status, found: &mut Vec<Trouble>) {
    let explained = |kinds: &[Kind]| found.iter().any(|trouble| kinds.contains(&trouble.kind));
    let disk_gone = explained(&[
        Kind::DataHeld,
        Kind::DiskQuestion,
        Kind::DataMoving,
        Kind::DiskMissing,
        Kind::DiskFailing,
    ]);
    let refusal_known = explained(&[Kind::DiskFull, Kind::DateUnconfirmed, Kind::ClockUntrusted]);
    let Some(pds) = &status.pds else {
        found.push(Trouble {
            kind: Kind::PdsStopped,
            title: "PDS IS SILENT",
            advice: "It is started again by itself. If this stays, switch the box off and on.".to_owned(),
        });
        return;
    };
    if let MailState::Fails { .. } = &pds.mail {
        found.push(Trouble {
            kind: Kind::MailFails,
            title: "MAIL IS NOT SENT",
            advice:
                "No code reaches anyone by mail. The status page in your browser says why and what to do."
                    .to_owned(),
        });
    }
    if pds.repos_to_repair > 0 {
        found.push(Trouble {
            kind: Kind::RepoNeedsRepair,
            title: "REPAIR IS NEEDED",
            advice: format!(
                "{} signed far ahead of the true time. Healed when the relays allow it; posts wait.",
                words::count(pds.repos_to_repair, "account")
            ),
        });
    }
    let (kind, title, why) = match (&pds.state, &pds.refuses_writes) {
        (PdsState::Stopped { why }, _) if !disk_gone => (Kind::PdsStopped, "PDS HAS STOPPED", why),
        (PdsState::Serving, Some(why)) if !disk_gone && !refusal_known => {
            (Kind::PdsReadOnly, "NO NEW POSTS", why)
        }
        _ => return,
    };
    found.push(Trouble { kind, title, advice: why.clone() });
}
