//! Lexicons: what records and calls must look like, read into a small form, and data checked against it.
//!
//! A lexicon comes as JSON or as a record ([`Lexicon::from_json`], [`Lexicon::from_cbor`]); those of the record types
//! that everybody writes are part of this crate ([`Lexicons::known`]), in a notation of our own. Data is checked as
//! canonical DAG-CBOR, item by item and without copies. Only what a check needs is kept: descriptions, defaults and
//! suggested values are not. Lexicons come from strangers: their size, depth and number of definitions are bounded,
//! and a reference that leads in a circle ends. Nothing here fetches a lexicon.
//!
//! Source: atproto specification "Lexicon".

mod check;
mod notation;
mod parse;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

pub use self::check::{Fault, Mismatch, Why};
pub use self::parse::LexiconError;

use crate::cbor::{DecodeError, Decoder};
use crate::syntax::{Nsid, RecordKey, Tid};

/// Largest lexicon, in bytes of DAG-CBOR. The largest in public use has 40,000; what is larger costs every server that
/// resolves it memory for a type of record.
pub const LEXICON_BYTES_MAX: usize = 256 * 1024;

/// Definitions in one lexicon. The largest in public use has 50.
pub const DEFINITIONS_MAX: usize = 512;

/// Types in one lexicon, nested ones counted; each takes about 32 bytes.
pub const SCHEMAS_MAX: usize = 8192;

/// Nesting of types within one definition; bounds the stack.
pub const SCHEMA_DEPTH_MAX: usize = 32;

/// Nesting of checked data, as far as lexicons describe it. Real records have fewer than ten levels; looking for the
/// `$type` of nested unions costs the data's size once per level, so that this bounds the time as well.
pub const CHECKED_DEPTH_MAX: usize = 64;

/// References that lead to references. Lexicons of strangers may lead in a circle.
pub const REFERENCES_MAX: usize = 8;

/// One lexicon: its definitions by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lexicon {
    id: Nsid,
    /// Sorted by name.
    definitions: Box<[(Box<str>, Definition)]>,
}

/// What a name in a lexicon stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Definition {
    /// A type of record.
    Record(RecordType),
    /// A query, procedure or subscription.
    Method(Box<Method>),
    /// A set of permissions; what it grants is not looked at here.
    PermissionSet,
    /// Any other type.
    Type(Schema),
}

/// A type of record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordType {
    /// How its records may be named.
    pub key: KeyRule,
    /// What they hold.
    pub object: Object,
}

/// How records of a type may be named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyRule {
    /// By any record key.
    Any,
    /// By a TID.
    Tid,
    /// By an NSID.
    Nsid,
    /// By this word alone.
    Literal(Box<str>),
}

impl KeyRule {
    /// Says whether a record may have this name.
    #[must_use]
    pub fn allows(&self, key: &RecordKey) -> bool {
        match self {
            Self::Any => true,
            Self::Tid => Tid::parse(key.as_str()).is_ok(),
            Self::Nsid => Nsid::parse(key.as_str()).is_ok(),
            Self::Literal(word) => key.as_str() == &**word,
        }
    }
}

impl std::fmt::Display for KeyRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Any => f.write_str("any record key"),
            Self::Tid => f.write_str("a TID"),
            Self::Nsid => f.write_str("an NSID"),
            Self::Literal(word) => write!(f, "\"{word}\""),
        }
    }
}

/// How a method is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MethodKind {
    /// By GET.
    Query,
    /// By POST.
    Procedure,
    /// By a WebSocket.
    Subscription,
}

/// A method of XRPC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Method {
    /// How it is called.
    pub kind: MethodKind,
    /// Its query parameters.
    pub parameters: Option<Object>,
    /// Its body, for a procedure.
    pub input: Option<Body>,
    /// Its answer.
    pub output: Option<Body>,
    /// Its messages, for a subscription.
    pub message: Option<Schema>,
    /// The names of its own errors.
    pub errors: Box<[Box<str>]>,
}

/// The body of a call or an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    /// Its media type; `*/*` for any.
    pub encoding: Box<str>,
    /// What it holds, if it is JSON.
    pub schema: Option<Schema>,
}

/// The type of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Schema {
    /// Null.
    Null,
    /// A boolean, perhaps always the same.
    Boolean(Option<bool>),
    /// A whole number.
    Integer(Box<IntegerRules>),
    /// Text.
    Text(Box<TextRules>),
    /// Bytes of such a length.
    Bytes(Bounds),
    /// A link.
    Link,
    /// A reference to a blob.
    Blob(Box<BlobRules>),
    /// A list.
    Array(Box<ArrayRules>),
    /// An object with named properties.
    Object(Object),
    /// Stands for itself: its value is its own full name.
    Token(Name),
    /// Another definition.
    Ref(Name),
    /// One of several definitions, by `$type`.
    Union(Box<UnionRules>),
    /// Any object of the data model.
    Unknown,
    /// A property that is required and not described: any value.
    Anything,
}

/// Smallest and largest length, both allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Smallest.
    pub min: usize,
    /// Largest.
    pub max: usize,
}

impl Bounds {
    /// Allows every length.
    pub const ANY: Self = Self { min: 0, max: usize::MAX };

    fn allow(self, length: usize) -> bool {
        (self.min..=self.max).contains(&length)
    }
}

/// What a whole number must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntegerRules {
    /// Smallest.
    pub min: i64,
    /// Largest.
    pub max: i64,
    /// Always this.
    pub constant: Option<i64>,
    /// One of these; any when empty.
    pub one_of: Box<[i64]>,
}

/// What text must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextRules {
    /// Its syntax.
    pub format: Option<Format>,
    /// Its length in bytes of UTF-8.
    pub bytes: Bounds,
    /// Its length in grapheme clusters, what people call characters.
    pub graphemes: Bounds,
    /// Always this.
    pub constant: Option<Box<str>>,
    /// One of these; any when empty.
    pub one_of: Box<[Box<str>]>,
}

/// A syntax that text may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    AtIdentifier,
    AtUri,
    Cid,
    Datetime,
    Did,
    Handle,
    Language,
    Nsid,
    RecordKey,
    Tid,
    Uri,
}

/// What a blob must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobRules {
    /// Media types, `image/*` for any of a kind; any when empty.
    pub accept: Box<[Box<str>]>,
    /// Largest size in bytes.
    pub size_max: u64,
}

/// What a list must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArrayRules {
    /// Each of its elements.
    pub items: Schema,
    /// Their number.
    pub length: Bounds,
}

/// What an object must hold. Other properties may be there as well.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Object {
    /// In the order of DAG-CBOR's map keys, in which data comes.
    pub properties: Box<[Property]>,
}

/// One property of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Property {
    /// Its name.
    pub name: Box<str>,
    /// Its value.
    pub schema: Schema,
    /// Whether it must be there.
    pub required: bool,
    /// Whether it may be null.
    pub nullable: bool,
}

/// What an object of several types must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnionRules {
    /// The types.
    pub of: Box<[Name]>,
    /// Whether other types are refused.
    pub closed: bool,
}

/// The full name of a definition: an NSID, and the name in its lexicon unless that is `main`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Name {
    text: Box<str>,
    nsid_bytes: usize,
}

/// The definition that an NSID alone stands for.
const MAIN: &str = "main";

impl Name {
    /// Makes the name of a definition of the lexicon `id`, from a reference that stands in it: `#name`, `nsid` or
    /// `nsid#name`.
    fn resolve(reference: &str, id: &Nsid) -> Option<Self> {
        let (nsid, name) = reference.split_once('#').unwrap_or((reference, MAIN));
        if name.is_empty() || name.contains('#') {
            return None;
        }
        let nsid = if nsid.is_empty() { id.as_str() } else { nsid };
        if nsid != id.as_str() && Nsid::parse(nsid).is_err() {
            return None;
        }
        let text = if name == MAIN { Box::from(nsid) } else { format!("{nsid}#{name}").into_boxed_str() };
        Some(Self { text, nsid_bytes: nsid.len() })
    }

    /// The text that stands in `$type`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The lexicon.
    #[must_use]
    pub fn nsid(&self) -> &str {
        self.text.get(..self.nsid_bytes).unwrap_or_default()
    }

    /// The name in the lexicon.
    #[must_use]
    pub fn definition(&self) -> &str {
        self.text.get(self.nsid_bytes + 1..).unwrap_or(MAIN)
    }

    /// Says whether a `$type` means this definition.
    fn is(&self, text: &str) -> bool {
        *self.text == *text
            || (self.text.len() == self.nsid_bytes && text.strip_suffix("#main") == Some(&self.text))
    }
}

impl Lexicon {
    /// The name that it defines.
    #[must_use]
    pub fn id(&self) -> &Nsid {
        &self.id
    }

    /// Finds a definition.
    #[must_use]
    pub fn definition(&self, name: &str) -> Option<&Definition> {
        let at = self.definitions.binary_search_by(|(have, _)| (**have).cmp(name)).ok()?;
        self.definitions.get(at).map(|(_, definition)| definition)
    }

    /// Visits all definitions.
    pub fn definitions(&self) -> impl Iterator<Item = (&str, &Definition)> {
        self.definitions.iter().map(|(name, definition)| (&**name, definition))
    }

    /// The type of record that it defines, if it defines one.
    #[must_use]
    pub fn record(&self) -> Option<&RecordType> {
        if let Some(Definition::Record(record)) = self.definition(MAIN) { Some(record) } else { None }
    }

    /// The method that it defines, if it defines one.
    #[must_use]
    pub fn method(&self) -> Option<&Method> {
        if let Some(Definition::Method(method)) = self.definition(MAIN) { Some(method) } else { None }
    }
}

/// Lexicons that refer to each other. A clone shares them.
#[derive(Clone, Debug, Default)]
pub struct Lexicons {
    by_id: HashMap<Box<str>, Arc<Lexicon>>,
}

static KNOWN: LazyLock<Lexicons> = LazyLock::new(|| {
    let read = notation::read(include_str!("lexicon/known.txt"));
    let mut known = Lexicons::default();
    // A mistake in our own file is found by the tests; at run time it would make types unknown, not wrong.
    for lexicon in read.unwrap_or_default() {
        known.insert(Arc::new(lexicon));
    }
    known
});

impl Lexicons {
    /// The types of record that were known when this was built, with all that they refer to.
    #[must_use]
    pub fn known() -> &'static Self {
        &KNOWN
    }

    /// Adds a lexicon, or replaces the one of its name.
    pub fn insert(&mut self, lexicon: Arc<Lexicon>) {
        self.by_id.insert(lexicon.id.as_str().into(), lexicon);
    }

    /// Removes a lexicon.
    pub fn remove(&mut self, nsid: &str) {
        self.by_id.remove(nsid);
    }

    /// Finds a lexicon.
    #[must_use]
    pub fn get(&self, nsid: &str) -> Option<&Lexicon> {
        self.by_id.get(nsid).map(|lexicon| &**lexicon)
    }

    /// Visits all lexicons, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Lexicon> {
        self.by_id.values().map(|lexicon| &**lexicon)
    }

    /// Checks a record in its stored form, and its name.
    ///
    /// # Errors
    /// [`Fault::Mismatch`] when it breaks its lexicon; [`Fault::Unknown`] when that, or one that it refers to, is not
    /// among these; [`Fault::Broken`] when the lexicons do not fit together.
    pub fn check_record(&self, collection: &Nsid, key: &RecordKey, record: &[u8]) -> Result<(), Fault> {
        let lexicon = self.get(collection.as_str()).ok_or_else(|| Fault::unknown(collection.as_str()))?;
        let kind = lexicon.record().ok_or_else(|| Fault::Broken { name: collection.as_str().into() })?;
        if !kind.key.allows(key) {
            return Err(Fault::Mismatch(Mismatch::at_top(Why::Key(kind.key.to_string()))));
        }
        let mut data = Decoder::new(record);
        check::object(self, &kind.object, &mut data, 0).map_err(|fault| *fault)?;
        data.finish().map_err(Fault::from)
    }

    /// Checks a whole value in canonical DAG-CBOR against a type, such as the answer of a method.
    ///
    /// # Errors
    /// As [`Lexicons::check_record`].
    pub fn check(&self, schema: &Schema, data: &[u8]) -> Result<(), Fault> {
        let mut data = Decoder::new(data);
        check::value(self, schema, &mut data, 0).map_err(|fault| *fault)?;
        data.finish().map_err(Fault::from)
    }

    fn definition(&self, name: &Name) -> Result<&Definition, Fault> {
        let lexicon = self.get(name.nsid()).ok_or_else(|| Fault::unknown(name.nsid()))?;
        lexicon.definition(name.definition()).ok_or_else(|| Fault::Broken { name: name.as_str().into() })
    }
}

impl From<DecodeError> for Fault {
    fn from(error: DecodeError) -> Self {
        Self::Data(error)
    }
}
