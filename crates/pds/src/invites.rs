//! Invite codes: what they look like, and how many an account earns.

use std::time::Duration;

use data_encoding::BASE32_NOPAD;
use serde::Serialize;
use store::{ADMIN, Invite};

use crate::{config::Config, error::XrpcError};

/// Codes of its own that an account may have open at once.
const OPEN_MAX: usize = 5;

/// Random bytes of a code: ten letters of base32.
const BYTES: usize = 7;

/// Letters in each half of a code.
const HALF: usize = 5;

/// Makes a code: the host name with `-` for `.`, then `-xxxxx-xxxxx`, so that it is not mistaken for a link.
///
/// # Errors
/// 500 when the system gives no random bytes.
pub(crate) fn new_code(config: &Config) -> Result<String, XrpcError> {
    let mut bytes = [0_u8; BYTES];
    getrandom::fill(&mut bytes).map_err(XrpcError::internal)?;
    let letters = BASE32_NOPAD.encode(&bytes).to_lowercase();
    let (first, rest) = letters.split_at(HALF);
    let host = config.hostname.replace('.', "-");
    Ok(format!("{host}-{first}-{}", rest.get(..HALF).unwrap_or(rest)))
}

/// `com.atproto.server.defs#inviteCode`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct InviteView<'a> {
    code: &'a str,
    available: u32,
    disabled: bool,
    for_account: &'a str,
    created_by: &'a str,
    created_at: String,
    uses: Vec<UseView<'a>>,
}

/// `com.atproto.server.defs#inviteCodeUse`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct UseView<'a> {
    used_by: &'a str,
    used_at: String,
}

/// Gives a code the lexicon's form.
pub(crate) fn view(invite: &Invite) -> InviteView<'_> {
    let uses = invite.uses.iter().map(|used| UseView {
        used_by: &used.used_by,
        used_at: platform::time::format_rfc3339_millis(used.used_at_us),
    });
    InviteView {
        code: &invite.code,
        available: invite.uses_max,
        disabled: invite.disabled,
        for_account: &invite.account,
        created_by: &invite.created_by,
        created_at: platform::time::format_rfc3339_millis(invite.created_at_us),
        uses: uses.collect(),
    }
}

/// Tells whether all uses of a code are taken.
pub(crate) fn is_used_up(invite: &Invite) -> bool {
    u32::try_from(invite.uses.len()).unwrap_or(u32::MAX) >= invite.uses_max
}

/// How many codes an account has earned and not made yet, and how many of its own there will be then.
///
/// It earns one per interval of its life (of the part since the epoch), the intervals counted from its creation, and
/// has at most [`OPEN_MAX`] open ones. Codes from the operator do not count.
pub(crate) fn to_mint(
    codes: &[Invite],
    created_at_us: u64,
    interval: Duration,
    epoch_us: u64,
    now_us: u64,
) -> (usize, usize) {
    let interval_us = u64::try_from(interval.as_micros()).unwrap_or(u64::MAX).max(1);
    let own: Vec<&Invite> = codes.iter().filter(|code| code.created_by != ADMIN).collect();
    let open = own.iter().filter(|code| !code.disabled && !is_used_up(code)).count();
    let intervals = |until_us: u64| until_us.saturating_sub(created_at_us) / interval_us;
    let earned = intervals(now_us).saturating_sub(intervals(epoch_us));
    let made = own.iter().filter(|code| code.created_at_us > epoch_us).count();
    let left = usize::try_from(earned).unwrap_or(usize::MAX).saturating_sub(made);
    let count = left.min(OPEN_MAX.saturating_sub(open));
    (count, own.len() + count)
}

#[cfg(test)]
mod tests {
    use store::InviteUse;

    use super::*;

    const DAY: u64 = 86_400_000_000;
    const CREATED: u64 = 100 * DAY;

    fn code(by: &str, created_at_us: u64, used: bool) -> Invite {
        let uses = vec![InviteUse { used_by: "did:plc:x".to_owned(), used_at_us: created_at_us }];
        Invite {
            code: "c".to_owned(),
            account: "did:plc:a".to_owned(),
            created_by: by.to_owned(),
            created_at_us,
            uses_max: 1,
            disabled: false,
            uses: if used { uses } else { Vec::new() },
        }
    }

    fn mint(codes: &[Invite], epoch_us: u64, now_us: u64) -> usize {
        to_mint(codes, CREATED, Duration::from_micros(DAY), epoch_us, now_us).0
    }

    #[test]
    fn an_account_earns_a_code_each_interval_up_to_five_open_ones() {
        assert_eq!(mint(&[], 0, CREATED + DAY - 1), 0);
        assert_eq!(mint(&[], 0, CREATED + 3 * DAY), 3);
        assert_eq!(mint(&[], 0, CREATED + 90 * DAY), 5);
        let used = code("did:plc:a", CREATED + DAY, true);
        assert_eq!(mint(std::slice::from_ref(&used), 0, CREATED + 3 * DAY), 2, "a used one was earned too");
        let open = code("did:plc:a", CREATED + DAY, false);
        assert_eq!(mint(&vec![open; 4], 0, CREATED + 90 * DAY), 1);
        assert_eq!(
            mint(&vec![code(ADMIN, CREATED, false); 9], 0, CREATED + 2 * DAY),
            2,
            "gifts do not count"
        );
        // Of ninety days eighty-eight lay before the epoch.
        assert_eq!(mint(&[used], CREATED + 88 * DAY, CREATED + 90 * DAY), 2);
    }

    #[test]
    fn codes_name_the_host_and_are_no_link() {
        let mut config = Config::local("x".into(), 1, "http://localhost".to_owned());
        config.hostname = "pds.example.com".to_owned();
        let code = new_code(&config).unwrap();
        let rest = code.strip_prefix("pds-example-com-").unwrap();
        assert_eq!((rest.len(), rest.as_bytes()[5]), (11, b'-'), "{code}");
        assert!(!code.contains('.'));
    }
}
