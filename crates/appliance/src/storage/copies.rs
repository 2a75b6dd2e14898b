//! Which of the copies that are plugged in is alive: generations and marks, never dates or labels. Pure.
//!
//! The rules, for the copies of one box:
//! 1. Of complete copies the one of the highest generation is alive. Two of the same generation: none is.
//! 2. A verified copy is complete as soon as its source says that it is superseded by it. That mark is the moment of a
//!    move: before it the source is alive, after it the copy.
//! 3. When any copy names a later one that is not there, nothing is alive: the later one must come back.

use platform::volumes::{Holds, SeenDisk, SeenVolume};

use super::identity::{ApplianceId, CopyState, Identity, Place};

/// A copy of some box's data.
#[derive(Clone, Debug)]
pub(super) struct Copy<'a> {
    pub(super) disk: &'a SeenDisk,
    pub(super) volume: &'a SeenVolume,
    pub(super) identity: Identity,
}

impl Copy<'_> {
    pub(super) fn place(&self) -> Place {
        self.identity.place(self.disk.words())
    }

    pub(super) fn is_at(&self, place: &Place) -> bool {
        self.identity.volume == place.volume && self.identity.generation == place.generation
    }
}

/// A mark that makes nothing of its volume.
#[derive(Clone, Debug)]
pub(super) struct Odd<'a> {
    pub(super) disk: &'a SeenDisk,
    pub(super) volume: &'a SeenVolume,
    /// Why it does not count; `None` when the mark was written on another partition.
    pub(super) why: Option<String>,
}

/// Reads all marks.
pub(super) fn read(disks: &[SeenDisk]) -> (Vec<Copy<'_>>, Vec<Odd<'_>>) {
    let (mut copies, mut odd) = (Vec::new(), Vec::new());
    for (disk, volume) in disks.iter().flat_map(|disk| disk.volumes.iter().map(move |volume| (disk, volume)))
    {
        match &volume.holds {
            Holds::Marked(bytes) => match Identity::parse(bytes) {
                Ok(identity) if identity.volume == volume.id => copies.push(Copy { disk, volume, identity }),
                Ok(_) => odd.push(Odd { disk, volume, why: None }),
                Err(error) => odd.push(Odd { disk, volume, why: Some(error.to_string()) }),
            },
            Holds::Unreadable(why) => odd.push(Odd { disk, volume, why: Some(why.clone()) }),
            Holds::Nothing | Holds::EmptyFileSystem | Holds::Foreign(_) => {}
        }
    }
    (copies, odd)
}

/// What the copies of one box come to.
#[derive(Clone, Debug)]
pub(super) enum Choice<'a> {
    /// This one is alive.
    Alive(&'a Copy<'a>),
    /// This one is alive and does not say so yet.
    Promote(&'a Copy<'a>),
    /// A later one exists and is not there.
    Missing(Place),
    /// Two are the same.
    Alike(&'a Copy<'a>, &'a Copy<'a>),
}

/// Chooses among the copies of one box, of which there is at least one.
pub(super) fn choose<'a>(copies: &'a [Copy<'a>], appliance: &ApplianceId) -> Option<Choice<'a>> {
    let family: Vec<&Copy<'_>> = copies.iter().filter(|copy| copy.identity.appliance == *appliance).collect();
    let is_complete = |copy: &&&Copy<'_>| match &copy.identity.state {
        CopyState::Whole => true,
        CopyState::Verified { from } => family.iter().any(|source| {
            source.identity.volume == from.volume
                && matches!(&source.identity.state, CopyState::Superseded { by } if copy.is_at(by))
        }),
        CopyState::Receiving { .. } | CopyState::Superseded { .. } => false,
    };
    let complete: Vec<&Copy<'_>> = family.iter().filter(is_complete).copied().collect();
    let best = complete.iter().max_by_key(|copy| copy.identity.generation).copied();
    let named = family.iter().filter_map(|copy| match &copy.identity.state {
        CopyState::Superseded { by } => Some(by),
        _ => None,
    });
    let latest_named = named.max_by_key(|place| place.generation);
    let Some(best) = best else {
        let sources = family.iter().filter_map(|copy| match &copy.identity.state {
            CopyState::Receiving { from } | CopyState::Verified { from } => Some(from),
            _ => None,
        });
        let wanted = latest_named.or_else(|| sources.max_by_key(|place| place.generation));
        return wanted.cloned().map(Choice::Missing);
    };
    if let Some(later) = latest_named.filter(|place| place.generation > best.identity.generation) {
        return Some(Choice::Missing(later.clone()));
    }
    let twin = complete
        .iter()
        .find(|copy| copy.identity.generation == best.identity.generation && !std::ptr::eq(**copy, best));
    Some(match twin {
        Some(twin) => Choice::Alike(twin, best),
        None if best.identity.state == CopyState::Whole => Choice::Alive(best),
        None => Choice::Promote(best),
    })
}

/// The best complete copy to go on with when the missing one is given up.
pub(super) fn fallback<'a>(copies: &'a [Copy<'a>], appliance: &ApplianceId) -> Option<&'a Copy<'a>> {
    let is_usable = |copy: &&Copy<'_>| {
        copy.identity.appliance == *appliance
            && copy.identity.generation > 0
            && !matches!(copy.identity.state, CopyState::Receiving { .. })
    };
    copies.iter().filter(is_usable).max_by_key(|copy| copy.identity.generation)
}
