//! Where the data lives: from what is plugged in and what was answered to the next single order. Pure.
//!
//! The table of situations is `docs/design/008-storage.md`; each row has a test. After every order the disks are
//! looked at anew and this is asked again, so that a cut at any point is only another thing that is seen: what must be
//! remembered lies in the marks on the disks.

use platform::DiskKind;
use platform::volumes::{CheckResult, Holds, SeenDisk, SeenVolume, VolumeId};

use super::copies::{self, Choice, Copy, Odd};
use super::evidence::{Action, DataState, Decision, Evidence, Held, Limits, Note, Question, Session};
use super::identity::{ApplianceId, CopyState, FORMAT, Identity, Place};

/// Decides.
#[must_use]
pub fn decide(evidence: &Evidence, limits: &Limits) -> Decision {
    let (copies, odd) = copies::read(&evidence.disks);
    let view = View { evidence, limits, copies: &copies, odd: &odd };
    let mut decision = view.decide();
    decision.notes.extend(view.notes(&decision));
    let failed = |action: &Action| evidence.session.failed.iter().find(|(failed, _)| failed == action);
    if let Some((_, why)) = decision.action.as_ref().and_then(failed) {
        decision.state = DataState::Held(Held::Failed { why: why.clone() });
        decision.action = None;
    }
    decision
}

struct View<'a> {
    evidence: &'a Evidence,
    limits: &'a Limits,
    copies: &'a [Copy<'a>],
    odd: &'a [Odd<'a>],
}

impl<'a> View<'a> {
    fn session(&self) -> &Session {
        &self.evidence.session
    }

    fn decide(&self) -> Decision {
        if let Some(decision) = self.pulled() {
            return decision;
        }
        let mut boots = self.evidence.disks.iter().filter(|disk| disk.is_boot);
        if let (Some(one), Some(other), None) = (boots.next(), boots.next(), &self.evidence.live) {
            return held(Held::TwoBootDisks { one: one.words(), other: other.words() });
        }
        let Some((boot, place)) = self.boot_place() else { return held(Held::NoPlace) };
        if let Some(odd) = self.odd.iter().find(|odd| std::ptr::eq(odd.volume, place)) {
            return self.unreadable(odd);
        }
        let anchor = self.copies.iter().find(|copy| std::ptr::eq(copy.volume, place));
        match anchor {
            Some(anchor) => self.known_box(anchor),
            None => self.first_start(boot, place),
        }
    }

    /// The disk that was started from, and the place for data on it.
    fn boot_place(&self) -> Option<(&'a SeenDisk, &'a SeenVolume)> {
        let boot = self.evidence.disks.iter().find(|disk| disk.is_boot)?;
        let place = boot.volumes.iter().find(|volume| volume.is_data_place)?;
        Some((boot, place))
    }

    /// The data disk was in use and is not there: it must come back, whatever else is plugged in.
    fn pulled(&self) -> Option<Decision> {
        let seen = |wanted: &VolumeId| {
            self.evidence.disks.iter().find(|disk| disk.volumes.iter().any(|volume| volume.id == *wanted))
        };
        if let Some(live) = &self.evidence.live {
            let is_there = self.evidence.disks.iter().any(|disk| {
                disk.attached == live.attached && disk.volumes.iter().any(|volume| volume.id == live.volume)
            });
            let action = (!is_there).then_some(Action::Unmount { torn_off: true });
            return action.map(|action| Decision {
                action: Some(action),
                ..held(Held::Pulled { disk: live.disk.clone() })
            });
        }
        let gone = self.session().pulled.as_ref()?;
        if seen(&gone.volume).is_some() {
            return None;
        }
        let mut decision = held(Held::Pulled { disk: gone.disk.clone() });
        // Lost for good, it may be given up as one that is missing at the start.
        let anchor = self
            .boot_place()
            .and_then(|(_, place)| self.copies.iter().find(|copy| std::ptr::eq(copy.volume, place)));
        match anchor.and_then(|anchor| copies::choose(self.copies, &anchor.identity.appliance)) {
            Some(Choice::Alive(copy)) if copy.identity.generation > gone.generation => return None,
            Some(Choice::Missing(missing)) if missing.volume == gone.volume => {
                let given_up = anchor.map(|anchor| self.missing(&anchor.identity.appliance, &missing));
                decision.question = given_up.as_ref().and_then(|given_up| given_up.question.clone());
                decision.action = given_up.and_then(|given_up| given_up.action);
            }
            _ => {}
        }
        Some(decision)
    }

    fn unreadable(&self, odd: &Odd<'_>) -> Decision {
        let disk = odd.disk.words();
        let Some(why) = &odd.why else {
            return held(Held::Foreign { disk, contents: "a copy of Perch data made by hand".to_owned() });
        };
        let unreadable = held(Held::Unreadable { disk, why: why.clone() });
        match self.session().checked.get(&odd.volume.id) {
            Some(CheckResult::Damaged) => self.damaged(odd.volume, odd.disk),
            Some(CheckResult::Clean | CheckResult::Mended) => unreadable,
            None => {
                let action = Some(Action::Check { volume: odd.volume.id.clone(), repair: false });
                Decision { action, ..unreadable }
            }
        }
    }

    /// A box that has no mark on its boot disk: a new one, or a new card in an old one.
    fn first_start(&self, boot: &SeenDisk, place: &SeenVolume) -> Decision {
        match &place.holds {
            Holds::Nothing | Holds::EmptyFileSystem => {}
            Holds::Marked(_) => return held(Held::NoPlace),
            Holds::Foreign(contents) => {
                return held(Held::Foreign { disk: boot.words(), contents: contents.clone() });
            }
            Holds::Unreadable(why) => {
                return held(Held::Unreadable { disk: boot.words(), why: why.clone() });
            }
        }
        let mut boxes: Vec<&ApplianceId> = self.copies.iter().map(|copy| &copy.identity.appliance).collect();
        boxes.sort();
        boxes.dedup();
        if let [one, other, ..] = boxes.as_slice() {
            let words = |wanted: &ApplianceId| {
                let copy = self.copies.iter().find(|copy| copy.identity.appliance == *wanted);
                copy.map(|copy| copy.disk.words()).unwrap_or_default()
            };
            return held(Held::TwoBoxes { one: words(one), other: words(other) });
        }
        let Some(choice) = boxes.first().and_then(|appliance| copies::choose(self.copies, appliance)) else {
            return self.found(boot, place);
        };
        match choice {
            Choice::Alike(one, other) => alike(one, other),
            Choice::Missing(missing) => {
                let question = Question::BeginNew { missing: missing.clone() };
                if self.session().yes.contains(&question) {
                    return self.found(boot, place);
                }
                Decision { question: Some(question), ..held(Held::Missing { disk: missing.disk }) }
            }
            Choice::Alive(found) | Choice::Promote(found) => {
                let question = Question::Adopt { disk: found.disk.clone() };
                if !self.session().yes.contains(&question) {
                    let disk = found.disk.words();
                    return Decision { question: Some(question), ..held(Held::FoundData { disk }) };
                }
                if !self.session().boot_prepared {
                    return starting(Action::PrepareBoot { disk: boot.clone() });
                }
                let identity = Identity {
                    format: FORMAT,
                    appliance: found.identity.appliance.clone(),
                    generation: 0,
                    volume: place.id.clone(),
                    state: CopyState::Superseded { by: found.place() },
                };
                starting(Action::Mark { volume: place.id.clone(), identity })
            }
        }
    }

    /// Makes a new box, on the disk that was started from.
    fn found(&self, boot: &SeenDisk, place: &SeenVolume) -> Decision {
        if !self.session().boot_prepared {
            return starting(Action::PrepareBoot { disk: boot.clone() });
        }
        starting(Action::Found { volume: place.id.clone() })
    }

    fn known_box(&self, anchor: &Copy<'_>) -> Decision {
        let appliance = &anchor.identity.appliance;
        match copies::choose(self.copies, appliance) {
            None => held(Held::NoPlace),
            Some(Choice::Alike(one, other)) => match &self.evidence.live {
                // The one in use is the living one for as long as it runs.
                Some(live) => Decision {
                    state: DataState::Live { disk: live.disk.clone() },
                    notes: vec![Note::Twin { disk: other.disk.words() }],
                    ..alike(one, other)
                },
                None => alike(one, other),
            },
            Some(Choice::Missing(missing)) => self.missing(appliance, &missing),
            Some(Choice::Promote(copy)) => {
                if let Some(decision) = self.leave(copy) {
                    return decision;
                }
                if let Some(decision) = self.not_sound(copy) {
                    return decision;
                }
                let identity = copy.identity.with(CopyState::Whole);
                Decision {
                    action: Some(Action::Mark { volume: copy.volume.id.clone(), identity }),
                    ..moving(copy)
                }
            }
            Some(Choice::Alive(copy)) => self.alive(copy, anchor),
        }
    }

    /// The newest copy is not there. Nothing takes its place, unless it is given up twice.
    fn missing(&self, appliance: &ApplianceId, missing: &Place) -> Decision {
        if self.evidence.live.is_some() {
            return Decision {
                action: Some(self.stop_then(Action::Unmount { torn_off: false })),
                ..held(Held::Missing { disk: missing.disk.clone() })
            };
        }
        let mut decision = held(Held::Missing { disk: missing.disk.clone() });
        if let Some(odd) = self.odd.iter().find(|odd| odd.volume.id == missing.volume) {
            decision = self.unreadable(odd);
        }
        let Some(keep) = copies::fallback(self.copies, appliance) else { return decision };
        let ask = |sure| Question::GiveUp {
            missing: missing.clone(),
            keep: keep.volume.id.clone(),
            keep_disk: keep.disk.words(),
            sure,
        };
        let (first, second) = (ask(false), ask(true));
        let yes = &self.session().yes;
        if !yes.contains(&first) {
            decision.question = decision.question.or(Some(first));
        } else if !yes.contains(&second) {
            decision.question = Some(second);
        } else if self.session().jump_noted.as_ref() != Some(&keep.volume.id) {
            decision.action = Some(Action::NoteJump { volume: keep.volume.id.clone() });
        } else {
            let highest = self.copies.iter().map(|copy| copy.identity.generation).max().unwrap_or(0);
            let generation = highest.max(missing.generation).saturating_add(1);
            let identity = Identity { generation, ..keep.identity.with(CopyState::Whole) };
            decision.action = Some(Action::Mark { volume: keep.volume.id.clone(), identity });
        }
        decision
    }

    /// Unmounts what is mounted in the place of `copy`, if anything.
    fn leave(&self, copy: &Copy<'_>) -> Option<Decision> {
        let live = self.evidence.live.as_ref()?;
        if live.volume == copy.volume.id {
            return None;
        }
        let action = self.stop_then(Action::Unmount { torn_off: false });
        Some(Decision { action: Some(action), ..moving(copy) })
    }

    fn stop_then(&self, action: Action) -> Action {
        if self.session().writers_stopped { action } else { Action::StopWriters }
    }

    /// Sees to the check of a file system before it is written.
    fn not_sound(&self, copy: &Copy<'_>) -> Option<Decision> {
        match self.session().checked.get(&copy.volume.id) {
            Some(CheckResult::Clean | CheckResult::Mended) => None,
            Some(CheckResult::Damaged) => Some(self.damaged(copy.volume, copy.disk)),
            None => Some(starting(Action::Check { volume: copy.volume.id.clone(), repair: false })),
        }
    }

    fn damaged(&self, volume: &SeenVolume, disk: &SeenDisk) -> Decision {
        let question = Question::Repair { volume: volume.id.clone(), disk: disk.words() };
        if self.session().yes.contains(&question) {
            return starting(Action::Check { volume: volume.id.clone(), repair: true });
        }
        Decision { question: Some(question), ..held(Held::Damaged { disk: disk.words() }) }
    }

    fn alive(&self, copy: &Copy<'_>, anchor: &Copy<'_>) -> Decision {
        if let Some(decision) = self.leave(copy) {
            return decision;
        }
        let is_mounted = self.evidence.live.is_some();
        if !is_mounted && let Some(decision) = self.not_sound(copy) {
            return decision;
        }
        // Before anybody writes, the boot disk must say where the data is: without that disk it would start on its own.
        let points = std::ptr::eq(copy.volume, anchor.volume)
            || matches!(&anchor.identity.state, CopyState::Superseded { by } if copy.is_at(by));
        if !points {
            let identity = anchor.identity.with(CopyState::Superseded { by: copy.place() });
            return starting(Action::Mark { volume: anchor.volume.id.clone(), identity });
        }
        if !is_mounted {
            return starting(Action::Mount { volume: copy.volume.id.clone() });
        }
        let resumed = self.copies.iter().find(|other| self.is_target_of(other, copy));
        if let Some(target) = resumed
            && self.move_failure(target.disk).is_none()
        {
            return self.go_on(copy, target);
        }
        let live = Decision {
            state: DataState::Live { disk: copy.disk.words() },
            question: None,
            notes: Vec::new(),
            action: None,
        };
        if resumed.is_some() { live } else { self.offer(copy, live) }
    }

    fn is_target_of(&self, other: &Copy<'_>, source: &Copy<'_>) -> bool {
        let (CopyState::Receiving { from } | CopyState::Verified { from }) = &other.identity.state else {
            return false;
        };
        other.identity.appliance == source.identity.appliance
            && source.is_at(from)
            && other.identity.generation > source.identity.generation
    }

    /// Why the move to a disk cannot go on in this session, when it cannot.
    fn move_failure(&self, disk: &SeenDisk) -> Option<&str> {
        let is_on = |wanted: &VolumeId| disk.volumes.iter().any(|volume| volume.id == *wanted);
        let failed = self.session().failed.iter().find(|(action, _)| match action {
            Action::Copy { to, .. } => is_on(to),
            Action::Mark { volume, identity } => {
                let is_last_step =
                    matches!(&identity.state, CopyState::Superseded { by } if is_on(&by.volume));
                is_last_step || is_on(volume)
            }
            Action::Check { volume, .. } => is_on(volume),
            Action::StopWriters => true,
            Action::Provision { disk: asked, .. } => asked.facts.name == disk.facts.name,
            _ => false,
        });
        failed.map(|(_, why)| why.as_str())
    }

    /// The next step of a move under way.
    fn go_on(&self, source: &Copy<'_>, target: &Copy<'_>) -> Decision {
        let (from, to) = (source.volume.id.clone(), target.volume.id.clone());
        let session = self.session();
        let action = if !session.writers_stopped {
            Action::StopWriters
        } else if !session.checked.contains_key(&to) {
            Action::Check { volume: to, repair: false }
        } else if session.copied != Some((from.clone(), to.clone())) {
            Action::Copy { from, to }
        } else if matches!(target.identity.state, CopyState::Receiving { .. }) {
            let identity = target.identity.with(CopyState::Verified { from: source.place() });
            Action::Mark { volume: to, identity }
        } else {
            let identity = source.identity.with(CopyState::Superseded { by: target.place() });
            Action::Mark { volume: from, identity }
        };
        Decision { action: Some(action), ..moving(target) }
    }

    /// Whether a disk would be a better home than the present one, its size aside.
    fn is_better(&self, disk: &SeenDisk, present: &SeenDisk) -> bool {
        !disk.is_boot
            && rank(disk.facts.kind) > rank(present.facts.kind)
            && disk.facts.size_bytes >= self.limits.target_bytes_min
            && self.move_failure(disk).is_none()
    }

    /// How large a disk must be to take the data, bytes.
    ///
    /// Of a disk of ours at most a sixteenth is no room for data: ext4 takes 1/64 for its inodes, half a per cent for
    /// root, and at most 1/64 for its journal.
    fn needed_bytes(&self) -> u64 {
        let used = self.evidence.live.as_ref().and_then(|live| live.used_bytes).unwrap_or(0);
        let room = used.saturating_add(self.limits.target_free_bytes_min);
        room.saturating_add(room.div_ceil(15))
    }

    /// Offers the move to a better disk.
    fn offer(&self, copy: &Copy<'_>, live: Decision) -> Decision {
        let fits = |disk: &&SeenDisk| {
            self.is_better(disk, copy.disk) && disk.facts.size_bytes >= self.needed_bytes()
        };
        let mut better: Vec<&SeenDisk> = self.evidence.disks.iter().filter(fits).collect();
        better.sort_by_key(|disk| std::cmp::Reverse((rank(disk.facts.kind), disk.facts.size_bytes)));
        for disk in better {
            let contents = self.contents(disk);
            let ask = |sure| Question::UseDisk { disk: disk.clone(), contents: contents.clone(), sure };
            let (first, second) = (ask(false), ask(true));
            let session = self.session();
            if session.no.contains(&first) || session.no.contains(&second) {
                continue;
            }
            let question = if !session.yes.contains(&first) {
                first
            } else if contents.is_some() && !session.yes.contains(&second) {
                second
            } else {
                let highest = self.copies.iter().map(|copy| copy.identity.generation).max().unwrap_or(0);
                let action = Action::Provision {
                    disk: disk.clone(),
                    appliance: copy.identity.appliance.clone(),
                    generation: highest.saturating_add(1),
                    from: copy.place(),
                };
                return Decision { action: Some(action), ..live };
            };
            return Decision { question: Some(question), ..live };
        }
        live
    }

    /// What is on a disk, in the owner's words; `None` when it is empty.
    fn contents(&self, disk: &SeenDisk) -> Option<String> {
        let words = |volume: &SeenVolume| match &volume.holds {
            Holds::Nothing => None,
            Holds::EmptyFileSystem => Some("an ext4 without files".to_owned()),
            Holds::Foreign(words) => Some(words.clone()),
            Holds::Unreadable(_) => Some("unreadable Perch data".to_owned()),
            Holds::Marked(_) => {
                let ours = self.copies.iter().find(|copy| std::ptr::eq(copy.volume, volume));
                let known = self
                    .boot_place()
                    .and_then(|(_, place)| self.copies.iter().find(|copy| std::ptr::eq(copy.volume, place)));
                Some(match (ours, known) {
                    (Some(copy), Some(anchor)) if copy.identity.appliance == anchor.identity.appliance => {
                        "an older copy of this box".to_owned()
                    }
                    _ => "the data of another Perch".to_owned(),
                })
            }
        };
        let found: Vec<String> = disk.volumes.iter().filter_map(words).collect();
        (!found.is_empty()).then(|| found.join(", "))
    }

    fn is_live(&self, volume: &SeenVolume) -> bool {
        self.evidence.live.as_ref().is_some_and(|live| live.volume == volume.id)
    }

    fn notes(&self, decision: &Decision) -> Vec<Note> {
        let mut notes = Vec::new();
        let anchor = self
            .boot_place()
            .and_then(|(_, place)| self.copies.iter().find(|copy| std::ptr::eq(copy.volume, place)));
        let (Some(anchor), DataState::Live { .. }) = (anchor, &decision.state) else { return notes };
        for copy in self.copies.iter().filter(|copy| !self.is_live(copy.volume)) {
            let disk = copy.disk.words();
            if copy.identity.appliance != anchor.identity.appliance {
                notes.push(Note::OtherBox { disk });
            } else if copy.identity.state == CopyState::Whole {
                notes.push(Note::OldCopy { disk });
            }
        }
        notes.extend(
            self.odd
                .iter()
                .filter(|odd| odd.why.is_none())
                .map(|odd| Note::StrangeCopy { disk: odd.disk.words() }),
        );
        let living = self.copies.iter().find(|copy| self.is_live(copy.volume));
        for disk in &self.evidence.disks {
            let needs_bytes = self.needed_bytes();
            if disk.facts.size_bytes < needs_bytes
                && living.is_some_and(|copy| self.is_better(disk, copy.disk))
            {
                notes.push(Note::TooSmall { disk: disk.words(), needs_bytes });
            }
            if let Some(why) = self.move_failure(disk) {
                notes.push(Note::MoveFailed { disk: disk.words(), why: why.to_owned() });
            }
            let is_mended = |volume: &SeenVolume| {
                self.session().checked.get(&volume.id) == Some(&CheckResult::Mended) && self.is_live(volume)
            };
            if disk.volumes.iter().any(is_mended) {
                notes.push(Note::Mended { disk: disk.words() });
            }
        }
        notes
    }
}

/// How good a home a medium is for data; 0 is none at all.
fn rank(kind: DiskKind) -> u8 {
    match kind {
        DiskKind::Nvme => 5,
        DiskKind::Sata | DiskKind::UsbSsd => 4,
        DiskKind::Virtual => 3,
        DiskKind::Emmc => 2,
        DiskKind::Sd => 1,
        DiskKind::UsbStick | DiskKind::Other => 0,
    }
}

fn held(why: Held) -> Decision {
    Decision { state: DataState::Held(why), question: None, notes: Vec::new(), action: None }
}

fn starting(action: Action) -> Decision {
    Decision { state: DataState::Starting, question: None, notes: Vec::new(), action: Some(action) }
}

fn moving(to: &Copy<'_>) -> Decision {
    let state = DataState::Moving { to: to.disk.words() };
    Decision { state, question: None, notes: Vec::new(), action: None }
}

fn alike(one: &Copy<'_>, other: &Copy<'_>) -> Decision {
    held(Held::Alike { one: one.disk.words(), other: other.disk.words() })
}
