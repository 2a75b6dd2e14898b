//! Answers what others ask of the supervisor: checks who asks, then lays it on the desk or before the driver.

use std::sync::Arc;

use control::request::{Deed, Proof, Reply, Request};
use control::users::Users;
use platform::codes::PURPOSES;
use platform::{CodeOffer, CodeScreen, ShownCode};
use tokio::sync::mpsc;

use crate::front::Desk;
use crate::notes::NoteBook;

/// The longest handle, characters (atproto handle specification: 253).
const ACCOUNT_CHARS_MAX: usize = 253;

/// The longest code, characters: eleven are used.
const CODE_CHARS_MAX: usize = 16;

/// The door of the supervisor.
#[derive(Clone, Debug)]
pub struct Door {
    /// Who is who.
    pub users: Users,
    /// What waits for the button.
    pub desk: Arc<Desk>,
    /// Where a used secret is remembered.
    pub notes: NoteBook,
    /// Where deeds go that are to be done.
    pub deeds: mpsc::Sender<Deed>,
}

impl Door {
    /// Answers a request of the user `uid`. It does not wait.
    #[must_use]
    pub fn answer(&self, uid: u32, request: Request) -> Reply {
        if !self.users.may_ask_supervisor(uid, &request) {
            return refused("this program may not ask for that");
        }
        match request {
            Request::Restart => self.begin(Deed::Restart),
            Request::PowerOff => self.begin(Deed::PowerOff),
            Request::OfferCode { purpose, account, code } => self.offer(&purpose, account, code),
            Request::Ask { deed } => {
                let Some(code) = six_digits() else { return refused("no code could be made; try again") };
                match self.desk.ask(deed, code) {
                    Ok(ways) => Reply::Proofs { ways },
                    Err(error) => Reply::Refused { why: error.to_string() },
                }
            }
            Request::Prove { deed, given } => match self.desk.prove(&deed, &given) {
                Ok(proof) => {
                    if proof == Proof::Secret {
                        self.notes.note_used(given.trim());
                    }
                    self.begin(deed)
                }
                Err(error) => Reply::Refused { why: error.to_string() },
            },
            Request::AcceptTime { .. } | Request::NetworkUp | Request::TimeServers { .. } => {
                refused("ask the time guard")
            }
        }
    }

    fn begin(&self, deed: Deed) -> Reply {
        match self.deeds.try_send(deed) {
            Ok(()) => Reply::Done,
            Err(_) => refused("the box is busy with another request; try again"),
        }
    }

    /// The texts come from a program that faces the internet: only known words and plain characters reach the screen.
    fn offer(&self, purpose: &str, account: String, code: String) -> Reply {
        if !self.desk.shows_codes() {
            return refused("this box has no screen or no button that works now");
        }
        let plain = |text: &str, chars_max| {
            (1..=chars_max).contains(&text.len())
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'-')
        };
        let Some(purpose) = PURPOSES.into_iter().find(|known| *known == purpose) else {
            return refused("no code does that");
        };
        if !plain(&account, ACCOUNT_CHARS_MAX) || !plain(&code, CODE_CHARS_MAX) {
            return refused("that is no handle, or no code");
        }
        match self.desk.offer(CodeOffer { purpose, account, code: ShownCode::new(code) }) {
            Ok(()) => Reply::Done,
            Err(error) => Reply::Refused { why: error.to_string() },
        }
    }
}

fn refused(why: &str) -> Reply {
    Reply::Refused { why: why.to_owned() }
}

/// A fresh code; `None` when the system gives no randomness.
fn six_digits() -> Option<String> {
    // The remainder favours some codes by less than one in four thousand.
    getrandom::u32().ok().map(|random| format!("{:06}", random % 1_000_000))
}

#[cfg(test)]
mod tests {
    use control::users::User;

    use super::*;
    use crate::front::presence::Means;

    const PDS: u32 = 801;
    const PANEL: u32 = 803;

    fn notes() -> NoteBook {
        NoteBook::new("notes".into(), None, Box::new(|_, _| Ok(())))
    }

    fn door() -> (Door, mpsc::Receiver<Deed>) {
        let user = |uid| Some(User { uid, gid: uid });
        let (deeds, done) = mpsc::channel(1);
        let desk = Arc::new(Desk::new(Means { screen: true, button: true, secret: None }));
        let users = Users { pds: user(PDS), guard: user(802), panel: user(PANEL) };
        (Door { users, desk, notes: notes(), deeds }, done)
    }

    fn code(purpose: &str, account: &str) -> Request {
        let (purpose, account) = (purpose.to_owned(), account.to_owned());
        Request::OfferCode { purpose, account, code: "ABCDE-FGHIJ".to_owned() }
    }

    #[test]
    fn a_program_that_was_taken_over_gets_nothing_that_is_not_its_own() {
        let (door, mut done) = door();
        for request in [Request::Restart, Request::PowerOff, Request::Ask { deed: Deed::FactoryReset }] {
            assert!(matches!(door.answer(PDS, request), Reply::Refused { .. }));
        }
        assert!(matches!(door.answer(PANEL, code(PURPOSES[0], "a.test")), Reply::Refused { .. }));
        assert!(done.try_recv().is_err());
    }

    #[test]
    fn only_known_words_reach_the_screen() {
        let (door, _done) = door();
        assert_eq!(door.answer(PDS, code(PURPOSES[0], "alice.test")), Reply::Done);
        assert!(matches!(door.answer(PDS, code("send me money", "alice.test")), Reply::Refused { .. }));
        assert!(matches!(door.answer(PDS, code(PURPOSES[0], "press now!\n")), Reply::Refused { .. }));
    }

    #[test]
    fn a_secret_that_was_used_is_noted_for_the_next_start() {
        let (door, mut done) = door();
        let secret = "correct horse battery".to_owned();
        let desk = Desk::new(Means { secret: Some(secret.clone()), ..Means::default() });
        let door = Door { desk: Arc::new(desk), ..door };
        let deed = Deed::FactoryReset;
        assert!(matches!(door.answer(PANEL, Request::Ask { deed: deed.clone() }), Reply::Proofs { .. }));
        assert!(!door.notes.is_used(&secret));
        let prove = Request::Prove { deed: deed.clone(), given: format!(" {secret}\n") };
        assert_eq!(door.answer(PANEL, prove), Reply::Done);
        assert_eq!(done.try_recv(), Ok(deed));
        assert!(door.notes.is_used(&secret));
    }

    #[test]
    fn the_panel_needs_the_owners_proof_and_root_at_the_console_does_not() {
        let (door, mut done) = door();
        let deed = Deed::FactoryReset;
        assert!(matches!(door.answer(PANEL, Request::Ask { deed: deed.clone() }), Reply::Proofs { .. }));
        // Three wrong ones; whatever the code is, it is not of five digits.
        for _ in 0..3 {
            let wrong = Request::Prove { deed: deed.clone(), given: "12345".to_owned() };
            assert!(matches!(door.answer(PANEL, wrong), Reply::Refused { .. }));
        }
        assert!(done.try_recv().is_err());
        assert_eq!(door.answer(0, Request::Restart), Reply::Done);
        assert_eq!(done.try_recv(), Ok(Deed::Restart));
    }
}
