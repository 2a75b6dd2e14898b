//! Identifiers of the protocol, each a type that only `parse` can make.
//!
//! The checks are written by hand over bytes, without regular expressions, and are gated by the protocol's
//! public interoperability files. Nothing here resolves, fetches or normalises beyond what each type says.

mod at_identifier;
mod at_uri;
mod cid_string;
mod datetime;
mod did;
mod handle;
mod language;
mod nsid;
mod record_key;
#[cfg(test)]
mod tests;
mod uri;

pub use self::at_identifier::AtIdentifier;
pub use self::at_uri::AtUri;
pub use self::cid_string::CidString;
pub use self::datetime::Datetime;
pub use self::did::Did;
pub use self::handle::Handle;
pub use self::language::Language;
pub use self::nsid::Nsid;
pub use self::record_key::RecordKey;
pub use self::uri::Uri;
pub use crate::tid::Tid;

/// Says why a text is not the identifier it was taken for.
///
/// The text itself is not kept: it comes from outside and may be long or secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a valid {kind}: {why}")]
pub struct SyntaxError {
    kind: &'static str,
    why: &'static str,
}

impl SyntaxError {
    pub(crate) const fn new(kind: &'static str, why: &'static str) -> Self {
        Self { kind, why }
    }

    /// Names the identifier that was expected, such as `DID` or `handle`.
    pub const fn kind(&self) -> &'static str {
        self.kind
    }

    /// Says which rule was broken, in words.
    pub const fn why(&self) -> &'static str {
        self.why
    }
}

/// Writes the trait implementations that every textual identifier has.
///
/// The type is a tuple struct over `Box<str>` with `fn check(&str) -> Result<(), &'static str>`.
macro_rules! text_identifier {
    ($name:ident, $kind:literal) => {
        impl $name {
            /// Checks the text and keeps a copy of it (one allocation).
            pub fn parse(text: &str) -> Result<Self, $crate::syntax::SyntaxError> {
                match Self::check(text) {
                    Ok(()) => Ok(Self::from_checked(Box::from(text))),
                    Err(why) => Err($crate::syntax::SyntaxError::new($kind, why)),
                }
            }

            /// Gives the text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = $crate::syntax::SyntaxError;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                match Self::check(&text) {
                    Ok(()) => Ok(Self::from_checked(text.into_boxed_str())),
                    Err(why) => Err($crate::syntax::SyntaxError::new($kind, why)),
                }
            }
        }

        $crate::syntax::text_traits!($name);
    };
}

/// Writes the conversions and comparisons of a type that has `parse` and `as_str`.
macro_rules! text_traits {
    ($name:ident) => {
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}({:?})", stringify!($name), self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::syntax::SyntaxError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::parse(text)
            }
        }

        impl TryFrom<&str> for $name {
            type Error = $crate::syntax::SyntaxError;

            fn try_from(text: &str) -> Result<Self, Self::Error> {
                Self::parse(text)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                self.as_str()
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                self.as_str()
            }
        }

        impl PartialEq<str> for $name {
            fn eq(&self, other: &str) -> bool {
                self.as_str() == other
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, other: &&str) -> bool {
                self.as_str() == *other
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> String {
                value.as_str().to_owned()
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;
                impl serde::de::Visitor<'_> for Text {
                    type Value = $name;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str(concat!("the text of a ", stringify!($name)))
                    }

                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$name, E> {
                        $name::parse(text).map_err(E::custom)
                    }
                }
                deserializer.deserialize_str(Text)
            }
        }
    };
}

pub(crate) use {text_identifier, text_traits};

/// Checks one label of a domain name (RFC 1035): 1 to 63 letters, digits and inner hyphens.
fn check_domain_label(label: &[u8]) -> Result<(), &'static str> {
    const LABEL_BYTES_MAX: usize = 63; // RFC 1035 section 2.3.4
    match label {
        [] => return Err("a part between dots is empty"),
        [b'-', ..] | [.., b'-'] => return Err("a part begins or ends with a hyphen"),
        _ => {}
    }
    if label.len() > LABEL_BYTES_MAX {
        return Err("a part is longer than 63 characters");
    }
    if !label.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-') {
        return Err("a part has a character other than letters, digits and hyphen");
    }
    Ok(())
}
