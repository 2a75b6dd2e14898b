//! Golden pictures of every page: `golden/NAME.txt`, 64 lines of 128 `#` or `.`, compared exactly.
//!
//! To accept new pictures run the tests with `PERCH_GOLDEN=write` and look at every changed file.

use std::path::PathBuf;

use control::status::{
    BridgeState, ChildState, ChildStatus, DiskCare, MailState, PdsState, RelayState, RelayStatus, RtcState,
    SourceState, SourceStatus, StorageState, TimeState,
};
use control::{PdsStatus, StorageStatus, SystemStatus, TimeStatus};
use platform::disk::endurance::{EnduranceSource, LifeLeft};
use platform::disk::health::Health;
use platform::disk::speed::WriteSpeed;
use platform::{Battery, DiskKind};

use super::*;

/// 2026-11-23T02:34:56.789Z.
const NOW_US: u64 = 1_795_401_296_789_000;

/// A box with one account on which all is well.
fn well() -> Status {
    let source = |name: &str| SourceStatus {
        name: name.to_owned(),
        operator: name.to_owned(),
        answers: SourceState::Agrees,
        offset_us: Some(1_200),
        error_us: Some(9_000),
    };
    Status {
        pds: Some(PdsStatus {
            state: PdsState::Serving,
            name: "alice.example".to_owned(),
            public_url: "https://perch.example".to_owned(),
            accounts: 1,
            last_post_unix_us: Some(NOW_US - 185_000_000),
            relays: vec![relay("bsky.network", RelayState::Active)],
            ..PdsStatus::default()
        }),
        time: Some(TimeStatus {
            state: TimeState::Synced,
            trusted: true,
            unix_us: Some(NOW_US),
            error_bound_us: Some(12_000),
            sources: ["time.one.example", "time.two.example", "three.example", "four.example"]
                .map(source)
                .into(),
            rtc: RtcState::Running { offset_us: Some(-300) },
            ..TimeStatus::default()
        }),
        storage: Some(StorageStatus {
            disk: "Samsung T7".to_owned(),
            kind: DiskKind::UsbSsd,
            present: true,
            state: StorageState::Ok,
            free_bytes: 812_400_000_000,
            total_bytes: 983_000_000_000,
            wear_percent: Some(3),
            care: DiskCare::default(),
        }),
        placement: None,
        system: SystemStatus {
            hostname: "perch".to_owned(),
            version: "0.1.0".to_owned(),
            addresses: vec!["192.168.1.20".to_owned()],
            pds_url: "https://perch.example".to_owned(),
            panel_url: "http://192.168.1.20:8080".to_owned(),
            network_up: true,
            ..SystemStatus::default()
        },
    }
}

fn relay(name: &str, state: RelayState) -> RelayStatus {
    RelayStatus {
        name: name.to_owned(),
        state,
        seq: Some(4_711),
        behind: Some(0),
        asked_unix_us: Some(NOW_US - 600_000_000),
        advice: None,
    }
}

fn simulated() -> Status {
    let mut status = well();
    status.system.simulation = true;
    status.system.pds_url = "http://localhost:2583".to_owned();
    status.system.panel_url = "http://localhost:8080".to_owned();
    pds(&mut status).name = "alice.test".to_owned();
    pds(&mut status).relays.clear();
    status
}

fn pds(status: &mut Status) -> &mut PdsStatus {
    status.pds.as_mut().unwrap()
}

fn clock(status: &mut Status) -> &mut TimeStatus {
    status.time.as_mut().unwrap()
}

fn disk(status: &mut Status) -> &mut StorageStatus {
    status.storage.as_mut().unwrap()
}

fn all_servers(status: &mut Status, answers: SourceState) {
    for source in &mut clock(status).sources {
        source.answers = answers;
    }
}

fn compare(name: &str, page: Page, status: &Status) {
    compare_frame(name, &draw(page, status));
}

fn compare_frame(name: &str, frame: &platform::Frame) {
    let path =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/screen/golden").join(format!("{name}.txt"));
    let drawn = frame.to_text();
    if std::env::var("PERCH_GOLDEN").is_ok_and(|value| value == "write") {
        std::fs::write(&path, &drawn).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    for (number, (old, new)) in (1..).zip(golden.lines().zip(drawn.lines())) {
        assert_eq!(old, new, "{name}: line {number} differs from {}", path.display());
    }
    assert_eq!(golden.len(), drawn.len(), "{} is missing or cut", path.display());
}

#[test]
fn pages_of_a_box_on_which_all_is_well() {
    for (name, page) in [
        ("set-up", Page::SetUp),
        ("home", Page::Home),
        ("network", Page::Network),
        ("time", Page::Time),
        ("storage", Page::Storage),
        ("power", Page::Power),
        ("reset", Page::Reset),
    ] {
        compare(name, page, &well());
        compare(&format!("{name}-simulation"), page, &simulated());
    }
}

#[test]
fn relays_show_the_worst_and_what_to_do() {
    let mut status = well();
    pds(&mut status).relays[0].behind = Some(1_240);
    compare("network-behind", Page::Network, &status);
    let mut deaf = relay("relay1.us-east.example.network", RelayState::Offline);
    deaf.advice = Some(
        "It cannot reach this box. Check the address, the router's port and the certificate.".to_owned(),
    );
    pds(&mut status).relays.push(deaf);
    compare("network-trouble", Page::Network, &status);
    compare("trouble-relay", Page::Trouble(0), &status);
    status.system.network_up = false;
    compare("network-down", Page::Network, &status);
    compare("trouble-network", Page::Trouble(0), &status);
}

#[test]
fn home_of_a_new_box() {
    let mut status = simulated();
    *pds(&mut status) =
        PdsStatus { state: PdsState::Serving, name: "localhost".to_owned(), ..PdsStatus::default() };
    compare("home-new", Page::Home, &status);
}

#[test]
fn long_names_end_in_an_ellipsis() {
    let mut status = well();
    pds(&mut status).name = "a-rather-long-handle.of-somebody.example.com".to_owned();
    pds(&mut status).accounts = 12;
    compare("home-long-name", Page::Home, &status);
    disk(&mut status).disk = "Western Digital My Passport Ultra 25E2".to_owned();
    disk(&mut status).wear_percent = None;
    compare("storage-long-name", Page::Storage, &status);
    status.system.simulation = true;
    status.system.pds_url = "https://a-rather-long-name.of-somebody.example.com".to_owned();
    compare("set-up-long-name", Page::SetUp, &status);
}

#[test]
fn clock_troubles_say_what_to_do() {
    let mut unknown = simulated();
    clock(&mut unknown).trusted = false;
    clock(&mut unknown).state = TimeState::Unknown;
    clock(&mut unknown).error_bound_us = None;
    all_servers(&mut unknown, SourceState::Unasked);
    compare("trouble-clock", Page::Trouble(0), &unknown);
    compare("time-untrusted", Page::Time, &unknown);
    compare("home-trouble", Page::Home, &unknown);
    all_servers(&mut unknown, SourceState::Silent);
    compare("trouble-clock-and-no-server", Page::Trouble(0), &unknown);

    let mut silent = well();
    clock(&mut silent).state = TimeState::Holdover;
    all_servers(&mut silent, SourceState::Silent);
    compare("trouble-no-server", Page::Trouble(0), &silent);

    let mut weak = well();
    clock(&mut weak).rtc_battery = Battery::Low;
    compare("time-battery-low", Page::Time, &weak);
    compare("trouble-clock-battery", Page::Trouble(0), &weak);

    let mut liar = simulated();
    clock(&mut liar).sources[0].answers = SourceState::Disagrees;
    compare("trouble-liar", Page::Trouble(0), &liar);

    let mut date = well();
    clock(&mut date).trusted = false;
    clock(&mut date).asks_owner_us = Some(NOW_US);
    compare("trouble-date", Page::Trouble(0), &date);
}

#[test]
fn disk_and_service_troubles_say_what_to_do() {
    let mut pulled = simulated();
    disk(&mut pulled).state = StorageState::Pulled;
    disk(&mut pulled).present = false;
    disk(&mut pulled).disk = "Samsung T7, 1.0 TB".to_owned();
    pds(&mut pulled).state = PdsState::Stopped { why: "Its disk is gone.".to_owned() };
    compare("trouble-disk-missing", Page::Trouble(0), &pulled);
    compare("storage-missing", Page::Storage, &pulled);

    let mut full = simulated();
    disk(&mut full).state = StorageState::Full;
    disk(&mut full).free_bytes = 12_400_000;
    clock(&mut full).rtc = RtcState::Stopped;
    compare("trouble-disk-full", Page::Trouble(0), &full);
    compare("trouble-clock-chip", Page::Trouble(1), &full);
    compare("storage-full", Page::Storage, &full);

    let mut stopped = well();
    pds(&mut stopped).state =
        PdsState::Stopped { why: "It ended by itself and is started again.".to_owned() };
    compare("trouble-pds-stopped", Page::Trouble(0), &stopped);
}

#[test]
fn what_a_disk_says_about_itself_is_shown_and_worried_about() {
    let mut status = well();
    disk(&mut status).care.life = LifeLeft::Years { years: 20, source: EnduranceSource::DiskCounter };
    compare("storage-life", Page::Storage, &status);
    disk(&mut status).wear_percent = None;
    disk(&mut status).care.life = LifeLeft::Years { years: 7, source: EnduranceSource::LeastPromised };
    compare("storage-life-promised", Page::Storage, &status);

    let mut failing = well();
    let alarms = vec!["it takes no more writes".to_owned()];
    disk(&mut failing).care.health = Health { alarms, ..Health::default() };
    compare("trouble-disk-health", Page::Trouble(0), &failing);
    let mut bridge = well();
    disk(&mut bridge).care.bridge = BridgeState::Failing;
    compare("trouble-usb-adapter", Page::Trouble(0), &bridge);
    let mut slow = well();
    disk(&mut slow).care.speed = Some(WriteSpeed { writes: 60, median_us: 160_000, worst_us: 900_000 });
    compare("trouble-disk-slow", Page::Trouble(0), &slow);
}

#[test]
fn warmth_and_weak_power_say_what_to_do() {
    let mut status = well();
    status.system.slowed_by_heat = Some(true);
    compare("trouble-warm", Page::Trouble(0), &status);
    status.system.slowed_by_heat = None;
    status.system.was_undervoltage = Some(true);
    compare("trouble-power-was-weak", Page::Trouble(0), &status);
    status.system.undervoltage = Some(true);
    let kinds: Vec<_> = troubles(&status).iter().map(|trouble| trouble.kind).collect();
    assert_eq!(kinds, [Kind::PowerWeak], "once is enough");
}

#[test]
fn a_well_box_has_no_trouble() {
    assert_eq!(troubles(&well()), []);
}

#[test]
fn the_worst_trouble_comes_first_and_consequences_are_not_repeated() {
    let mut status = well();
    clock(&mut status).trusted = false;
    disk(&mut status).state = StorageState::Pulled;
    pds(&mut status).state = PdsState::Stopped { why: "Its disk is gone.".to_owned() };
    let kinds = |status: &Status| troubles(status).iter().map(|trouble| trouble.kind).collect::<Vec<_>>();
    assert_eq!(kinds(&status), [Kind::DiskMissing, Kind::ClockUntrusted]);
    disk(&mut status).state = StorageState::Ok;
    assert_eq!(kinds(&status), [Kind::PdsStopped, Kind::ClockUntrusted]);
    pds(&mut status).state = PdsState::Serving;
    pds(&mut status).refuses_writes = Some("The clock is not trusted.".to_owned());
    assert_eq!(kinds(&status), [Kind::ClockUntrusted]);
}

#[test]
fn silent_processes_are_trouble() {
    let kinds: Vec<Kind> = troubles(&Status::default()).iter().map(|trouble| trouble.kind).collect();
    assert_eq!(kinds, [Kind::PdsStopped, Kind::ClockUntrusted, Kind::NetworkDown]);
}

#[test]
fn a_code_waits_for_the_button_and_is_shown_large() {
    let ask = |account: &str, purpose| CodePage::Ask { purpose, account: account.to_owned() };
    let show = |account: &str, purpose| CodePage::Show {
        purpose,
        account: account.to_owned(),
        code: platform::ShownCode::new("ABCDE-FG234".to_owned()),
        left_s: 120,
    };
    let long = "a-handle-of-18-cha.example.com";
    for (name, page) in [
        ("code-question", ask("alice.test", "confirm the e-mail address")),
        ("code-question-long", ask(long, "change keys or home of the account")),
        ("code", show("alice.test", "confirm the e-mail address")),
        ("code-long", show(long, "change keys or home of the account")),
        ("code-elsewhere", CodePage::Elsewhere),
    ] {
        compare_frame(name, &draw_code(&page, &well()));
        compare_frame(&format!("{name}-simulation"), &draw_code(&page, &simulated()));
    }
}

#[test]
fn a_hold_counts_down_and_a_deed_waits_for_its_owner() {
    let page = |button| crate::front::presence::DeedPage {
        deed: Deed::FactoryReset,
        code: "123456".to_owned(),
        button,
        left_s: 120,
    };
    compare_frame("hold-off", &draw_hold(&Hold { does: Deed::PowerOff, left_s: 4 }, &well()));
    compare_frame("hold-reset", &draw_hold(&Hold { does: Deed::FactoryReset, left_s: 9 }, &well()));
    compare_frame("hold-over", &draw_hold(&Hold { does: Deed::PowerOff, left_s: 0 }, &well()));
    compare_frame("deed", &draw_deed(&page(true), &well()));
    compare_frame("deed-no-button", &draw_deed(&page(false), &well()));
}

#[test]
fn the_supervisors_troubles_say_what_to_do() {
    let mut status = well();
    status.system.safe_mode = Some("The button was held at the start.".to_owned());
    compare("trouble-safe-mode", Page::Trouble(0), &status);
    status.system.safe_mode = None;
    status.system.children = vec![ChildStatus {
        name: "panel".to_owned(),
        state: ChildState::Failing,
        why: Some("ended with code 1: port 80 is taken".to_owned()),
        ..ChildStatus::default()
    }];
    compare("trouble-program", Page::Trouble(0), &status);
}

#[test]
fn mail_that_fails_is_trouble() {
    let mut status = simulated();
    pds(&mut status).mail = MailState::Fails { why: "The mail server does not answer.".to_owned() };
    compare("trouble-mail", Page::Trouble(0), &status);
}

/// Every text that this module itself writes must be readable in full on the screen.
#[test]
fn every_advice_of_our_own_fits_the_screen() {
    let mut status = simulated();
    status.system.undervoltage = Some(true);
    status.system.network_up = false;
    pds(&mut status).repos_to_repair = 12;
    pds(&mut status).mail = MailState::Fails { why: String::new() };
    clock(&mut status).rtc = RtcState::Stopped;
    clock(&mut status).rtc_battery = Battery::Low;
    clock(&mut status).sources[0].answers = SourceState::Disagrees;
    status.system.slowed_by_heat = Some(true);
    let mut all = troubles(&Status::default());
    all.extend(troubles(&status));
    status.system.undervoltage = None;
    status.system.was_undervoltage = Some(true);
    disk(&mut status).care.bridge = BridgeState::Failing;
    disk(&mut status).care.speed = Some(WriteSpeed { writes: 9, median_us: 900_000, worst_us: 900_000 });
    disk(&mut status).care.health.pending = Some(1);
    all.extend(troubles(&status));
    clock(&mut status).rtc = RtcState::Failing;
    for state in [StorageState::Full, StorageState::Low, StorageState::Failing, StorageState::Pulled] {
        disk(&mut status).state = state;
        all.extend(troubles(&status));
    }
    for answers in [SourceState::Unasked, SourceState::Silent] {
        for (state, trusted) in
            [(TimeState::Unknown, false), (TimeState::Suspect, false), (TimeState::Holdover, true)]
        {
            clock(&mut status).state = state;
            clock(&mut status).trusted = trusted;
            all_servers(&mut status, answers);
            all.extend(troubles(&status));
        }
    }
    for trouble in all {
        assert!(trouble.title.len() <= TITLE_COLUMNS, "{trouble:?}");
        let lines = words::wrap(&trouble.advice, 25, 5);
        assert!(!lines.concat().contains(words::ELLIPSIS), "{lines:#?}");
    }
}

#[test]
fn where_the_data_is_and_what_is_asked_about_it() {
    use control::placement::{Placement, PlacementQuestion, PlacementStatus};
    let mut status = well();
    let missing = Placement::Held {
        title: "DISK IS MISSING".to_owned(),
        why: "Plug this disk back in: Samsung T7, 1000 GB. All posts are on it; nothing takes its place."
            .to_owned(),
    };
    status.placement = Some(PlacementStatus { data: missing, ..PlacementStatus::default() });
    compare("disk-held", Page::Trouble(0), &status);
    let data = Placement::Moving { to: "Samsung T7, 1000 GB".to_owned(), percent: 42 };
    status.placement = Some(PlacementStatus { data, ..PlacementStatus::default() });
    compare("disk-moving", Page::Trouble(0), &status);
    let question = PlacementQuestion {
        id: 1,
        title: "ERASE IT ALL?".to_owned(),
        text: "Samsung T7, 1000 GB: ntfs \"Photos\". Hold again and ALL of it is erased.".to_owned(),
    };
    status.placement = Some(PlacementStatus { question: Some(question), ..PlacementStatus::default() });
    compare("disk-question", Page::Trouble(0), &status);
}
