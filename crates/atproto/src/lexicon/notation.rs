//! Reads lexicons in the notation of `known.txt`, which that file explains.
//!
//! Only what record types need is there: no methods, no constants. For our own file, not for strangers'.

use super::parse::key_rule;
use super::{
    ArrayRules, BlobRules, Bounds, Definition, Format, IntegerRules, Lexicon, Name, Object, Property,
    RecordType, Schema, TextRules, UnionRules,
};
use crate::syntax::Nsid;

/// Says which line is wrong, counted from 1, and how.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {why}")]
pub(super) struct NotationError {
    line: usize,
    why: &'static str,
}

type Read<T> = Result<T, &'static str>;

/// Reads a whole file.
pub(super) fn read(text: &str) -> Result<Vec<Lexicon>, NotationError> {
    let mut reader = Reader::default();
    for (index, line) in text.lines().enumerate() {
        let content = line.split_once("//").map_or(line, |(content, _)| content);
        reader.line(content).map_err(|why| NotationError { line: index + 1, why })?;
    }
    let last = text.lines().count();
    reader.end_lexicon().map_err(|why| NotationError { line: last, why })?;
    Ok(reader.lexicons)
}

/// A definition whose properties are being read.
enum Head {
    Record(super::KeyRule),
    Object(Box<str>),
}

#[derive(Default)]
struct Reader {
    lexicons: Vec<Lexicon>,
    id: Option<Nsid>,
    definitions: Vec<(Box<str>, Definition)>,
    head: Option<Head>,
    properties: Vec<Property>,
}

impl Reader {
    fn line(&mut self, line: &str) -> Read<()> {
        let Some((word, rest)) = first_word(line) else { return Ok(()) };
        if line.starts_with(char::is_whitespace) {
            return self.property(word, rest);
        }
        self.end_definition()?;
        match word {
            "lexicon" => {
                self.end_lexicon()?;
                self.id = Some(Nsid::parse(rest).map_err(|_| "an NSID must follow")?);
            }
            "record" => self.head = Some(Head::Record(key_rule(rest)?)),
            "object" => self.head = Some(Head::Object(rest.into())),
            "type" => {
                let (name, schema) = rest.split_once('=').ok_or("`name = type` must follow")?;
                let schema = Type { rest: schema, id: self.id()? }.whole()?;
                self.definitions.push((name.trim().into(), Definition::Type(schema)));
            }
            _ => return Err("a line begins with lexicon, record, object, type or a space"),
        }
        Ok(())
    }

    fn id(&self) -> Read<&Nsid> {
        self.id.as_ref().ok_or("no lexicon has begun")
    }

    fn property(&mut self, name: &str, schema: &str) -> Read<()> {
        if self.head.is_none() {
            return Err("no record or object has begun");
        }
        let (name, nullable) = name.strip_suffix('?').map_or((name, false), |name| (name, true));
        let (name, required) = name.strip_suffix('!').map_or((name, false), |name| (name, true));
        let schema = Type { rest: schema, id: self.id()? }.whole()?;
        self.properties.push(Property { name: name.into(), schema, required, nullable });
        Ok(())
    }

    fn end_definition(&mut self) -> Read<()> {
        let object = Object::new(std::mem::take(&mut self.properties));
        match self.head.take() {
            Some(Head::Record(key)) => {
                let record = Definition::Record(RecordType { key, object });
                self.definitions.push((super::MAIN.into(), record));
            }
            Some(Head::Object(name)) => {
                self.definitions.push((name, Definition::Type(Schema::Object(object))));
            }
            None => {}
        }
        Ok(())
    }

    fn end_lexicon(&mut self) -> Read<()> {
        self.end_definition()?;
        let mut definitions = std::mem::take(&mut self.definitions);
        definitions.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        if let Some(id) = self.id.take() {
            self.lexicons.push(Lexicon { id, definitions: definitions.into() });
        }
        Ok(())
    }
}

fn first_word(text: &str) -> Option<(&str, &str)> {
    let text = text.trim();
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    (!word.is_empty()).then(|| (word, rest.trim_start()))
}

/// A type that is being read.
struct Type<'a> {
    rest: &'a str,
    id: &'a Nsid,
}

impl<'a> Type<'a> {
    fn whole(mut self) -> Read<Schema> {
        let schema = self.schema()?;
        if self.rest.trim().is_empty() { Ok(schema) } else { Err("something follows the type") }
    }

    fn schema(&mut self) -> Read<Schema> {
        self.rest = self.rest.trim_start();
        if let Some(rest) = self.rest.strip_prefix('[') {
            self.rest = rest;
            let items = self.schema()?;
            self.rest = self.rest.trim_start().strip_prefix(']').ok_or("a list lacks its ]")?;
            return Ok(Schema::Array(Box::new(ArrayRules { items, length: self.bounds("")? })));
        }
        if let Some(rest) = self.rest.strip_prefix("union(") {
            let (names, rest) = rest.split_once(')').ok_or("a union lacks its )")?;
            self.rest = rest;
            let of: Read<Box<[Name]>> = names.split(',').map(|name| self.name(name.trim())).collect();
            return Ok(Schema::Union(Box::new(UnionRules { of: of?, closed: false })));
        }
        let word = self.word();
        Ok(match word {
            "boolean" => Schema::Boolean(None),
            "integer" => {
                let (min, max) = self.range("")?;
                let bound = |n: Option<u64>, open| n.map_or(open, |n| i64::try_from(n).unwrap_or(open));
                let (min, max) = (bound(min, i64::MIN), bound(max, i64::MAX));
                Schema::Integer(Box::new(IntegerRules { min, max, constant: None, one_of: Box::default() }))
            }
            "string" => self.text(None)?,
            "unknown" => Schema::Unknown,
            "link" => Schema::Link,
            "blob" => self.blob()?,
            _ => match Format::of_name(word) {
                Some(format) => self.text(Some(format))?,
                None => Schema::Ref(self.name(word)?),
            },
        })
    }

    fn text(&mut self, format: Option<Format>) -> Read<Schema> {
        let (bytes, graphemes) = (self.bounds("")?, self.bounds("g")?);
        Ok(Schema::Text(Box::new(TextRules {
            format,
            bytes,
            graphemes,
            constant: None,
            one_of: Box::default(),
        })))
    }

    fn blob(&mut self) -> Read<Schema> {
        let accept: Box<[Box<str>]> = match self.peek() {
            word if word.contains('/') => self.word().split(',').map(Box::from).collect(),
            _ => Box::default(),
        };
        let (_, size_max) = self.range("")?;
        Ok(Schema::Blob(Box::new(BlobRules { accept, size_max: size_max.unwrap_or(u64::MAX) })))
    }

    fn bounds(&mut self, unit: &str) -> Read<Bounds> {
        let (min, max) = self.range(unit)?;
        let bound = |n: Option<u64>, open| n.map_or(open, |n| usize::try_from(n).unwrap_or(open));
        Ok(Bounds { min: bound(min, 0), max: bound(max, usize::MAX) })
    }

    /// Reads `from..to` with a unit after it, if that is next; either number may be absent.
    fn range(&mut self, unit: &str) -> Read<(Option<u64>, Option<u64>)> {
        let Some((min, max)) = self.peek().split_once("..") else { return Ok((None, None)) };
        let number = |text: &str| match text {
            "" => Ok(None),
            _ => text.parse().map(Some).map_err(|_| "a bound must be a number"),
        };
        let Some(max) = max.strip_suffix(unit) else { return Ok((None, None)) };
        if unit.is_empty() && max.ends_with('g') {
            return Ok((None, None));
        }
        let range = (number(min)?, number(max)?);
        self.word();
        Ok(range)
    }

    /// The next word: up to a space or the end of a list.
    fn peek(&self) -> &'a str {
        let rest = self.rest.trim_start();
        rest.split(|c: char| c.is_whitespace() || c == ']').next().unwrap_or_default()
    }

    fn word(&mut self) -> &'a str {
        let word = self.peek();
        self.rest = self.rest.trim_start().get(word.len()..).unwrap_or_default();
        word
    }

    fn name(&self, text: &str) -> Read<Name> {
        Name::resolve(text, self.id).ok_or("neither a type nor a name of one")
    }
}
