//! Reads a lexicon from JSON or from a record.
//!
//! What is not understood and does not weaken a check (descriptions, formats of the future) is passed over; what would
//! (an unknown kind of type) is refused, so that the lexicon counts as not known.

use super::{
    ArrayRules, BlobRules, Body, Bounds, DEFINITIONS_MAX, Definition, Format, IntegerRules, KeyRule,
    LEXICON_BYTES_MAX, Lexicon, MAIN, Method, MethodKind, Name, Object, Property, RecordType,
    SCHEMA_DEPTH_MAX, SCHEMAS_MAX, Schema, TextRules, UnionRules,
};
use crate::cbor::{self, Map, Value, key_order};
use crate::data::{DataError, json_to_cbor};
use crate::syntax::Nsid;

/// Says why a document is not a lexicon.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LexiconError {
    /// It is larger than [`LEXICON_BYTES_MAX`].
    #[error("the lexicon is larger than {LEXICON_BYTES_MAX} bytes")]
    TooLarge,
    /// It is not JSON of the data model.
    #[error("the lexicon is not data")]
    Json(#[source] DataError),
    /// It is not canonical DAG-CBOR.
    #[error("the lexicon is not data")]
    Cbor(#[source] cbor::DecodeError),
    /// A part of it is wrong.
    #[error("in {part}: {why}")]
    Part {
        /// The definition, or the lexicon's outermost field.
        part: String,
        /// What is wrong.
        why: &'static str,
    },
}

/// What is wrong, before the definition is named.
type Parsed<T> = Result<T, &'static str>;

impl Lexicon {
    /// Reads a lexicon from JSON.
    ///
    /// # Errors
    /// [`LexiconError`].
    pub fn from_json(json: &[u8]) -> Result<Self, LexiconError> {
        // JSON is at most a few times larger than what it holds.
        if json.len() > 4 * LEXICON_BYTES_MAX {
            return Err(LexiconError::TooLarge);
        }
        Self::from_cbor(&json_to_cbor(json).map_err(LexiconError::Json)?)
    }

    /// Reads a lexicon from a record of `com.atproto.lexicon.schema`.
    ///
    /// # Errors
    /// [`LexiconError`].
    pub fn from_cbor(record: &[u8]) -> Result<Self, LexiconError> {
        if record.len() > LEXICON_BYTES_MAX {
            return Err(LexiconError::TooLarge);
        }
        let value = cbor::decode(record).map_err(LexiconError::Cbor)?;
        let part = |part: &str| {
            let part = part.chars().take(64).collect();
            move |why| LexiconError::Part { part, why }
        };
        let map = value.as_map().ok_or("not an object").map_err(part("the lexicon"))?;
        if map.get("lexicon").and_then(Value::as_int) != Some(1) {
            return Err(part("lexicon")("must be 1"));
        }
        let id = map.get("id").and_then(Value::as_text).ok_or("must be text").map_err(part("id"))?;
        let id = Nsid::parse(id).map_err(|_| part("id")("must be an NSID"))?;
        let defs =
            map.get("defs").and_then(Value::as_map).ok_or("must be an object").map_err(part("defs"))?;
        if defs.len() > DEFINITIONS_MAX {
            return Err(part("defs")("too many"));
        }
        let mut reader = Reader { id: &id, schemas: 0 };
        let mut definitions: Vec<(Box<str>, Definition)> = Vec::with_capacity(defs.len());
        for (name, value) in defs.iter() {
            let definition = as_object(value).and_then(|map| reader.definition(name, map));
            definitions.push((Box::from(name), definition.map_err(part(name))?));
        }
        definitions.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        Ok(Self { definitions: definitions.into(), id })
    }
}

struct Reader<'a> {
    id: &'a Nsid,
    schemas: usize,
}

impl Reader<'_> {
    fn definition(&mut self, name: &str, map: &Map) -> Parsed<Definition> {
        let is_name = |text: &str| {
            text.starts_with(|c: char| c.is_ascii_alphabetic())
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        };
        if !is_name(name) {
            return Err("the name must be letters and digits");
        }
        let kind = text(map, "type")?.ok_or("has no type")?;
        let method = match kind {
            "query" => Some(MethodKind::Query),
            "procedure" => Some(MethodKind::Procedure),
            "subscription" => Some(MethodKind::Subscription),
            _ => None,
        };
        let is_primary = method.is_some() || matches!(kind, "record" | "permission-set");
        if is_primary && name != MAIN {
            return Err("this type must be named main");
        }
        if let Some(method) = method {
            return Ok(Definition::Method(Box::new(self.method(method, map)?)));
        }
        Ok(match kind {
            "record" => Definition::Record(RecordType {
                key: key_rule(text(map, "key")?.ok_or("has no key")?)?,
                object: self.object_in(required_map(map, "record")?, 0)?,
            }),
            "permission-set" => {
                required_list(map, "permissions")?;
                Definition::PermissionSet
            }
            "token" => Definition::Type(Schema::Token(
                Name::resolve(&format!("#{name}"), self.id).ok_or("bad name")?,
            )),
            "ref" | "union" | "unknown" => return Err("this type cannot be a definition"),
            _ => Definition::Type(self.schema(map, 0)?),
        })
    }

    fn method(&mut self, kind: MethodKind, map: &Map) -> Parsed<Method> {
        let parameters = optional_map(map, "parameters")?;
        let parameters = parameters.map(|map| {
            if text(map, "type")? != Some("params") {
                return Err("parameters must be params");
            }
            self.object(map, 0)
        });
        let message = optional_map(map, "message")?.map(|map| self.schema(required_map(map, "schema")?, 0));
        let mut errors = Vec::new();
        for error in optional_list(map, "errors")? {
            let name = text(as_object(error)?, "name")?.ok_or("an error has no name")?;
            errors.push(name.into());
        }
        Ok(Method {
            kind,
            parameters: parameters.transpose()?,
            input: optional_map(map, "input")?.map(|map| self.body(map)).transpose()?,
            output: optional_map(map, "output")?.map(|map| self.body(map)).transpose()?,
            message: message.transpose()?,
            errors: errors.into(),
        })
    }

    fn body(&mut self, map: &Map) -> Parsed<Body> {
        let schema = optional_map(map, "schema")?.map(|map| self.schema(map, 0)).transpose()?;
        Ok(Body { encoding: text(map, "encoding")?.ok_or("has no encoding")?.into(), schema })
    }

    fn schema(&mut self, map: &Map, depth: usize) -> Parsed<Schema> {
        self.schemas += 1;
        if self.schemas > SCHEMAS_MAX {
            return Err("too many types");
        }
        if depth > SCHEMA_DEPTH_MAX {
            return Err("nested too deep");
        }
        Ok(match text(map, "type")?.ok_or("has no type")? {
            "null" => Schema::Null,
            "boolean" => Schema::Boolean(optional(map, "const", Value::as_bool, "const must be a boolean")?),
            "integer" => Schema::Integer(Box::new(integer(map)?)),
            "string" => Schema::Text(Box::new(string(map)?)),
            "bytes" => Schema::Bytes(bounds(map, "minLength", "maxLength")?),
            "cid-link" => Schema::Link,
            "blob" => Schema::Blob(Box::new(BlobRules {
                accept: texts(map, "accept")?,
                size_max: number(map, "maxSize")?.map_or(u64::MAX, i64::unsigned_abs),
            })),
            "array" => Schema::Array(Box::new(ArrayRules {
                items: self.schema(required_map(map, "items")?, depth + 1)?,
                length: bounds(map, "minLength", "maxLength")?,
            })),
            "object" => Schema::Object(self.object(map, depth)?),
            "ref" => Schema::Ref(self.name(text(map, "ref")?.ok_or("has no ref")?)?),
            "union" => {
                let refs = texts(map, "refs")?;
                let of: Parsed<Box<[Name]>> = refs.iter().map(|name| self.name(name)).collect();
                let closed = optional(map, "closed", Value::as_bool, "closed must be a boolean")?;
                Schema::Union(Box::new(UnionRules { of: of?, closed: closed.unwrap_or(false) }))
            }
            "unknown" => Schema::Unknown,
            _ => return Err("this type is not known"),
        })
    }

    /// An object that must say that it is one.
    fn object_in(&mut self, map: &Map, depth: usize) -> Parsed<Object> {
        if text(map, "type")? != Some("object") {
            return Err("must be an object type");
        }
        self.object(map, depth)
    }

    fn object(&mut self, map: &Map, depth: usize) -> Parsed<Object> {
        let required = texts(map, "required")?;
        let nullable = texts(map, "nullable")?;
        let mut properties = Vec::new();
        if let Some(described) = optional_map(map, "properties")? {
            for (name, value) in described.iter() {
                let schema = self.schema(as_object(value)?, depth + 1)?;
                properties.push(Property::new(name, schema, &required, &nullable));
            }
        }
        for name in &required {
            if !properties.iter().any(|property| property.name == *name) {
                properties.push(Property::new(name, Schema::Anything, &required, &nullable));
            }
        }
        Ok(Object::new(properties))
    }

    fn name(&self, reference: &str) -> Parsed<Name> {
        Name::resolve(reference, self.id).ok_or("a ref is not a name of a definition")
    }
}

impl Property {
    fn new(name: &str, schema: Schema, required: &[Box<str>], nullable: &[Box<str>]) -> Self {
        let among = |names: &[Box<str>]| names.iter().any(|one| **one == *name);
        Self { name: name.into(), schema, required: among(required), nullable: among(nullable) }
    }
}

impl Object {
    /// Puts properties in the order in which data has them.
    pub(super) fn new(mut properties: Vec<Property>) -> Self {
        properties.sort_unstable_by(|a, b| key_order(a.name.as_bytes(), b.name.as_bytes()));
        Self { properties: properties.into() }
    }
}

/// Reads the rule for the names of records.
pub(super) fn key_rule(text: &str) -> Parsed<KeyRule> {
    Ok(match text {
        "any" => KeyRule::Any,
        "tid" => KeyRule::Tid,
        "nsid" => KeyRule::Nsid,
        _ => KeyRule::Literal(text.strip_prefix("literal:").ok_or("this kind of key is not known")?.into()),
    })
}

fn integer(map: &Map) -> Parsed<IntegerRules> {
    let one_of: Parsed<Box<[i64]>> = optional_list(map, "enum")?
        .iter()
        .map(|value| value.as_int().ok_or("enum must hold whole numbers"))
        .collect();
    let int = |key| optional(map, key, Value::as_int, "a bound of an integer must be a whole number");
    Ok(IntegerRules {
        min: int("minimum")?.unwrap_or(i64::MIN),
        max: int("maximum")?.unwrap_or(i64::MAX),
        constant: int("const")?,
        one_of: one_of?,
    })
}

fn string(map: &Map) -> Parsed<TextRules> {
    Ok(TextRules {
        format: text(map, "format")?.and_then(Format::of_name),
        bytes: bounds(map, "minLength", "maxLength")?,
        graphemes: bounds(map, "minGraphemes", "maxGraphemes")?,
        constant: text(map, "const")?.map(Box::from),
        one_of: texts(map, "enum")?,
    })
}

fn bounds(map: &Map, min: &'static str, max: &'static str) -> Parsed<Bounds> {
    let length = |key, otherwise| -> Parsed<usize> {
        Ok(number(map, key)?.map_or(otherwise, |n| usize::try_from(n).unwrap_or(usize::MAX)))
    };
    Ok(Bounds { min: length(min, 0)?, max: length(max, usize::MAX)? })
}

/// A field that must not be negative.
fn number(map: &Map, key: &str) -> Parsed<Option<i64>> {
    let found = optional(map, key, Value::as_int, "a length or size must be a whole number")?;
    if found.is_some_and(i64::is_negative) { Err("a length or size must not be negative") } else { Ok(found) }
}

fn optional<'a, T>(
    map: &'a Map,
    key: &str,
    read: impl FnOnce(&'a Value) -> Option<T>,
    why: &'static str,
) -> Parsed<Option<T>> {
    map.get(key).map(|value| read(value).ok_or(why)).transpose()
}

fn text<'a>(map: &'a Map, key: &str) -> Parsed<Option<&'a str>> {
    optional(map, key, Value::as_text, "a name or text must be text")
}

fn as_object(value: &Value) -> Parsed<&Map> {
    value.as_map().ok_or("must be an object")
}

fn optional_map<'a>(map: &'a Map, key: &str) -> Parsed<Option<&'a Map>> {
    optional(map, key, Value::as_map, "a part must be an object")
}

fn required_map<'a>(map: &'a Map, key: &str) -> Parsed<&'a Map> {
    optional_map(map, key)?.ok_or("a part is missing")
}

fn optional_list<'a>(map: &'a Map, key: &str) -> Parsed<&'a [Value]> {
    Ok(optional(map, key, Value::as_list, "a part must be a list")?.unwrap_or_default())
}

fn required_list<'a>(map: &'a Map, key: &str) -> Parsed<&'a [Value]> {
    optional(map, key, Value::as_list, "a part must be a list")?.ok_or("a part is missing")
}

fn texts(map: &Map, key: &str) -> Parsed<Box<[Box<str>]>> {
    let list = optional_list(map, key)?;
    list.iter().map(|value| value.as_text().map(Box::from).ok_or("a list must hold text")).collect()
}
