//! Where the data is, and what the box asks about it, in the owner's words.
//!
//! Written by the storage part of `perch-appliance`. Titles have at most 17 characters, texts fit the screen's five
//! lines of 25 where they can.

use serde::{Deserialize, Serialize};

/// Where the data is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub enum Placement {
    /// It is being looked for, checked, mounted.
    #[default]
    Starting,
    /// It is there.
    Live {
        /// Its disk.
        disk: String,
    },
    /// It moves to another disk; nothing can be posted meanwhile.
    Moving {
        /// The new disk.
        to: String,
        /// How far it is, per cent, copying and comparing together.
        percent: u8,
    },
    /// It is not available, and nothing takes its place.
    Held {
        /// What is wrong.
        title: String,
        /// Why, and what to do.
        why: String,
    },
}

/// Something that only presence decides: a long press while the screen shows it, or a code from the screen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PlacementQuestion {
    /// Counts the questions of this start: an answer names the question that was read, and counts for no other.
    pub id: u64,
    /// What it is about.
    pub title: String,
    /// The question, with disk, size and contents, and what a yes does.
    pub text: String,
}

/// The storage part's word.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PlacementStatus {
    /// Where the data is.
    pub data: Placement,
    /// What is asked.
    pub question: Option<PlacementQuestion>,
    /// What else is worth saying, whole sentences; nothing of it stops anything.
    pub notes: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_placement_survives_json() {
        let placement = PlacementStatus {
            data: Placement::Moving { to: "T7".to_owned(), percent: 40 },
            question: Some(PlacementQuestion { id: 3, ..PlacementQuestion::default() }),
            notes: vec!["a".to_owned()],
        };
        let text = serde_json::to_string(&placement).unwrap();
        assert_eq!(serde_json::from_str::<PlacementStatus>(&text).unwrap(), placement);
        assert_eq!(serde_json::from_str::<PlacementStatus>("{}").unwrap(), PlacementStatus::default());
    }
}
