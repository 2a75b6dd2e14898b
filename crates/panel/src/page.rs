//! The status page as HTML: every status in words, every word escaped.
//!
//! Pure text making; what goes over the network is `lib.rs`'s business.

use std::fmt::Write as _;

use appliance::screen::{age, count, drift, size, span, time_server, troubles, vote};
use control::status::{
    BridgeState, DiskCare, MailState, PdsState, RelayStatus, RtcState, Status, StorageState, TimeState,
    TimeStatus,
};
use platform::Battery;
use platform::disk::endurance::{EnduranceSource, LifeLeft, YEARS_MAX};
use platform::disk::health::HealthSource;
use platform::disk::speed::SpeedVerdict;
use platform::disk::trim::TrimState;
use platform::time::format_rfc3339_millis;

/// The parts of the page that follow the status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Words {
    /// HTML of everything below the picture.
    pub(crate) html: String,
    /// What the picture says, for those who cannot see it: plain text.
    pub(crate) alt: String,
}

/// Makes text safe between tags and in quoted attributes.
pub(crate) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

/// Writes the whole page. `frame` names the picture; `button` adds the simulated button.
pub(crate) fn page(status: &Status, frame: &str, button: bool) -> String {
    let words = words(status);
    let name = status.pds.as_ref().map_or("", |pds| pds.name.as_str());
    let simulation = if status.system.simulation {
        "<p class=\"simulation\">SIMULATION: accounts on this box exist on this computer only, not on the real \
         network.</p>"
    } else {
        ""
    };
    let button = if button {
        "<form id=\"button\" method=\"post\" action=\"/button\">\
         <button name=\"press\" value=\"short\">Press the button</button>\
         <button name=\"press\" value=\"long\">Hold it</button></form>"
    } else {
        ""
    };
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>{title}</title><link rel=\"icon\" href=\"data:,\"><link rel=\"stylesheet\" href=\"/panel.css\">\
         <noscript><meta http-equiv=\"refresh\" content=\"10\"></noscript></head>\n<body>\
         {simulation}<h1>{title}</h1>\
         <p class=\"lost-note\">The box does not answer. What you see below is old.</p>\
         <div class=\"oled\"><img id=\"screen\" src=\"/screen.png?frame={frame}\" data-frame=\"{frame}\" width=\"512\" \
         height=\"256\" alt=\"{alt}\"></div>{button}\n<main id=\"words\">{html}</main>\
         <script src=\"/panel.js\"></script></body></html>\n",
        title = escape(&if name.is_empty() { "Perch".to_owned() } else { format!("Perch: {name}") }),
        alt = escape(&words.alt),
        html = words.html,
    )
}

/// Writes what follows the status.
pub(crate) fn words(status: &Status) -> Words {
    let found = troubles(status);
    let mut html = String::new();
    if found.is_empty() {
        html.push_str("<p class=\"well\">All is well.</p>");
    }
    for trouble in &found {
        let title = escape(&sentence_case(trouble.title));
        line(&mut html, &format!("<p class=\"trouble\"><b>{title}.</b> {}</p>", escape(&trouble.advice)));
    }
    section(&mut html, "Server", &server_rows(status));
    section(&mut html, "Time", &time_rows(status));
    section(&mut html, "Storage", &storage_rows(status));
    section(&mut html, "Box", &box_rows(status));
    let alt = found.first().map_or_else(
        || "The screen: all is well.".to_owned(),
        |worst| format!("The screen: {}. {}", sentence_case(worst.title), worst.advice),
    );
    Words { html, alt }
}

/// The screen shouts in capitals; a page need not.
fn sentence_case(title: &str) -> String {
    let lower = title.to_lowercase().replace("pds", "PDS");
    let mut letters = lower.chars();
    letters.next().map(|first| first.to_uppercase().to_string() + letters.as_str()).unwrap_or_default()
}

fn line(html: &mut String, text: &str) {
    // Writing to a string cannot fail.
    let Ok(()) = writeln!(html, "{text}") else { return };
}

type Rows = Vec<(&'static str, String)>;

fn section(html: &mut String, title: &str, rows: &Rows) {
    line(html, &format!("<h2>{title}</h2><dl>"));
    for (name, value) in rows {
        line(html, &format!("<dt>{name}</dt><dd>{}</dd>", escape(value)));
    }
    line(html, "</dl>");
}

fn server_rows(status: &Status) -> Rows {
    let Some(pds) = &status.pds else { return vec![("State", "does not answer".to_owned())] };
    let state = match (&pds.state, &pds.refuses_writes) {
        (PdsState::Starting, _) => "starting".to_owned(),
        (PdsState::Stopped { why }, _) => format!("stopped: {why}"),
        (PdsState::Serving, Some(why)) => format!("answers public reads only: {why}"),
        (PdsState::Serving, None) => "serving".to_owned(),
    };
    let now = status.time.as_ref().filter(|time| time.trusted).and_then(|time| time.unix_us);
    let last = match (pds.last_post_unix_us, now) {
        (None, _) => "none yet".to_owned(),
        (Some(then), Some(now)) => format!("{} ({})", age(then, now), minute(then)),
        (Some(then), None) => minute(then),
    };
    vec![
        ("State", state),
        ("Name", pds.name.clone()),
        ("Address for apps", status.system.pds_url.clone()),
        ("Accounts", count(pds.accounts, "account")),
        ("Mail", mail(&pds.mail)),
        ("Last post", last),
        ("Events so far", events(pds)),
        ("Relays", relays(pds)),
    ]
}

/// The newest number; not all numbers have an event when a disk was given up.
fn events(pds: &control::PdsStatus) -> String {
    match pds.left_out {
        None => pds.last_seq.to_string(),
        Some(left_out) => format!(
            "{}; {} numbers were left out, since the disk with later data was given up",
            pds.last_seq,
            left_out.to.saturating_sub(left_out.from)
        ),
    }
}

/// Each relay with how it stands; one without advice is in order, or not asked yet.
fn relays(pds: &control::PdsStatus) -> String {
    if pds.relays.is_empty() {
        return "none is asked: posts are read here only".to_owned();
    }
    let one = |relay: &RelayStatus| {
        let behind = match relay.behind {
            Some(0) => ", up to date".to_owned(),
            Some(behind) => format!(", {} behind", count(behind, "event")),
            None => String::new(),
        };
        let advice = relay.advice.as_ref().map(|advice| format!(": {advice}")).unwrap_or_default();
        format!("{}: {}{behind}{advice}", relay.name, relay.state.label())
    };
    pds.relays.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// How codes reach people.
fn mail(state: &MailState) -> String {
    match state {
        MailState::NotSetUp => {
            "no mail server is set: codes appear on the box's screen after its button is pressed".to_owned()
        }
        MailState::SetUp => "a mail server is set".to_owned(),
        MailState::Fails { why } => format!("is not sent: {why}"),
    }
}

fn minute(unix_us: u64) -> String {
    let text = format_rfc3339_millis(unix_us);
    format!("{} {} UTC", text.get(..10).unwrap_or_default(), text.get(11..16).unwrap_or_default())
}

fn time_rows(status: &Status) -> Rows {
    let Some(time) = &status.time else {
        return vec![("State", "the time guard does not answer".to_owned())];
    };
    let mut rows = vec![("Clock", clock(time)), ("State", state(time))];
    if let Some(why) = &time.why_untrusted {
        rows.push(("Why", why.clone()));
    }
    if let Some(told) = time.vote {
        rows.push(("Vote", vote(told)));
    }
    for source in &time.sources {
        let says = time_server(source);
        rows.push(("Time server", format!("{}: {says}", source.name)));
    }
    let chip = match time.rtc {
        RtcState::Running { offset_us: Some(offset) } => {
            format!("runs, {} apart", span(offset.unsigned_abs()))
        }
        RtcState::Running { offset_us: None } => "runs".to_owned(),
        RtcState::Absent => "there is none; each start needs the network".to_owned(),
        RtcState::Failing => "does not answer".to_owned(),
        RtcState::Stopped => "has stopped; replace its battery".to_owned(),
        RtcState::Implausible => "shows a time that cannot be".to_owned(),
        RtcState::Unproven => {
            "was read by this system before the box could; time servers must confirm it".to_owned()
        }
        _ => "unknown".to_owned(),
    };
    let learned = time.rtc_drift_ppb.map(|rate_ppb| format!("; {}", drift(rate_ppb))).unwrap_or_default();
    rows.push(("Clock chip", chip + &learned));
    match time.rtc_battery {
        Battery::Low => rows.push(("Its battery", "is nearly empty: replace it soon".to_owned())),
        Battery::Missing => rows.push(("Its battery", "there is none, or it is empty".to_owned())),
        Battery::Good => rows.push(("Its battery", "good".to_owned())),
        Battery::Unknown => {}
    }
    rows
}

fn clock(time: &TimeStatus) -> String {
    match (time.unix_us, time.trusted) {
        (Some(now), true) => minute(now),
        (Some(now), false) => format!("perhaps {}, not trusted", minute(now)),
        (None, _) => "not known".to_owned(),
    }
}

fn state(time: &TimeStatus) -> String {
    let state = match time.state {
        TimeState::Unknown => "no source of time yet",
        TimeState::Rtc => "taken from the clock chip",
        TimeState::Synced => "in step with a majority of the servers",
        TimeState::Holdover => "runs on its own, since the servers no longer agree",
        TimeState::Suspect => "clock chip and servers contradict each other",
    };
    match time.error_bound_us {
        Some(bound) => format!("{state}, wrong by at most {}", span(bound)),
        None => state.to_owned(),
    }
}

fn storage_rows(status: &Status) -> Rows {
    let Some(storage) = &status.storage else { return vec![("State", "not looked at yet".to_owned())] };
    let state = match storage.state {
        StorageState::Ok => "good",
        StorageState::Low => "little room left",
        StorageState::Full => "full: new posts are refused, reading works",
        StorageState::Pulled => "unplugged: plug this disk back in",
        StorageState::Failing => "returns errors: make a backup and replace it",
    };
    let wear = storage.wear_percent.map_or_else(
        || "the disk does not tell".to_owned(),
        |percent| format!("{percent} % of its rated life used"),
    );
    let mut rows = vec![
        ("Disk", format!("{} ({})", storage.disk, storage.kind.label())),
        ("State", state.to_owned()),
        ("Room", format!("{} of {} free", size(storage.free_bytes), size(storage.total_bytes))),
        ("Wear", wear),
    ];
    rows.extend(care_rows(&storage.care));
    rows
}

/// What is known about a disk beyond its room; what is not known has no row.
fn care_rows(care: &DiskCare) -> Rows {
    let mut rows = Vec::new();
    if let Some(per_day) = care.bytes_per_day {
        rows.push(("Written each day", size(per_day)));
    }
    let life = match care.life {
        LifeLeft::TooEarly => None,
        LifeLeft::NotTold => Some("not known: makers of such disks promise no number of writes".to_owned()),
        LifeLeft::Years { years, source } => {
            let more = if years == YEARS_MAX { " or more" } else { "" };
            let by = match source {
                EnduranceSource::DiskCounter => "by the disk's own counter",
                EnduranceSource::LeastPromised => {
                    "if it takes 200 full writes, the least that makers of SSDs promise"
                }
            };
            Some(format!("about {years} years{more}, {by}"))
        }
    };
    rows.extend(life.map(|life| ("Life left", life)));
    if let Some(speed) = care.speed {
        let verdict = match speed.verdict() {
            SpeedVerdict::Fine => "fine",
            SpeedVerdict::Slow => "slow",
            SpeedVerdict::Unfit => "too slow: use an SSD or a better card",
        };
        rows.push((
            "Speed",
            format!(
                "{} safe small writes a second, the slowest {} ms: {verdict}",
                speed.per_second(),
                speed.worst_us / 1_000
            ),
        ));
    }
    if care.trim != TrimState::Unknown {
        rows.push(("TRIM", care.trim.label().to_owned()));
    }
    if care.bridge != BridgeState::None {
        rows.push(("USB adapter", care.bridge.label().to_owned()));
    }
    let health = &care.health;
    if health.source != HealthSource::None {
        rows.push(("Health according to", health.source.label().to_owned()));
    }
    for (name, count) in [
        ("Sectors replaced", health.reallocated),
        ("Unreadable sectors", health.pending),
        ("Failed reads", health.uncorrectable),
        ("Damaged transfers (cable)", health.link_errors),
        ("Power cuts", health.unsafe_shutdowns),
    ] {
        rows.extend(count.filter(|count| *count > 0).map(|count| (name, count.to_string())));
    }
    rows.extend(
        health.temperature_c.map(|celsius| ("Disk temperature", format!("{celsius} degrees Celsius"))),
    );
    if care.io_errors > 0 {
        rows.push(("Errors since the start", care.io_errors.to_string()));
    }
    rows
}

fn box_rows(status: &Status) -> Rows {
    let system = &status.system;
    let mut rows = vec![("Version", system.version.clone())];
    if !system.addresses.is_empty() {
        rows.push(("Addresses", system.addresses.join(", ")));
    }
    rows.push(("Account directory", system.plc_url.clone()));
    rows.push(("Running for", span(system.uptime_s.saturating_mul(1_000_000))));
    if let Some(temperature) = system.temperature_mc {
        rows.push(("Temperature", format!("{} degrees Celsius", temperature / 1_000)));
    }
    if system.undervoltage == Some(true) {
        rows.push(("Power", "the voltage is too low".to_owned()));
    }
    rows
}
