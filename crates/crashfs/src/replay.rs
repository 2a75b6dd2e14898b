//! What a power cut may leave: the rules of a weak disk under a journaling file system, and seeded choices among them.
//!
//! What syncs made durable is kept, always. Of the rest:
//!
//! * A file's content is torn into sectors of [`SECTOR_BYTES`]; each shows its durable state or that after any of the
//!   later writes to it, whatever its neighbours show. A sector in grown room that was never written shows zeros or
//!   somebody's old bytes. The length is chosen in the same way, by itself: a longer file may lack its data.
//! * A name's making, change and removal happen or not, independently of each other and of contents. A rename is never
//!   half done within a folder, and never loses the file; between folders the old name may stay beside the new one.
//! * A sync of a file does not make its name durable, nor the other way round.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fastrand::Rng;

use crate::disk::ROOT_INO;
use crate::image::Image;
use crate::log::{Ino, Log, Name, Op};

/// The unit in which a disk writes: it is old or new, never a mixture.
pub const SECTOR_BYTES: usize = 512;

/// One cut in this many finds old bytes instead of zeros where a file grew.
const STALE_ONE_IN: u32 = 4;

/// How the choices of one cut are made; each finds other faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Nothing but what was synced.
    Nothing,
    /// Everything but one sector, length or name.
    AllButOne,
    /// Each choice by itself.
    Scattered,
    /// In the order of the log up to some point, where the last write is torn.
    Prefix,
    /// All of some files and names, nothing of the others.
    WholeFiles,
}

impl Manner {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Nothing, Self::AllButOne, Self::Scattered, Self::Prefix, Self::WholeFiles];
}

/// A walk through a log that knows what is durable.
#[derive(Debug)]
pub struct Replay<'l> {
    log: &'l Log,
    at: usize,
    files: BTreeMap<Ino, FileState>,
    dirs: BTreeMap<Ino, BTreeMap<String, Ino>>,
    /// Changes of names that are not durable, with their places in the log.
    names: Vec<(usize, NameChange)>,
}

#[derive(Debug, Default)]
struct FileState {
    durable: Arc<Vec<u8>>,
    /// Places in the log of writes and cuts since the last sync.
    pending: Vec<usize>,
}

#[derive(Clone, Debug)]
enum NameChange {
    Link { at: Name, node: Ino },
    Unlink { at: Name, node: Ino },
    Rename { from: Name, to: Name, node: Ino, replaced: Option<Ino> },
}

/// Something that a cut decides: how many of the changes `by` (places in the log) have reached the disk.
#[derive(Debug)]
struct Choice {
    what: What,
    by: Vec<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Sector(Ino, usize),
    Len(Ino),
    /// Place in the list of pending changes of names.
    Name(usize),
}

impl<'l> Replay<'l> {
    /// Starts before the first thing that happened.
    #[must_use]
    pub fn new(log: &'l Log) -> Self {
        let dirs = BTreeMap::from([(ROOT_INO, BTreeMap::new())]);
        Self { log, at: 0, files: BTreeMap::new(), dirs, names: Vec::new() }
    }

    /// Gives the number of things that have happened before this point.
    #[must_use]
    pub fn position(&self) -> usize {
        self.at
    }

    /// Goes forward until `position` things have happened; never back.
    pub fn advance_to(&mut self, position: usize) {
        while self.at < position {
            let Some(op) = self.log.ops.get(self.at) else { return };
            self.step(op);
            self.at += 1;
        }
    }

    fn step(&mut self, op: &Op) {
        match op {
            Op::Write { file, .. } | Op::Truncate { file, .. } => {
                self.files.entry(*file).or_default().pending.push(self.at);
            }
            Op::Sync { file } => {
                let state = self.files.entry(*file).or_default();
                let content = Arc::make_mut(&mut state.durable);
                for place in state.pending.drain(..) {
                    apply_whole(content, self.log.ops.get(place));
                }
            }
            Op::Link { at, node, is_dir } => {
                if *is_dir {
                    self.dirs.entry(*node).or_default();
                } else {
                    self.files.entry(*node).or_default();
                }
                self.names.push((self.at, NameChange::Link { at: at.clone(), node: *node }));
            }
            Op::Unlink { at, node } => {
                self.names.push((self.at, NameChange::Unlink { at: at.clone(), node: *node }));
            }
            Op::Rename { from, to, node, replaced } => {
                let change = NameChange::Rename {
                    from: from.clone(),
                    to: to.clone(),
                    node: *node,
                    replaced: *replaced,
                };
                self.names.push((self.at, change));
            }
            Op::SyncDir { dir } => self.sync_dir(*dir),
            Op::Ack { .. } => {}
        }
    }

    /// Makes what happened to the names of a folder durable.
    fn sync_dir(&mut self, dir: Ino) {
        for (place, change) in std::mem::take(&mut self.names) {
            match change {
                NameChange::Link { at, node } if at.dir == dir => set(&mut self.dirs, at, node),
                NameChange::Unlink { at, node } if at.dir == dir => clear(&mut self.dirs, &at, node),
                NameChange::Rename { from, to, node, .. } if to.dir == dir || from.dir == dir => {
                    set(&mut self.dirs, to, node);
                    if from.dir == dir {
                        clear(&mut self.dirs, &from, node);
                    } else {
                        // The folder that the file left was not synced: the old name may still be there.
                        self.names.push((place, NameChange::Unlink { at: from, node }));
                    }
                }
                other => self.names.push((place, other)),
            }
        }
    }

    /// Cuts the power here, and gives what the disk shows then.
    ///
    /// When anything is not durable, at least one choice is dropped.
    #[must_use]
    pub fn cut(&self, rng: &mut Rng, manner: Manner) -> Image {
        let choices = self.choices();
        let mut reached = decide(&choices, rng, manner);
        let is_whole = |(choice, reached): (&Choice, &usize)| *reached == choice.by.len();
        if !choices.is_empty() && choices.iter().zip(&reached).all(is_whole) {
            let victim = rng.usize(..choices.len());
            if let (Some(reached), Some(choice)) = (reached.get_mut(victim), choices.get(victim)) {
                *reached = rng.usize(..choice.by.len());
            }
        }
        let dropped = choices.iter().zip(&reached).filter(|pair| !is_whole(*pair)).count();
        let stale = rng.u32(..STALE_ONE_IN) == 0;
        let verdicts: BTreeMap<What, (usize, Option<usize>)> = choices
            .iter()
            .zip(reached)
            .map(|(choice, reached)| {
                let last = reached.checked_sub(1).and_then(|last| choice.by.get(last)).copied();
                (choice.what, (reached, last))
            })
            .collect();
        let mut image = Image { open_choices: choices.len(), dropped, ..Image::default() };
        let dirs = self.names_after(&verdicts);
        let mut show =
            Show { replay: self, dirs: &dirs, verdicts: &verdicts, rng, stale, shown: BTreeMap::new() };
        show.folder(ROOT_INO, Path::new(""), &mut image);
        image
    }

    /// Lists what is not decided here.
    fn choices(&self) -> Vec<Choice> {
        let mut choices = Vec::new();
        for (file, state) in &self.files {
            let mut sectors: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
            let (mut len, mut lens) = (state.durable.len(), Vec::new());
            for place in &state.pending {
                let (touched, new_len) = extent(self.log.ops.get(*place), len);
                for sector in touched.start / SECTOR_BYTES..touched.end.div_ceil(SECTOR_BYTES) {
                    sectors.entry(sector).or_default().push(*place);
                }
                if new_len != len {
                    lens.push(*place);
                    len = new_len;
                }
            }
            let of_sector = |(sector, by)| Choice { what: What::Sector(*file, sector), by };
            choices.extend(sectors.into_iter().map(of_sector));
            if !lens.is_empty() {
                choices.push(Choice { what: What::Len(*file), by: lens });
            }
        }
        let of_name = |(number, (place, _)): (usize, &(usize, NameChange))| Choice {
            what: What::Name(number),
            by: vec![*place],
        };
        choices.extend(self.names.iter().enumerate().map(of_name));
        choices
    }

    /// Gives the folders with those changes that reached the disk.
    fn names_after(
        &self,
        verdicts: &BTreeMap<What, (usize, Option<usize>)>,
    ) -> BTreeMap<Ino, BTreeMap<String, Ino>> {
        let mut dirs = self.dirs.clone();
        for (number, (_, change)) in self.names.iter().enumerate() {
            if verdicts.get(&What::Name(number)).is_none_or(|(reached, _)| *reached == 0) {
                continue;
            }
            // A change that builds on one that did not reach the disk cannot have happened, nor may it take a name
            // from a file that kept it because an earlier change is missing.
            let now = |dirs: &BTreeMap<Ino, BTreeMap<String, Ino>>, at: &Name| {
                dirs.get(&at.dir).and_then(|names| names.get(&at.name)).copied()
            };
            match change {
                NameChange::Link { at, node } if now(&dirs, at).is_none() => {
                    set(&mut dirs, at.clone(), *node);
                }
                NameChange::Unlink { at, node } => clear(&mut dirs, at, *node),
                NameChange::Rename { from, to, node, replaced }
                    if now(&dirs, from) == Some(*node)
                        && now(&dirs, to).is_none_or(|there| Some(there) == *replaced) =>
                {
                    clear(&mut dirs, from, *node);
                    set(&mut dirs, to.clone(), *node);
                }
                NameChange::Link { .. } | NameChange::Rename { .. } => {}
            }
        }
        dirs
    }
}

/// Decides for each choice how many of its changes reached the disk.
fn decide(choices: &[Choice], rng: &mut Rng, manner: Manner) -> Vec<usize> {
    let some_choice = if choices.is_empty() { 0 } else { rng.usize(..choices.len()) };
    let some_place =
        choices.get(some_choice).and_then(|choice| choice.by.get(rng.usize(..choice.by.len()))).copied();
    let mut files: BTreeMap<Option<Ino>, bool> = BTreeMap::new();
    let mut one = |number: usize, choice: &Choice| -> usize {
        let all = choice.by.len();
        match manner {
            Manner::Nothing => 0,
            Manner::AllButOne if number == some_choice => rng.usize(..all),
            Manner::AllButOne => all,
            Manner::Scattered => rng.usize(..=all),
            Manner::Prefix => {
                let before = choice.by.iter().filter(|place| Some(**place) < some_place).count();
                let torn = choice.by.iter().any(|place| Some(*place) == some_place);
                before + usize::from(torn && rng.bool())
            }
            Manner::WholeFiles => {
                let keep = match choice.what {
                    What::Sector(file, _) | What::Len(file) => {
                        *files.entry(Some(file)).or_insert_with(|| rng.bool())
                    }
                    What::Name(_) => rng.bool(),
                };
                if keep { all } else { 0 }
            }
        }
    };
    choices.iter().enumerate().map(|(number, choice)| one(number, choice)).collect()
}

/// What one cut shows.
struct Show<'r, 'l> {
    replay: &'r Replay<'l>,
    dirs: &'r BTreeMap<Ino, BTreeMap<String, Ino>>,
    verdicts: &'r BTreeMap<What, (usize, Option<usize>)>,
    rng: &'r mut Rng,
    stale: bool,
    /// A file under two names shows the same under both.
    shown: BTreeMap<Ino, Arc<Vec<u8>>>,
}

impl Show<'_, '_> {
    fn folder(&mut self, dir: Ino, path: &Path, image: &mut Image) {
        for (name, node) in self.dirs.get(&dir).into_iter().flatten() {
            let path: PathBuf = path.join(name);
            if self.dirs.contains_key(node) {
                image.dirs.insert(path.clone());
                self.folder(*node, &path, image);
            } else {
                let content = match self.shown.get(node) {
                    Some(content) => Arc::clone(content),
                    None => self.file(*node),
                };
                self.shown.insert(*node, Arc::clone(&content));
                image.files.insert(path, content);
            }
        }
    }

    fn file(&mut self, file: Ino) -> Arc<Vec<u8>> {
        let Some(state) = self.replay.files.get(&file) else { return Arc::default() };
        if state.pending.is_empty() {
            return Arc::clone(&state.durable);
        }
        let ops = &self.replay.log.ops;
        let (mut len, mut longest) = (state.durable.len(), state.durable.len());
        let mut shown_len = len;
        let last_len = self.verdicts.get(&What::Len(file)).and_then(|(_, last)| *last);
        for place in &state.pending {
            len = extent(ops.get(*place), len).1;
            longest = longest.max(len);
            if Some(*place) <= last_len {
                shown_len = len;
            }
        }
        let mut content = state.durable.to_vec();
        content.resize(longest, 0);
        let mut len = state.durable.len();
        for place in &state.pending {
            let op = ops.get(*place);
            let (touched, new_len) = extent(op, len);
            for sector in touched.start / SECTOR_BYTES..touched.end.div_ceil(SECTOR_BYTES) {
                let last = self.verdicts.get(&What::Sector(file, sector)).and_then(|(_, last)| *last);
                if Some(*place) <= last {
                    apply_sector(&mut content, op, sector);
                } else if last.is_none() && self.stale {
                    self.fill_grown(&mut content, state.durable.len(), sector);
                }
            }
            len = new_len;
        }
        content.resize(shown_len, 0);
        Arc::new(content)
    }

    /// Puts somebody's old bytes into a sector beyond the durable end.
    fn fill_grown(&mut self, content: &mut [u8], durable_len: usize, sector: usize) {
        let start = sector.saturating_mul(SECTOR_BYTES).max(durable_len);
        let end = sector.saturating_add(1).saturating_mul(SECTOR_BYTES).min(content.len());
        if let Some(grown) = content.get_mut(start..end) {
            self.rng.fill(grown);
        }
    }
}

/// Gives the bytes that a write or cut touches in a file of some length, and the length after it.
fn extent(op: Option<&Op>, len: usize) -> (std::ops::Range<usize>, usize) {
    match op {
        Some(Op::Write { offset, bytes, .. }) => {
            let end = offset.saturating_add(bytes.len());
            (*offset..end, len.max(end))
        }
        Some(Op::Truncate { len: new_len, .. }) => (*new_len..len.max(*new_len), *new_len),
        _ => (0..0, len),
    }
}

/// Does a write or cut.
fn apply_whole(content: &mut Vec<u8>, op: Option<&Op>) {
    match op {
        Some(Op::Write { offset, bytes, .. }) => {
            let end = offset.saturating_add(bytes.len());
            if content.len() < end {
                content.resize(end, 0);
            }
            if let Some(to) = content.get_mut(*offset..end) {
                to.copy_from_slice(bytes);
            }
        }
        Some(Op::Truncate { len, .. }) => content.resize(*len, 0),
        _ => {}
    }
}

/// Does the part of a write or cut that falls into one sector. `content` is long enough for all writes.
fn apply_sector(content: &mut [u8], op: Option<&Op>, sector: usize) {
    let first = sector.saturating_mul(SECTOR_BYTES);
    let end = first.saturating_add(SECTOR_BYTES).min(content.len());
    match op {
        Some(Op::Write { offset, bytes, .. }) => {
            let (from, to) = (first.max(*offset), end.min(offset.saturating_add(bytes.len())));
            let source = from.checked_sub(*offset).zip(to.checked_sub(*offset));
            let source = source.and_then(|(from, to)| bytes.get(from..to));
            if let (Some(target), Some(source)) = (content.get_mut(from..to), source) {
                target.copy_from_slice(source);
            }
        }
        Some(Op::Truncate { len, .. }) => {
            if let Some(target) = content.get_mut(first.max(*len)..end) {
                target.fill(0);
            }
        }
        _ => {}
    }
}

fn set(dirs: &mut BTreeMap<Ino, BTreeMap<String, Ino>>, at: Name, node: Ino) {
    dirs.entry(at.dir).or_default().insert(at.name, node);
}

/// Removes a name if it still means that file.
fn clear(dirs: &mut BTreeMap<Ino, BTreeMap<String, Ino>>, at: &Name, node: Ino) {
    let Some(names) = dirs.get_mut(&at.dir) else { return };
    if names.get(&at.name) == Some(&node) {
        names.remove(&at.name);
    }
}

#[cfg(test)]
mod tests;
