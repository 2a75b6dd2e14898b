//! The pages: each a pure function from the status to a frame.
//!
//! Every page has a lit title bar, up to five lines, and on a simulated network a lit footer that says so, so that a
//! picture of the screen is never mistaken for a box on the real network.

use control::request::Deed;
use control::status::{
    PdsState, RelayState, RelayStatus, RtcState, SourceState, Status, TimeState, TimeStatus,
};
use platform::Battery;
use platform::screen::Frame;

use super::canvas::{Canvas, HEIGHT, Ink, Letters, WIDTH};
use super::qr::Code;
use super::trouble::{Trouble, troubles};
use super::words;
use crate::front::presence::DeedPage;

/// Where the lines of a page stand: below the title bar, nine pixels apart, above the footer.
const LINES_TOP: i32 = 11;
const LINE_PITCH: i32 = 9;
/// Where the small lines stand below one line of [`Letters::Large`].
const BELOW_LARGE: i32 = LINES_TOP + 15;
/// The columns and lines of [`Letters::Small`] that a page holds.
pub(super) const COLUMNS: usize = 25;
const LINES: usize = 5;
/// The height of the title bar and of the footer.
const TITLE_HEIGHT: u32 = 11;
const FOOTER_HEIGHT: u32 = 8;
/// What marks a network that exists on this computer only.
const SIMULATION: &str = "SIMULATION: not public";

/// A page with its title bar: `title` on the left, `corner` on the right.
fn start(status: &Status, title: &str, corner: &str) -> Canvas {
    let mut canvas = Canvas::default();
    canvas.fill(Ink::Lit, 0, 0, WIDTH.unsigned_abs(), TITLE_HEIGHT);
    let corner_width = i32::try_from(corner.chars().count()).unwrap_or(0) * Letters::Small.width();
    canvas.text_right(Letters::Small, Ink::Dark, WIDTH - 2, 1, corner);
    canvas.text(Letters::Medium, Ink::Dark, 2, 0, WIDTH - 2 - corner_width, title);
    if status.system.simulation {
        let top = HEIGHT - i32::try_from(FOOTER_HEIGHT).unwrap_or(0);
        canvas.fill(Ink::Lit, 0, top, WIDTH.unsigned_abs(), FOOTER_HEIGHT);
        canvas.text_middle(Letters::Small, Ink::Dark, 0, WIDTH, top, SIMULATION);
    }
    canvas
}

fn small(canvas: &mut Canvas, y: i32, text: &str) {
    canvas.text(Letters::Small, Ink::Lit, 1, y, WIDTH, text);
}

/// A line of a page without large letters, counted from 0.
fn line(canvas: &mut Canvas, number: i32, text: &str) {
    small(canvas, LINES_TOP + number * LINE_PITCH, text);
}

/// Draws one trouble: its title, then what to do.
pub(crate) fn trouble(status: &Status, trouble: &Trouble, corner: &str) -> Frame {
    let mut canvas = start(status, trouble.title, corner);
    for (number, text) in (0..).zip(words::wrap(&trouble.advice, COLUMNS, LINES)) {
        line(&mut canvas, number, &text);
    }
    canvas.into_frame()
}

/// Draws the page that a new owner needs: where to look with a browser, as a QR code for phones where they can reach it.
pub(crate) fn set_up(status: &Status) -> Frame {
    if !status.system.simulation
        && let Some(code) = Code::of(&status.system.panel_url)
    {
        return set_up_with_code(status, &code);
    }
    let mut canvas = start(status, "Set up", &status.system.version);
    line(&mut canvas, 0, "Open in a browser:");
    line(&mut canvas, 1, bare(&status.system.panel_url));
    line(&mut canvas, 2, "Address for apps:");
    for (number, text) in (3..).zip(words::wrap(bare(&status.system.pds_url), COLUMNS, 2)) {
        line(&mut canvas, number, &text);
    }
    canvas.into_frame()
}

fn set_up_with_code(status: &Status, code: &Code) -> Frame {
    /// The columns of [`Letters::Small`] beside the code.
    const COLUMNS_BESIDE: usize = 12;
    let mut canvas = Canvas::default();
    canvas.fill(Ink::Lit, 0, 0, (WIDTH - HEIGHT - 2).unsigned_abs(), TITLE_HEIGHT);
    canvas.text(Letters::Medium, Ink::Dark, 2, 0, WIDTH - HEIGHT - 2, "Set up");
    let mut lines = vec!["Scan, or".to_owned(), "open:".to_owned()];
    lines.extend(words::wrap(bare(&status.system.panel_url), COLUMNS_BESIDE, LINES - lines.len()));
    for (number, text) in (0..).zip(lines) {
        line(&mut canvas, number, &text);
    }
    code.draw(&mut canvas, WIDTH - HEIGHT, HEIGHT);
    canvas.into_frame()
}

/// Asks for a press of the button that shows a one-time code.
pub(crate) fn code_question(status: &Status, purpose: &str, account: &str) -> Frame {
    let mut canvas = start(status, "Show a code?", "");
    let text = format!("For {account}: press the button to see the code to {purpose}.");
    for (number, text) in (0..).zip(words::wrap(&text, COLUMNS, LINES)) {
        line(&mut canvas, number, &text);
    }
    canvas.into_frame()
}

/// Shows a one-time code.
pub(crate) fn code(status: &Status, purpose: &str, account: &str, code: &str, left_s: u64) -> Frame {
    /// The lines of [`Letters::Small`] below the code.
    const LINES_BELOW: usize = 3;
    let mut canvas = start(status, "Your code", &format!("{left_s} s"));
    canvas.text_middle(Letters::Large, Ink::Lit, 0, WIDTH, LINES_TOP, code);
    let text = format!("To {purpose} of {account}");
    for (number, text) in (0..).zip(words::wrap(&text, COLUMNS, LINES_BELOW)) {
        small(&mut canvas, BELOW_LARGE + number * LINE_PITCH, &text);
    }
    canvas.into_frame()
}

/// Says that a one-time code is on the box's own screen.
pub(crate) fn code_elsewhere(status: &Status) -> Frame {
    let mut canvas = start(status, "A code is shown", "");
    let text = "It is on the screen of the box itself, and only there.";
    for (number, text) in (0..).zip(words::wrap(text, COLUMNS, LINES)) {
        line(&mut canvas, number, &text);
    }
    canvas.into_frame()
}

/// Says how to restart the box and how to switch it off.
pub(crate) fn power(status: &Status) -> Frame {
    let mut canvas = start(status, "Power", "");
    line(&mut canvas, 0, "Hold 1 s, let go: restart");
    line(&mut canvas, 1, "Hold 5 s: switch off");
    line(&mut canvas, 3, "Pull no plug before the");
    line(&mut canvas, 4, "screen is dark.");
    canvas.into_frame()
}

/// Says how to erase everything.
pub(crate) fn reset(status: &Status) -> Frame {
    let mut canvas = start(status, "Erase everything", "");
    line(&mut canvas, 0, "Hold 10 s: all accounts,");
    line(&mut canvas, 1, "posts and keys here");
    line(&mut canvas, 2, "are erased for good.");
    line(&mut canvas, 4, "Short press: leave");
    canvas.into_frame()
}

/// Counts down to what holding the button on will do.
pub(crate) fn hold(status: &Status, does: &Deed, left_s: u64) -> Frame {
    let title = match does {
        Deed::FactoryReset => "ERASING ALL",
        Deed::Restart => "Restart",
        Deed::PowerOff => "Switching off",
    };
    let mut canvas = start(status, title, "");
    if left_s == 0 {
        canvas.text_middle(Letters::Large, Ink::Lit, 0, WIDTH, BELOW_LARGE, "Let go");
        return canvas.into_frame();
    }
    canvas.text_middle(Letters::Large, Ink::Lit, 0, WIDTH, LINES_TOP, &format!("in {left_s} s"));
    let text = match does {
        Deed::FactoryReset => "Let go now, and nothing is erased.",
        Deed::Restart | Deed::PowerOff => {
            "Let go now, and the box stays on. Letting go says yes to a question."
        }
    };
    for (number, text) in (0..).zip(words::wrap(text, COLUMNS, LINES)) {
        small(&mut canvas, BELOW_LARGE + number * LINE_PITCH, &text);
    }
    canvas.into_frame()
}

/// Names a deed that waits for its owner, with its code.
pub(crate) fn deed(status: &Status, page: &DeedPage) -> Frame {
    let mut canvas = start(status, "Are you there?", &format!("{} s", page.left_s));
    line(&mut canvas, 0, "The box is asked to");
    line(&mut canvas, 1, page.deed.words());
    canvas.text_middle(Letters::Large, Ink::Lit, 0, WIDTH, LINES_TOP + 2 * LINE_PITCH, &page.code);
    let how = if page.button { "Hold 1 s: yes. Press: no" } else { "Give this code, or wait." };
    small(&mut canvas, LINES_TOP + 2 * LINE_PITCH + 15, how);
    canvas.into_frame()
}

/// An address without its scheme: what a person types.
fn bare(url: &str) -> &str {
    url.strip_prefix("http://").or_else(|| url.strip_prefix("https://")).unwrap_or(url).trim_end_matches('/')
}

/// Draws who this box is and whether all is well.
pub(crate) fn home(status: &Status) -> Frame {
    let pds = status.pds.clone().unwrap_or_default();
    let mut canvas = start(status, "Perch", &clock(status));
    let name = if pds.name.is_empty() { &status.system.hostname } else { &pds.name };
    let letters = [Letters::Large, Letters::Bold].into_iter().find(|letters| letters.holds(name));
    canvas.text(letters.unwrap_or(Letters::Bold), Ink::Lit, 1, LINES_TOP, WIDTH, name);
    let found = troubles(status);
    let health = match (found.first(), &pds.state) {
        (Some(worst), _) => worst.title,
        (None, PdsState::Starting) => "Starting",
        (None, PdsState::Serving | PdsState::Stopped { .. }) => "All is well",
    };
    small(&mut canvas, BELOW_LARGE, health);
    small(&mut canvas, BELOW_LARGE + LINE_PITCH, &capital(&words::count(pds.accounts, "account")));
    small(&mut canvas, BELOW_LARGE + 2 * LINE_PITCH, &last_post(pds.last_post_unix_us, status));
    canvas.into_frame()
}

/// UTC, while it is trusted, as `2026-11-23T02:34:56.789Z`.
fn trusted_text(status: &Status) -> Option<String> {
    let time = status.time.as_ref().filter(|time| time.trusted)?;
    time.unix_us.map(platform::time::format_rfc3339_millis)
}

/// The time of day for the corner, while it is trusted.
fn clock(status: &Status) -> String {
    let text = trusted_text(status).unwrap_or_default();
    text.get(11..16).map(|minutes| format!("{minutes} UTC")).unwrap_or_default()
}

fn last_post(then: Option<u64>, status: &Status) -> String {
    let now = status.time.as_ref().filter(|time| time.trusted).and_then(|time| time.unix_us);
    match (then, now) {
        (None, _) => "No post yet".to_owned(),
        (Some(then), Some(now)) => format!("Last post {}", words::age(then, now)),
        (Some(then), None) => {
            let text = platform::time::format_rfc3339_millis(then);
            format!("Last post {}", text.get(..10).unwrap_or_default())
        }
    }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_ascii_uppercase().to_string() + letters.as_str()).unwrap_or_default()
}

/// Draws whether the network is up, and how the relays stand: one in full, several by their number and the worst.
pub(crate) fn network(status: &Status) -> Frame {
    let mut canvas = start(status, "Network", if status.system.network_up { "up" } else { "DOWN" });
    line(&mut canvas, 0, bare(&status.system.pds_url));
    let relays = status.pds.as_ref().map(|pds| pds.relays.as_slice()).unwrap_or_default();
    let Some(shown) =
        relays.iter().max_by_key(|relay| (relay.advice.is_some(), relay.state != RelayState::Active))
    else {
        line(&mut canvas, 2, "No relay is asked: posts");
        line(&mut canvas, 3, "are read here only.");
        return canvas.into_frame();
    };
    let active = relays.iter().filter(|relay| relay.state == RelayState::Active).count();
    let heading = match relays.len() {
        1 => "Relay:".to_owned(),
        all => format!("{active} of {all} relays active"),
    };
    line(&mut canvas, 1, &heading);
    line(&mut canvas, 2, &shown.name);
    line(&mut canvas, 3, &standing(shown));
    let now = status.time.as_ref().filter(|time| time.trusted).and_then(|time| time.unix_us);
    let asked = match (shown.asked_unix_us, now) {
        (Some(then), Some(now)) => format!("Asked {}", words::age(then, now)),
        (Some(_), None) => String::new(),
        (None, _) => "Not asked yet".to_owned(),
    };
    line(&mut canvas, 4, &asked);
    canvas.into_frame()
}

fn standing(relay: &RelayStatus) -> String {
    match (relay.state, relay.behind) {
        (RelayState::Active, Some(0)) => "active, up to date".to_owned(),
        (RelayState::Active, Some(behind)) => format!("active, {} behind", words::count(behind, "event")),
        (state, _) => state.label().to_owned(),
    }
}

/// Draws the clock, how far it may be off, and who vouches for it.
pub(crate) fn time(status: &Status) -> Frame {
    let time = status.time.clone().unwrap_or_default();
    let mut canvas = start(status, "Time", &clock(status));
    let text = trusted_text(status);
    let headline = text.as_deref().and_then(|text| text.get(..10)).unwrap_or("Not trusted");
    canvas.text(Letters::Large, Ink::Lit, 1, LINES_TOP, WIDTH, headline);
    small(&mut canvas, BELOW_LARGE, &exactness(&time));
    let agree = time.sources.iter().filter(|source| source.answers == SourceState::Agrees).count();
    let servers = format!("{agree} of {} servers agree", time.sources.len());
    small(&mut canvas, BELOW_LARGE + LINE_PITCH, &servers);
    let chip = match time.rtc {
        RtcState::Running { .. } if time.rtc_battery == Battery::Low => "Chip battery is low",
        RtcState::Running { .. } if time.rtc_battery == Battery::Missing => "Chip has no battery",
        RtcState::Running { .. } => "Clock chip runs",
        RtcState::Absent => "No clock chip",
        RtcState::Failing => "Clock chip fails",
        RtcState::Stopped => "Clock chip stopped",
        RtcState::Implausible => "Clock chip is wrong",
        RtcState::Unproven => "Clock chip unproven",
        _ => "Clock chip unknown",
    };
    small(&mut canvas, BELOW_LARGE + 2 * LINE_PITCH, chip);
    canvas.into_frame()
}

fn exactness(time: &TimeStatus) -> String {
    let state = match time.state {
        TimeState::Unknown => return "No source of time yet".to_owned(),
        TimeState::Rtc => "From the chip",
        TimeState::Synced => "In step",
        TimeState::Holdover => "On its own",
        TimeState::Suspect => return "The sources disagree".to_owned(),
    };
    match time.error_bound_us {
        Some(bound) => format!("{state}, within {}", words::span(bound)),
        None => state.to_owned(),
    }
}

/// Draws the data disk: what it is, how full, how worn.
pub(crate) fn storage(status: &Status) -> Frame {
    /// The outline of the gauge, and the bar inside it with a pixel of air all round.
    const GAUGE_WIDTH: u32 = 126;
    const BAR_WIDTH: u32 = GAUGE_WIDTH - 4;
    let kind = status.storage.as_ref().map_or("", |storage| storage.kind.label());
    let mut canvas = start(status, "Storage", kind);
    let Some(storage) = &status.storage else {
        line(&mut canvas, 0, "Not looked at yet");
        return canvas.into_frame();
    };
    if !storage.present {
        line(&mut canvas, 0, "Not plugged in:");
        for (number, text) in (1..).zip(words::wrap(&storage.disk, COLUMNS, LINES - 1)) {
            line(&mut canvas, number, &text);
        }
        return canvas.into_frame();
    }
    line(&mut canvas, 0, &storage.disk);
    let used = storage.total_bytes.saturating_sub(storage.free_bytes);
    let filled =
        (u128::from(used) * u128::from(BAR_WIDTH)).checked_div(u128::from(storage.total_bytes)).unwrap_or(0);
    let filled = u32::try_from(filled).unwrap_or(BAR_WIDTH).min(BAR_WIDTH);
    canvas.outline(1, LINES_TOP + 12, GAUGE_WIDTH, 11);
    canvas.fill(Ink::Lit, 3, LINES_TOP + 14, filled, 7);
    let free = format!("{} of {} free", words::size(storage.free_bytes), words::size(storage.total_bytes));
    line(&mut canvas, 3, &free);
    let wear = words::wear(storage.wear_percent, storage.care.life);
    line(&mut canvas, 4, &wear);
    canvas.into_frame()
}
