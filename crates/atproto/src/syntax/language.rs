//! Language tags of BCP 47.

use super::text_identifier;

/// Names a language, such as `pt-BR`, by the grammar of RFC 5646 section 2.1.
///
/// The first part must be lower case, as the protocol's test files ask; a variant or an extension may not come
/// twice (section 2.2.9). At most 128 characters. Whether the parts are registered is not checked.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Language(Box<str>);

/// Longest tag, in characters: several times what RFC 5646 section 4.4.1 asks implementations to hold (35).
const LANGUAGE_BYTES_MAX: usize = 128;

/// Tags of old that do not follow the grammar (RFC 5646 section 2.1, `irregular`).
const IRREGULAR: [&str; 17] = [
    "en-GB-oed",
    "i-ami",
    "i-bnn",
    "i-default",
    "i-enochian",
    "i-hak",
    "i-klingon",
    "i-lux",
    "i-mingo",
    "i-navajo",
    "i-pwn",
    "i-tao",
    "i-tay",
    "i-tsu",
    "sgn-BE-FR",
    "sgn-BE-NL",
    "sgn-CH-DE",
];

impl Language {
    fn check(text: &str) -> Result<(), &'static str> {
        if text.len() > LANGUAGE_BYTES_MAX {
            return Err("longer than 128 characters");
        }
        if IRREGULAR.iter().any(|tag| tag.eq_ignore_ascii_case(text)) {
            return Ok(());
        }
        let mut parts = text.split('-').peekable();
        if text.split('-').any(|part| part.is_empty() || part.len() > 8 || !is_alphanumeric(part)) {
            return Err("a part is not 1 to 8 letters and digits");
        }
        let first = parts.next().unwrap_or_default();
        if first.eq_ignore_ascii_case("x") {
            return if parts.next().is_some() { Ok(()) } else { Err("nothing follows the \"x\"") };
        }
        if !matches!(first.len(), 2 | 3 | 5..=8) || !first.bytes().all(|b| b.is_ascii_lowercase()) {
            return Err("the language is not 2 or 3 lower-case letters");
        }
        if first.len() <= 3 {
            for _ in 0..3 {
                parts.next_if(|part| part.len() == 3 && is_alphabetic(part));
            }
        }
        parts.next_if(|part| part.len() == 4 && is_alphabetic(part));
        parts.next_if(|part| {
            part.len() == 2 && is_alphabetic(part)
                || part.len() == 3 && part.bytes().all(|b| b.is_ascii_digit())
        });
        let mut variants: Vec<&str> = Vec::new();
        while let Some(part) = parts.next_if(|part| is_variant(part)) {
            if variants.iter().any(|seen| seen.eq_ignore_ascii_case(part)) {
                return Err("a variant comes twice");
            }
            variants.push(part);
        }
        check_extensions(parts)
    }

    fn from_checked(text: Box<str>) -> Self {
        Self(text)
    }
}

text_identifier!(Language, "language tag");

fn is_alphanumeric(part: &str) -> bool {
    part.bytes().all(|b| b.is_ascii_alphanumeric())
}

fn is_alphabetic(part: &str) -> bool {
    part.bytes().all(|b| b.is_ascii_alphabetic())
}

fn is_variant(part: &str) -> bool {
    part.len() >= 5 || part.len() == 4 && part.as_bytes().first().is_some_and(u8::is_ascii_digit)
}

/// Checks `singleton-part-part...` groups and the private part at the end.
fn check_extensions<'a>(parts: impl Iterator<Item = &'a str>) -> Result<(), &'static str> {
    let mut parts = parts.peekable();
    let mut singletons: Vec<&str> = Vec::new();
    while let Some(singleton) = parts.next() {
        if singleton.len() != 1 {
            return Err("a part is not where the grammar allows it");
        }
        if parts.peek().is_none() {
            return Err("nothing follows an extension's letter");
        }
        if singleton.eq_ignore_ascii_case("x") {
            return Ok(());
        }
        if singletons.iter().any(|seen| seen.eq_ignore_ascii_case(singleton)) {
            return Err("an extension comes twice");
        }
        singletons.push(singleton);
        let mut length = 0;
        while parts.next_if(|part| part.len() >= 2).is_some() {
            length += 1;
        }
        if length == 0 {
            return Err("nothing follows an extension's letter");
        }
    }
    Ok(())
}
