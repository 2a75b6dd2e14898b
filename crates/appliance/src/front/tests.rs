//! The hand, the pages and the deeds together; and the thread with simulated hardware.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use control::request::{Deed, Proof};
use control::{Status, TimeStatus};
use platform::sim::{SimButton, SimFront, SimScreen};
use platform::{CodeOffer, CodeScreen, Frame, Screen, ShownCode};

use super::gesture::Gestures;
use super::policy::*;
use super::presence::*;
use super::*;
use crate::screen::{CodeDesk, CodePage, Page, draw, draw_code};

/// No wait of a test is longer.
const PATIENCE: Duration = Duration::from_secs(30);

const BOTH: Means = Means { screen: true, button: true, secret: None };

/// A front with its desks.
struct Box_ {
    front: Front,
    codes: CodeDesk,
    presence: Presence,
    status: Status,
    now_ms: u64,
}

impl Box_ {
    fn new(means: Means) -> Self {
        Self {
            front: Front::new(0, None, true),
            codes: CodeDesk::default(),
            presence: Presence::new(means),
            status: Status::default(),
            now_ms: 0,
        }
    }

    fn hand(&mut self, hand: Hand) -> Step {
        self.now_ms += 100;
        self.front.step(hand, self.now_ms, &self.status, &mut self.codes, &mut self.presence)
    }

    /// Holds the button for so many whole seconds and lets go.
    fn hold(&mut self, seconds: u64) -> Vec<Wish> {
        let mut wishes = Vec::new();
        for held_ms in (1_000..=seconds * 1_000).step_by(250) {
            wishes.extend(self.hand(Hand::Holding(held_ms)).wishes);
        }
        wishes.extend(self.hand(Hand::Released(seconds * 1_000)).wishes);
        wishes
    }

    fn turn_to(&mut self, page: Page) {
        let wanted = draw(page, &self.status);
        for _ in 0..20 {
            if self.hand(Hand::Nothing).frame == wanted {
                return;
            }
            self.hand(Hand::Short);
        }
        panic!("{page:?} is never shown");
    }
}

fn edges(gestures: &mut Gestures, changes: &[(bool, u64)]) -> Vec<Hand> {
    changes.iter().map(|(down, at_ms)| gestures.edge(*down, *at_ms)).filter(|h| *h != Hand::Nothing).collect()
}

#[test]
fn edges_become_presses_and_holds_and_bounce_becomes_nothing() {
    let mut gestures = Gestures::default();
    assert_eq!(edges(&mut gestures, &[(true, 0), (false, 150)]), [Hand::Short]);
    assert_eq!(edges(&mut gestures, &[(true, 1_000), (false, 3_500)]), [Hand::Released(2_500)]);
    assert_eq!(
        edges(&mut gestures, &[(true, 5_000), (false, 5_005), (true, 5_008), (false, 5_200)]),
        [Hand::Short]
    );
    gestures.edge(true, 10_000);
    assert_eq!(gestures.now(10_999), Hand::Nothing);
    assert_eq!(gestures.now(14_000), Hand::Holding(4_000));
}

#[test]
fn a_button_held_since_before_the_start_means_nothing_but_safe_mode() {
    let mut gestures = Gestures::new(true);
    assert_eq!(gestures.now(20_000), Hand::Nothing, "it must not switch the box off again");
    assert_eq!(gestures.edge(false, 21_000), Hand::Nothing);
    assert_eq!(edges(&mut gestures, &[(true, 22_000), (false, 22_100)]), [Hand::Short]);
}

#[test]
fn holding_for_five_seconds_switches_off_once_and_less_does_not() {
    let mut all = Box_::new(BOTH);
    assert_eq!(all.hold(4), []);
    assert_eq!(all.hold(8), [Wish::Do(Deed::PowerOff)]);
}

#[test]
fn the_power_page_restarts_by_a_hold_that_ends_early() {
    let mut all = Box_::new(BOTH);
    all.turn_to(Page::Power);
    assert_eq!(all.hold(2), [Wish::Do(Deed::Restart)]);
    all.turn_to(Page::Power);
    assert_eq!(all.hold(5), [Wish::Do(Deed::PowerOff)]);
}

#[test]
fn everything_is_erased_by_ten_seconds_on_its_own_page_only() {
    let mut all = Box_::new(BOTH);
    all.turn_to(Page::Reset);
    assert_eq!(all.hold(9), []);
    all.turn_to(Page::Reset);
    assert_eq!(all.hold(12), [Wish::Do(Deed::FactoryReset)]);
    for page in [Page::Home, Page::Time, Page::Power] {
        all.turn_to(page);
        assert!(!all.hold(12).contains(&Wish::Do(Deed::FactoryReset)), "{page:?}");
    }
}

#[test]
fn a_hold_says_yes_to_the_date_that_the_screen_asks_about() {
    let mut all = Box_::new(BOTH);
    all.status.time = Some(TimeStatus { asks_owner_us: Some(7), ..TimeStatus::default() });
    all.hand(Hand::Nothing);
    assert_eq!(all.hold(2), [Wish::AcceptTime(7)]);
}

#[test]
fn a_deed_is_done_by_the_button_only_while_the_screen_names_it() {
    let mut all = Box_::new(BOTH);
    let ways = all.presence.ask(Deed::FactoryReset, "123456".to_owned(), all.now_ms).unwrap();
    assert_eq!(ways, [Proof::Button, Proof::Code]);
    let step = all.hand(Hand::Nothing);
    assert_ne!(step.frame, step.picture, "the code is on the box's own screen and nowhere else");
    assert_eq!(all.hold(2), [Wish::Do(Deed::FactoryReset)]);
    assert_eq!(all.hold(2), [], "once");

    all.presence.ask(Deed::FactoryReset, "123456".to_owned(), all.now_ms).unwrap();
    all.hand(Hand::Short);
    assert_eq!(all.hold(2), [], "a short press is a no");

    all.presence.ask(Deed::FactoryReset, "123456".to_owned(), all.now_ms).unwrap();
    all.now_ms += PROVE_WITHIN_MS;
    assert_eq!(all.hold(2), [], "two minutes later it is another question");
}

#[test]
fn a_code_proves_one_deed_once_and_within_two_minutes() {
    let mut presence = Presence::new(BOTH);
    let ask = |presence: &mut Presence, at| presence.ask(Deed::FactoryReset, "123456".to_owned(), at);
    ask(&mut presence, 0).unwrap();
    assert_eq!(presence.prove(&Deed::Restart, "123456", 1), Err(NotProven::NotAsked));
    assert_eq!(presence.ask(Deed::Restart, "999999".to_owned(), 1), Err(NotProven::Busy));
    assert_eq!(presence.prove(&Deed::FactoryReset, " 123456\n", 2), Ok(Proof::Code));
    assert_eq!(presence.prove(&Deed::FactoryReset, "123456", 3), Err(NotProven::NotAsked));
    ask(&mut presence, 10).unwrap();
    let late = presence.prove(&Deed::FactoryReset, "123456", 10 + PROVE_WITHIN_MS);
    assert_eq!(late, Err(NotProven::NotAsked));
}

#[test]
fn three_wrong_codes_end_the_question_and_the_guessing() {
    let mut presence = Presence::new(BOTH);
    presence.ask(Deed::FactoryReset, "123456".to_owned(), 0).unwrap();
    assert_eq!(presence.prove(&Deed::FactoryReset, "000000", 1), Err(NotProven::Wrong { tries_left: 2 }));
    // Asking again gives neither a new code nor new tries.
    presence.ask(Deed::FactoryReset, "777777".to_owned(), 2).unwrap();
    assert_eq!(presence.prove(&Deed::FactoryReset, "777777", 3), Err(NotProven::Wrong { tries_left: 1 }));
    assert_eq!(presence.prove(&Deed::FactoryReset, "000001", 4), Err(NotProven::Locked));
    assert_eq!(presence.prove(&Deed::FactoryReset, "123456", 5), Err(NotProven::NotAsked));
    assert_eq!(presence.ask(Deed::FactoryReset, "1".to_owned(), 3 + LOCK_MS), Err(NotProven::Locked));
    assert!(presence.ask(Deed::FactoryReset, "1".to_owned(), 4 + LOCK_MS).is_ok());
}

#[test]
fn a_box_without_screen_and_button_takes_its_secret_once() {
    let secret = Some("correct horse battery".to_owned());
    let mut presence = Presence::new(Means { secret: secret.clone(), ..Means::default() });
    assert_eq!(presence.ask(Deed::FactoryReset, "123456".to_owned(), 0), Ok(vec![Proof::Secret]));
    assert!(
        presence.prove(&Deed::FactoryReset, "123456", 1).is_err(),
        "a code that nobody saw proves nothing"
    );
    assert_eq!(presence.prove(&Deed::FactoryReset, "correct horse battery", 2), Ok(Proof::Secret));
    assert_eq!(presence.ask(Deed::FactoryReset, "1".to_owned(), 3), Err(NotProven::NoMeans));

    let mut with_front = Presence::new(Means { secret, ..BOTH });
    with_front.ask(Deed::FactoryReset, "123456".to_owned(), 0).unwrap();
    let given = with_front.prove(&Deed::FactoryReset, "correct horse battery", 1);
    assert_eq!(given, Err(NotProven::Wrong { tries_left: 2 }), "who has a button uses it");
    let mut short = Presence::new(Means { secret: Some("short".to_owned()), ..Means::default() });
    assert_eq!(short.ask(Deed::FactoryReset, "1".to_owned(), 0), Err(NotProven::NoMeans));
}

fn offer() -> CodeOffer {
    CodeOffer {
        purpose: "confirm the e-mail address",
        account: "alice.test".to_owned(),
        code: ShownCode::new("ABCDE-FGHIJ".to_owned()),
    }
}

/// The thread, with what it drew last.
struct Running {
    seen: Arc<Mutex<Live>>,
    wishes: mpsc::Receiver<Wish>,
    presses: mpsc::Sender<Press>,
    desk: Arc<Desk>,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Running {
    fn start(screen: Option<SimScreen>, button: Option<SimButton>) -> Self {
        Self::with(screen.map(|screen| Box::new(screen) as Box<dyn Screen>), button)
    }

    fn with(screen: Option<Box<dyn Screen>>, button: Option<SimButton>) -> Self {
        let (presses, taken) = mpsc::channel();
        let (wished, wishes) = mpsc::channel();
        let (seen, stop) = (Arc::new(Mutex::new(Live::default())), Arc::new(AtomicBool::new(false)));
        let (desk, into, began) = (Arc::new(Desk::new(BOTH)), Arc::clone(&seen), Instant::now());
        let display = Display {
            gather: Box::new(Status::default),
            picture_is_screen: screen.is_none(),
            devices: Box::new(SimFront { screen, button, led: None }),
            button: None,
            show: Box::new(move |live| *into.lock().unwrap() = live),
            presses: Some(taken),
            desk: Arc::clone(&desk),
            wish: Box::new(move |wish| wished.send(wish).unwrap()),
            blank_after_ms: None,
            boottime_ns: Box::new(move || u64::try_from(began.elapsed().as_nanos()).unwrap()),
        };
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || display.run(&stopped));
        Self { seen, wishes, presses, desk, stop, thread: Some(thread) }
    }

    fn until(&self, done: impl Fn(&Frame) -> bool) {
        let begun = Instant::now();
        while !done(&self.seen.lock().unwrap().frame) {
            assert!(begun.elapsed() < PATIENCE, "the picture never came");
            std::thread::yield_now();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

/// Whether two frames agree but for the corner, where seconds are counted down.
fn alike(one: &Frame, other: &Frame) -> bool {
    let below = |frame: &Frame| frame.to_text().lines().skip(11).map(str::to_owned).collect::<Vec<_>>();
    below(one) == below(other)
}

#[test]
fn a_code_shows_on_the_screen_after_the_press_and_never_on_the_panel_beside_it() {
    let screen = SimScreen::new();
    for own_screen in [Some(screen.clone()), None] {
        let has_screen = own_screen.is_some();
        let running = Running::start(own_screen, None);
        let status = Status::default();
        let CodeOffer { purpose, account, code } = offer();
        running.desk.offer(offer()).unwrap();
        let question = draw_code(&CodePage::Ask { purpose, account: account.clone() }, &status);
        running.until(|frame| *frame == question);
        running.presses.send(Press::Long).unwrap();
        let shown = draw_code(&CodePage::Show { purpose, account, code, left_s: 120 }, &status);
        if has_screen {
            let elsewhere = draw_code(&CodePage::Elsewhere, &status);
            running.until(|frame| *frame == elsewhere);
            running.until(|_| screen.last().is_some_and(|last| alike(&last, &shown)));
        } else {
            running.until(|frame| alike(frame, &shown));
        }
        running.presses.send(Press::Short).unwrap();
        running.until(|frame| !alike(frame, &shown) && *frame != question);
        assert!(running.wishes.try_recv().is_err(), "the press was for the code");
    }
}

#[test]
fn edges_of_a_real_button_turn_pages_and_a_broken_screen_stops_nothing() {
    let (screen, button) = (SimScreen::new(), SimButton::new());
    screen.set_broken(true);
    let running = Running::start(Some(screen.clone()), Some(button.clone()));
    let front = draw(Page::Trouble(0), &Status::default());
    running.until(|frame| *frame == front);
    button.press(1_000_000, Duration::from_millis(100));
    running.until(|frame| *frame == draw(Page::Trouble(1), &Status::default()));
    assert_eq!(screen.shown(), 0);
}

#[test]
fn a_box_whose_screen_was_pulled_out_shows_no_codes_and_asks_for_no_proof() {
    let screen = SimScreen::new();
    let running = Running::start(Some(screen.clone()), Some(SimButton::new()));
    running.until(|_| running.desk.shows_codes());
    screen.set_broken(true);
    running.until(|_| !running.desk.shows_codes());
    assert_eq!(running.desk.ask(Deed::FactoryReset, "123456".to_owned()), Err(NotProven::NoMeans));
}

/// A screen whose bus never answers, until the test is over.
#[derive(Debug)]
struct Hung(Mutex<mpsc::Receiver<()>>);

impl Screen for Hung {
    fn show(&mut self, _: &Frame) -> Result<(), platform::DeviceError> {
        let _over = self.0.lock().unwrap().recv().is_err();
        Ok(())
    }

    fn set_lit(&mut self, _: bool) -> Result<(), platform::DeviceError> {
        self.show(&Frame::new())
    }
}

#[test]
fn a_bus_that_hangs_holds_neither_the_button_nor_the_end() {
    let button = SimButton::new();
    let (_over, hangs) = mpsc::channel();
    let running = Running::with(Some(Box::new(Hung(Mutex::new(hangs)))), Some(button.clone()));
    running.until(|frame| *frame == draw(Page::Trouble(0), &Status::default()));
    button.press(1_000_000, Duration::from_millis(100));
    running.until(|frame| *frame == draw(Page::Trouble(1), &Status::default()));
    let begun = Instant::now();
    drop(running);
    assert!(begun.elapsed() < PATIENCE / 2);
}

#[test]
fn a_hold_answers_the_question_about_disks_only_on_its_own_page() {
    use control::placement::{PlacementQuestion, PlacementStatus};
    let mut all = Box_::new(BOTH);
    let question = PlacementQuestion { id: 5, title: "ERASE IT ALL?".to_owned(), text: "T7".to_owned() };
    all.status.placement = Some(PlacementStatus { question: Some(question), ..PlacementStatus::default() });
    all.hand(Hand::Nothing);
    assert_eq!(all.hold(2), [Wish::AcceptPlacement(5)]);
    all.turn_to(Page::Storage);
    assert!(!all.hold(2).contains(&Wish::AcceptPlacement(5)), "another page asks nothing");
}
