//! What the owner gave: the file's keys and the environment's variables, each with its place, and a word about every
//! name that is no setting.

use std::{collections::BTreeMap, fmt};

use toml::de::{DeTable, DeValue};

use super::{ENV_PREFIX, Problem, table, value::Value};

/// How like a setting's name a wrong one must be for a suggestion, 0 to 1. Two names of unlike words have 0.5 or so.
const LIKENESS_MIN: f64 = 0.65;

/// Where a value was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// In the file.
    Line {
        /// Its name, as the owner gave it.
        file: String,
        /// Counted from one.
        line: usize,
    },
    /// In a variable.
    Variable(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line { file, line } => write!(f, "{file}:{line}"),
            Self::Variable(name) => f.write_str(name),
        }
    }
}

/// One value and its place.
#[derive(Clone, Debug)]
pub(super) struct Given {
    /// The value, its form unknown yet.
    pub(super) value: Value,
    /// Its place.
    pub(super) origin: Origin,
}

/// All that was given, by the setting's name.
pub(super) type AllGiven = BTreeMap<&'static str, Given>;

/// Reads the file's text.
pub(super) fn from_file(text: &str, file: &str, problems: &mut Vec<Problem>) -> AllGiven {
    let line_of = |at: usize| text.get(..at).unwrap_or(text).matches('\n').count() + 1;
    let origin = |at: usize| Origin::Line { file: file.to_owned(), line: line_of(at) };
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        // The error's own picture shows the line, and the line may hold a secret: only its words are used.
        let place = origin(error.span().map_or(0, |span| span.start));
        problems.push(Problem::at(&place, format!("is not TOML: {}", error.message())));
    }
    if !errors.is_empty() {
        // What could be read would be judged without what could not.
        return AllGiven::new();
    }
    let mut given = AllGiven::new();
    for (key, value) in table.get_ref() {
        let place = origin(key.span().start);
        match table::all().find(|setting| setting.name == key.get_ref().as_ref()) {
            Some(setting) => {
                given.insert(setting.name, Given { value: value_of(value.get_ref()), origin: place });
            }
            None => problems.push(Problem::at(
                &place,
                format!("{} {}", key.get_ref(), unknown(key.get_ref(), str::to_owned)),
            )),
        }
    }
    given
}

fn value_of(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::Text(text.clone().into_owned()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or(Value::Other("number that is too large"), Value::Number),
        DeValue::Boolean(on) => Value::Switch(*on),
        DeValue::Float(_) => Value::Other("number with a fraction"),
        DeValue::Datetime(_) => Value::Other("date"),
        DeValue::Table(_) => Value::Other("table"),
        DeValue::Array(items) => {
            let texts: Option<Vec<String>> =
                items.iter().map(|item| item.get_ref().as_str().map(str::to_owned)).collect();
            texts.map_or(Value::Other("list of something else than texts"), Value::List)
        }
    }
}

/// Lays the environment over what the file gave.
pub(super) fn overlay(
    given: &mut AllGiven,
    variables: impl IntoIterator<Item = (String, String)>,
    problems: &mut Vec<Problem>,
) {
    for (variable, text) in variables {
        let Some(name) = variable.strip_prefix(ENV_PREFIX) else { continue };
        let setting = table::all().find(|setting| setting.variable() == variable);
        let origin = Origin::Variable(variable.clone());
        match setting {
            Some(setting) => {
                given.insert(setting.name, Given { value: Value::Text(text), origin });
            }
            None => {
                let as_variable = |name: &str| format!("{ENV_PREFIX}{}", name.to_ascii_uppercase());
                problems.push(Problem(format!(
                    "{variable} {}",
                    unknown(&name.to_ascii_lowercase(), as_variable)
                )));
            }
        }
    }
}

/// What to say about a name that is no setting.
fn unknown(name: &str, spelled: impl Fn(&str) -> String) -> String {
    let likeness = |other: &str| {
        let letters = strsim::normalized_damerau_levenshtein(name, other);
        // `smtp` for `smtp_url`, `limit_import` for `import_limit`: the right words, wrongly put together.
        let words = other.starts_with(name) || name.starts_with(other) || same_words(name, other);
        if words { letters.max(LIKENESS_MIN) } else { letters }
    };
    let nearest = table::all()
        .map(|setting| (likeness(setting.name), setting.name))
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .filter(|(likeness, _)| *likeness >= LIKENESS_MIN);
    match nearest {
        Some((_, right)) => format!("is no setting; did you mean {}?", spelled(right)),
        None => "is no setting; docs/settings.md lists them".to_owned(),
    }
}

fn same_words(a: &str, b: &str) -> bool {
    let sorted = |text: &str| {
        let mut words: Vec<&str> = text.split(['_', '-']).collect();
        words.sort_unstable();
        words.join("_")
    };
    sorted(a) == sorted(b)
}
