//! What the screen says about where the data is. Pure.

use control::placement::{Placement, PlacementQuestion, PlacementStatus};

use super::evidence::{DataState, Decision, Held, Note, Question};

/// Puts a decision into words. `percent` is how far a move is; `id` is the number of the question.
#[must_use]
pub fn status(decision: &Decision, percent: u8, id: u64) -> PlacementStatus {
    let data = match &decision.state {
        DataState::Starting => Placement::Starting,
        DataState::Live { disk } => Placement::Live { disk: disk.clone() },
        DataState::Moving { to } => Placement::Moving { to: to.clone(), percent },
        DataState::Held(held) => {
            let (title, why) = why_held(held);
            Placement::Held { title: title.to_owned(), why }
        }
    };
    PlacementStatus {
        data,
        question: decision.question.as_ref().map(|question| asked(question, id)),
        notes: decision.notes.iter().map(noted).collect(),
    }
}

fn why_held(held: &Held) -> (&'static str, String) {
    match held {
        Held::Missing { disk } => (
            "DISK IS MISSING",
            format!("Plug this disk back in: {disk}. All posts are on it; nothing takes its place."),
        ),
        Held::Pulled { disk } => (
            "DISK WAS PULLED",
            format!("Plug this disk back in: {disk}. All posts are on it; it goes on then."),
        ),
        Held::FoundData { disk } => ("DATA FOUND", format!("{disk} holds the data of a Perch.")),
        Held::Alike { one, other } => (
            "TWO SAME DISKS",
            format!("{one} and {other} hold the same data. Unplug the one that is the copy."),
        ),
        Held::TwoBoxes { one, other } => {
            ("WHOSE DATA?", format!("{one} and {other} hold the data of two boxes. Unplug one of them."))
        }
        Held::TwoBootDisks { one, other } => (
            "TWO START DISKS",
            format!("The box may have started from {one} or from {other}. Unplug one and restart."),
        ),
        Held::Damaged { disk } => {
            ("DISK IS DAMAGED", format!("{disk}: files are damaged. Nothing is written to it."))
        }
        Held::Unreadable { disk, why } => ("DISK UNREADABLE", format!("{disk}: {why}.")),
        Held::Foreign { disk, contents } => {
            ("NOT PERCH DATA", format!("{disk} has {contents} where the data belongs. It is not touched."))
        }
        Held::NoPlace => (
            "NO PLACE FOR DATA",
            "The disk that the box started from has none. Flash the card again.".to_owned(),
        ),
        Held::Failed { why } => ("DISK TROUBLE", format!("{why}. It is tried again every minute.")),
    }
}

fn asked(question: &Question, id: u64) -> PlacementQuestion {
    let (title, text) = match question {
        Question::UseDisk { disk, contents: None, .. } => (
            "USE THIS DISK?",
            format!("{}. It is empty. Hold the button to move the data there.", disk.words()),
        ),
        Question::UseDisk { disk, contents: Some(contents), sure: false } => {
            ("USE THIS DISK?", format!("{}. It holds: {contents}. Hold the button for that.", disk.words()))
        }
        Question::UseDisk { disk, contents: Some(contents), sure: true } => {
            ("ERASE IT ALL?", format!("{}: {contents}. Hold again and ALL of it is erased.", disk.words()))
        }
        Question::Adopt { disk } => (
            "USE THIS DATA?",
            format!("{} holds a Perch's data. Hold the button to go on with it.", disk.words()),
        ),
        Question::GiveUp { missing, sure: false, .. } => (
            "DISK IS MISSING",
            format!("Plug this disk back in: {}. Lost for good? Hold the button.", missing.disk),
        ),
        Question::GiveUp { missing, keep_disk, sure: true, .. } => (
            "GIVE IT UP?",
            format!("Hold again to go on from {keep_disk}. What is only on {} is LOST.", missing.disk),
        ),
        Question::BeginNew { missing } => (
            "OLD DATA FOUND",
            format!("The newer part is on {}: plug it in. Hold the button to begin anew.", missing.disk),
        ),
        Question::Repair { disk, .. } => (
            "REPAIR THE DISK?",
            format!("{disk} is damaged. Hold the button to repair; some files may be lost."),
        ),
    };
    PlacementQuestion { id, title: title.to_owned(), text }
}

fn noted(note: &Note) -> String {
    match note {
        Note::OldCopy { disk } => format!("{disk} holds an older copy of the data. It is not used."),
        Note::OtherBox { disk } => format!("{disk} holds the data of another Perch. It is not touched."),
        Note::StrangeCopy { disk } => {
            format!("{disk} holds a copy of Perch data that was made by hand. It is not touched.")
        }
        Note::Twin { disk } => {
            format!("{disk} holds the same data as the disk in use. Unplug it before the next start.")
        }
        Note::MoveFailed { disk, why } => {
            format!("The move to {disk} did not succeed: {why}. The data is where it was.")
        }
        Note::TooSmall { disk, needs_bytes } => {
            let needs_gb = needs_bytes.div_ceil(1_000_000_000);
            format!("{disk} is too small for the data: it takes {needs_gb} GB. The data stays where it is.")
        }
        Note::Mended { disk } => {
            format!("{disk} was not shut down in order; its file system was checked and mended.")
        }
    }
}
