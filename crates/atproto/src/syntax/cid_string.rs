//! Content identifiers as text, of any kind.

use super::text_identifier;

/// Holds the text of a content identifier in any encoding, as the lexicon format `cid` allows.
///
/// 8 to 256 letters, digits, `+` and `=`; the old form without a version (`Qm...`) is refused. To follow or
/// compare content identifiers use [`crate::cid::Cid`], which knows only the two kinds that repositories use.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CidString(Box<str>);

const CID_BYTES_MIN: usize = 8;
const CID_BYTES_MAX: usize = 256;

impl CidString {
    fn check(text: &str) -> Result<(), &'static str> {
        if text.len() < CID_BYTES_MIN || text.len() > CID_BYTES_MAX {
            return Err("not 8 to 256 characters long");
        }
        if !text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'=')) {
            return Err("has a character other than letters, digits, + and =");
        }
        if text.starts_with("Qm") {
            return Err("is of version 0");
        }
        Ok(())
    }

    fn from_checked(text: Box<str>) -> Self {
        Self(text)
    }
}

text_identifier!(CidString, "CID");
