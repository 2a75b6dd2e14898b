//! The record types that common clients write, checked as far as their outermost fields go.
//!
//! This keeps a client's mistake (a missing date, a text that is too long) out of the repo. It is not a lexicon
//! validator: what is inside objects and lists is not looked at, and other types are not known.

use std::{borrow::Cow, collections::HashMap};

use atproto::syntax::{AtUri, Datetime, Did, Handle, Nsid, Uri};
use serde_json::value::RawValue;

use crate::error::XrpcError;

/// What a field must be.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Text of at most so many bytes of UTF-8.
    Text(usize),
    Datetime,
    Did,
    Handle,
    AtUri,
    Uri,
    Object,
    /// A list of at most so many elements.
    List(usize),
    Integer,
    Boolean,
}

use Kind::{AtUri as At, Boolean, Datetime as Date, Did as D, Integer, List, Object, Text};

/// No bound but that of the record.
const ANY: usize = usize::MAX;

type Fields = &'static [(&'static str, Kind)];

/// Collection, required fields, optional fields: the lexicons' outermost level.
const KNOWN: &[(&str, Fields, Fields)] = &[
    (
        "app.bsky.feed.post",
        &[("text", Text(3000)), ("createdAt", Date)],
        &[
            ("facets", List(ANY)),
            ("reply", Object),
            ("embed", Object),
            ("langs", List(3)),
            ("labels", Object),
            ("tags", List(8)),
        ],
    ),
    ("app.bsky.feed.like", &[("subject", Object), ("createdAt", Date)], &[("via", Object)]),
    ("app.bsky.feed.repost", &[("subject", Object), ("createdAt", Date)], &[("via", Object)]),
    (
        "app.bsky.feed.generator",
        &[("did", D), ("displayName", Text(240)), ("createdAt", Date)],
        &[("description", Text(3000)), ("avatar", Object), ("acceptsInteractions", Boolean)],
    ),
    (
        "app.bsky.feed.threadgate",
        &[("post", At), ("createdAt", Date)],
        &[("allow", List(5)), ("hiddenReplies", List(300))],
    ),
    (
        "app.bsky.feed.postgate",
        &[("post", At), ("createdAt", Date)],
        &[("detachedEmbeddingUris", List(50)), ("embeddingRules", List(5))],
    ),
    ("app.bsky.graph.follow", &[("subject", D), ("createdAt", Date)], &[("via", Object)]),
    ("app.bsky.graph.block", &[("subject", D), ("createdAt", Date)], &[]),
    (
        "app.bsky.graph.list",
        &[("name", Text(64)), ("purpose", Text(ANY)), ("createdAt", Date)],
        &[("description", Text(3000)), ("avatar", Object), ("labels", Object)],
    ),
    ("app.bsky.graph.listitem", &[("subject", D), ("list", At), ("createdAt", Date)], &[]),
    ("app.bsky.graph.listblock", &[("subject", At), ("createdAt", Date)], &[]),
    (
        "app.bsky.graph.starterpack",
        &[("name", Text(500)), ("list", At), ("createdAt", Date)],
        &[("description", Text(3000)), ("feeds", List(3))],
    ),
    (
        "app.bsky.graph.verification",
        &[("subject", D), ("handle", Kind::Handle), ("displayName", Text(ANY)), ("createdAt", Date)],
        &[],
    ),
    (
        "app.bsky.actor.profile",
        &[],
        &[
            ("displayName", Text(640)),
            ("description", Text(2560)),
            ("pronouns", Text(200)),
            ("website", Kind::Uri),
            ("avatar", Object),
            ("banner", Object),
            ("labels", Object),
            ("pinnedPost", Object),
            ("joinedViaStarterPack", Object),
            ("createdAt", Date),
        ],
    ),
    (
        "app.bsky.actor.status",
        &[("status", Text(ANY)), ("createdAt", Date)],
        &[("embed", Object), ("durationMinutes", Integer)],
    ),
    ("app.bsky.labeler.service", &[("policies", Object), ("createdAt", Date)], &[("labels", Object)]),
    ("app.bsky.notification.declaration", &[("allowSubscriptions", Text(ANY))], &[]),
    ("chat.bsky.actor.declaration", &[("allowIncoming", Text(ANY))], &[]),
    ("com.atproto.lexicon.schema", &[("lexicon", Integer)], &[]),
];

/// Checks a record of a known type. False for a type that is not known here.
///
/// # Errors
/// 400 naming the field.
pub(crate) fn check(collection: &Nsid, record: &RawValue) -> Result<bool, XrpcError> {
    let name = collection.as_str();
    let Some((_, required, optional)) = KNOWN.iter().find(|(known, _, _)| *known == name) else {
        return Ok(false);
    };
    let refused =
        |why: String| Err(XrpcError::invalid_request(format!("Invalid {name} record: Record{why}")));
    // A record that is no object is refused by the encoder, in its own words.
    let Ok(fields) = serde_json::from_str::<HashMap<Cow<'_, str>, &RawValue>>(record.get()) else {
        return Ok(true);
    };
    for (field, kind) in *required {
        match fields.get(*field) {
            None => return refused(format!(" must have the property \"{field}\"")),
            Some(value) if !kind.fits(value.get()) => {
                return refused(format!("/{field} must be {}", kind.in_words()));
            }
            Some(_) => {}
        }
    }
    for (field, kind) in *optional {
        if fields.get(*field).is_some_and(|value| !kind.fits(value.get())) {
            return refused(format!("/{field} must be {}", kind.in_words()));
        }
    }
    Ok(true)
}

impl Kind {
    fn fits(self, json: &str) -> bool {
        let text = |fits: &dyn Fn(&str) -> bool| {
            serde_json::from_str::<Cow<'_, str>>(json).is_ok_and(|text| fits(&text))
        };
        match self {
            Self::Text(bytes_max) => text(&|t| t.len() <= bytes_max),
            Self::Datetime => text(&|t| Datetime::parse(t).is_ok()),
            Self::Did => text(&|t| Did::parse(t).is_ok()),
            Self::Handle => text(&|t| Handle::parse(t).is_ok()),
            Self::AtUri => text(&|t| AtUri::parse(t).is_ok()),
            Self::Uri => text(&|t| Uri::parse(t).is_ok()),
            Self::Object => json.starts_with('{'),
            Self::List(max) => serde_json::from_str::<Vec<&RawValue>>(json).is_ok_and(|l| l.len() <= max),
            Self::Integer => json.parse::<i64>().is_ok(),
            Self::Boolean => matches!(json, "true" | "false"),
        }
    }

    fn in_words(self) -> String {
        match self {
            Self::Text(ANY) => "a string".to_owned(),
            Self::Text(bytes_max) => format!("a string of at most {bytes_max} bytes"),
            Self::Datetime => "an valid atproto datetime (both RFC-3339 and ISO-8601)".to_owned(),
            Self::Did => "a valid did".to_owned(),
            Self::Handle => "a valid handle".to_owned(),
            Self::AtUri => "a valid at-uri".to_owned(),
            Self::Uri => "a uri".to_owned(),
            Self::Object => "an object".to_owned(),
            Self::List(ANY) => "an array".to_owned(),
            Self::List(max) => format!("an array of at most {max} elements"),
            Self::Integer => "an integer".to_owned(),
            Self::Boolean => "a boolean".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn verdict(collection: &str, record: &serde_json::Value) -> Result<bool, String> {
        let raw = serde_json::value::to_raw_value(record).unwrap();
        check(&Nsid::parse(collection).unwrap(), &raw).map_err(|e| e.message().to_owned())
    }

    #[test]
    fn posts_need_their_text_and_date() {
        let good =
            json!({ "text": "gr\u{fc}\u{df}e", "createdAt": "2026-11-23T02:34:56.789Z", "langs": ["de"] });
        assert_eq!(verdict("app.bsky.feed.post", &good), Ok(true));
        for (field, bad) in [
            ("text", json!(5)),
            ("text", json!("x".repeat(3001))),
            ("createdAt", json!("yesterday")),
            ("langs", json!(["a", "b", "c", "d"])),
            ("embed", json!("x")),
        ] {
            let mut record = good.clone();
            record[field] = bad;
            assert!(verdict("app.bsky.feed.post", &record).unwrap_err().contains(field), "{field}");
        }
        assert!(verdict("app.bsky.feed.post", &json!({ "text": "x" })).unwrap_err().contains("createdAt"));
    }

    #[test]
    fn other_types_are_unknown() {
        assert_eq!(verdict("com.example.thing", &json!({})), Ok(false));
        assert_eq!(verdict("app.bsky.actor.profile", &json!({})), Ok(true));
    }
}
