//! From what a relay says to what its owner should know and do. Pure.

use control::status::{RelayState, RelayStatus};

use super::client::{CallError, HostStatus};

/// Looks in a row that must show the same trouble before the owner hears of it: a relay that was just asked to crawl
/// needs a moment.
const TROUBLE_LOOKS: u32 = 2;

/// Reads a relay's answer.
pub(super) fn state_of(answer: &Result<HostStatus, CallError>) -> RelayState {
    let status = match answer {
        Ok(status) => status,
        Err(error) if error.is("HostNotFound") => return RelayState::UnknownHost,
        Err(error) if error.is("HostBanned") => return RelayState::Banned,
        Err(CallError::Refused { .. } | CallError::Form(_)) => return RelayState::NotTold,
        Err(CallError::Silent(_) | CallError::Address) => return RelayState::Silent,
    };
    match status.status.as_str() {
        "active" => RelayState::Active,
        "idle" => RelayState::Idle,
        "offline" => RelayState::Offline,
        "throttled" => RelayState::Throttled,
        "banned" => RelayState::Banned,
        _ => RelayState::NotTold,
    }
}

/// Says what a trouble means and what to do, once it has lasted.
pub(super) fn advice(state: RelayState, looks: u32) -> Option<String> {
    let lasting = looks >= TROUBLE_LOOKS;
    let text = match state {
        RelayState::Banned => "It has banned this box. Write to its operator: nothing else helps.",
        RelayState::TooFarAhead => {
            "It claims events that this box never had, far too many. Not followed: check its address."
        }
        RelayState::Offline if lasting => {
            "It cannot reach this box. Check the address, the router's port and the certificate."
        }
        RelayState::Idle if lasting => "It does not listen, though asked. New posts stay here for now.",
        RelayState::Throttled if lasting => {
            "It takes less from this box for now: too much at once. It passes."
        }
        RelayState::UnknownHost if lasting => {
            "It does not take this box in. Is the address reachable from outside, by https?"
        }
        RelayState::Silent if lasting => "It does not answer. Check the network; it is asked again.",
        _ => return None,
    };
    Some(text.to_owned())
}

/// The host name of a relay's address.
pub(super) fn name_of(url: &str) -> String {
    let bare = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://")).unwrap_or(url);
    bare.split('/').next().unwrap_or_default().to_owned()
}

/// What is known of a relay that was not asked yet.
pub(super) fn unasked(url: &str) -> RelayStatus {
    RelayStatus { name: name_of(url), ..RelayStatus::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(name: &str) -> Result<HostStatus, CallError> {
        Err(CallError::Refused { status: 400, name: name.to_owned(), words: String::new() })
    }

    #[test]
    fn the_protocols_words_are_known_and_others_are_no_trouble() {
        for (word, state) in [
            ("active", RelayState::Active),
            ("idle", RelayState::Idle),
            ("offline", RelayState::Offline),
            ("throttled", RelayState::Throttled),
            ("banned", RelayState::Banned),
            ("new", RelayState::NotTold),
        ] {
            let answer = Ok(HostStatus { seq: Some(1), status: word.to_owned() });
            assert_eq!(state_of(&answer), state);
        }
        assert_eq!(state_of(&refused("HostNotFound")), RelayState::UnknownHost);
        assert_eq!(state_of(&refused("MethodNotImplemented")), RelayState::NotTold);
        assert_eq!(advice(RelayState::NotTold, 99), None);
        assert_eq!(advice(RelayState::Active, 99), None);
    }

    #[test]
    fn only_lasting_trouble_is_told_but_a_ban_at_once() {
        for state in [RelayState::Idle, RelayState::Offline, RelayState::UnknownHost, RelayState::Silent] {
            assert_eq!(advice(state, 1), None);
            assert!(advice(state, TROUBLE_LOOKS).is_some());
        }
        assert!(advice(RelayState::Banned, 1).is_some());
    }
}
