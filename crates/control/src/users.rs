//! Which user each of our programs runs as, and who may ask the supervisor what.

use crate::request::Request;

/// Largest `/etc/passwd` that is read, bytes; the image's has ten lines.
pub const PASSWD_BYTES_MAX: u64 = 64 * 1024;

/// A user's number and that of its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User {
    /// The user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

/// The users of our programs; `None` where the machine has no such user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Users {
    /// `perch-pds`.
    pub pds: Option<User>,
    /// `perch-guard`.
    pub guard: Option<User>,
    /// `perch-panel`.
    pub panel: Option<User>,
}

impl Users {
    /// Reads them from the text of `/etc/passwd` (passwd(5)).
    #[must_use]
    pub fn of_passwd(text: &str) -> Self {
        let find = |name: &str| {
            let mut fields =
                text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?.split(':');
            let (_password, uid, gid) = (fields.next()?, fields.next()?, fields.next()?);
            let user = User { uid: uid.parse().ok()?, gid: gid.parse().ok()? };
            // A line that makes one of them root is a mistake that must not be followed.
            (user.uid != 0 && user.gid != 0).then_some(user)
        };
        Self { pds: find("perch-pds"), guard: find("perch-guard"), panel: find("perch-panel") }
    }

    /// Tells whether the user `uid` may ask the supervisor for this. Root may ask for everything that is the
    /// supervisor's; the PDS only for a code on the screen; the panel only for what then needs the owner's proof.
    #[must_use]
    pub fn may_ask_supervisor(&self, uid: u32, request: &Request) -> bool {
        let is = |user: Option<User>| user.is_some_and(|user| user.uid == uid);
        match request {
            Request::Restart | Request::PowerOff => uid == 0,
            Request::OfferCode { .. } => uid == 0 || is(self.pds),
            Request::Ask { .. } | Request::Prove { .. } => uid == 0 || is(self.panel),
            // These are the guard's business.
            Request::AcceptTime { .. } | Request::NetworkUp | Request::TimeServers { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Deed;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n\
        perch-pds:x:801:901::/data/pds:/bin/false\nperch-pds-old:x:1:1::/:\n\
        perch-panel:x:803:903::/:/bin/false\nperch-guard:x:0:0::/:/bin/false\n";

    #[test]
    fn users_are_found_by_their_whole_name_and_none_of_them_is_root() {
        let users = Users::of_passwd(PASSWD);
        assert_eq!(users.pds, Some(User { uid: 801, gid: 901 }));
        assert_eq!(users.panel, Some(User { uid: 803, gid: 903 }));
        assert_eq!(users.guard, None);
        assert_eq!(Users::of_passwd("perch-pds:x:y:z"), Users::default());
    }

    #[test]
    fn everybody_may_ask_only_for_what_is_theirs() {
        let users = Users::of_passwd(PASSWD);
        let code = Request::OfferCode { purpose: String::new(), account: String::new(), code: String::new() };
        let ask = Request::Ask { deed: Deed::FactoryReset };
        let prove = Request::Prove { deed: Deed::FactoryReset, given: String::new() };
        let allowed = |uid| {
            [&Request::Restart, &Request::PowerOff, &code, &ask, &prove, &Request::NetworkUp]
                .map(|request| users.may_ask_supervisor(uid, request))
        };
        assert_eq!(allowed(0), [true, true, true, true, true, false]);
        assert_eq!(allowed(801), [false, false, true, false, false, false], "the PDS");
        assert_eq!(allowed(803), [false, false, false, true, true, false], "the panel");
        assert_eq!(allowed(1_000), [false; 6], "a stranger");
    }
}
