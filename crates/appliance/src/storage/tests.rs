//! The table of situations: every row of `docs/design/008-storage.md` as a test, by its name there.

mod situations;

use platform::volumes::{CheckResult, Holds, SeenDisk, SeenVolume, VolumeId};
use platform::{DiskFacts, DiskKind};

use super::*;

/// The box of the tests, and another one.
pub(crate) const US: [u8; 16] = [1; 16];
pub(crate) const OTHERS: [u8; 16] = [2; 16];

pub(crate) fn limits() -> Limits {
    Limits::default()
}

/// Says what is on a place.
pub(crate) fn identity(appliance: [u8; 16], generation: u64, volume: &str, state: CopyState) -> Identity {
    Identity {
        format: FORMAT,
        appliance: ApplianceId::random(appliance),
        generation,
        volume: VolumeId::new(volume),
        state,
    }
}

pub(crate) fn place_of(volume: &str, generation: u64, disk: &str) -> Place {
    Place { volume: VolumeId::new(volume), generation, disk: disk.to_owned() }
}

pub(crate) fn volume(id: &str, number: u32, is_data_place: bool, holds: Holds) -> SeenVolume {
    SeenVolume { id: VolumeId::new(id), number, size_bytes: 1_000_000_000, is_data_place, holds }
}

pub(crate) fn marked(identity: &Identity) -> Holds {
    Holds::Marked(identity.to_bytes())
}

pub(crate) fn disk(name: &str, model: &str, kind: DiskKind, volumes: Vec<SeenVolume>) -> SeenDisk {
    SeenDisk {
        facts: DiskFacts {
            name: name.to_owned(),
            model: model.to_owned(),
            kind,
            size_bytes: 500_000_000_000,
        },
        serial: format!("serial of {model}"),
        attached: Some(1),
        is_boot: false,
        volumes,
    }
}

/// The card, with its boot partition and this on the place for data.
pub(crate) fn card(holds: Holds) -> SeenDisk {
    let boot = volume("card-01", 1, false, Holds::Foreign("FAT \"PERCH\"".to_owned()));
    let volumes = vec![boot, volume("card-04", 4, true, holds)];
    SeenDisk { is_boot: true, ..disk("mmcblk0", "SD32G", DiskKind::Sd, volumes) }
}

/// An SSD with this on its only partition.
pub(crate) fn ssd(holds: Holds) -> SeenDisk {
    disk("sda", "T7", DiskKind::UsbSsd, vec![volume("ssd", 1, true, holds)])
}

pub(crate) fn blank_ssd() -> SeenDisk {
    disk("sda", "T7", DiskKind::UsbSsd, Vec::new())
}

/// A card whose data went to the SSD.
pub(crate) fn card_superseded() -> SeenDisk {
    let by = place_of("ssd", 2, "T7, 500 GB");
    card(marked(&identity(US, 1, "card-04", CopyState::Superseded { by })))
}

pub(crate) fn whole(generation: u64, volume: &str) -> Holds {
    marked(&identity(US, generation, volume, CopyState::Whole))
}

pub(crate) fn seen(disks: Vec<SeenDisk>) -> Evidence {
    let mut evidence = Evidence { disks, ..Evidence::default() };
    evidence.session.writers_stopped = true;
    evidence
}

/// Like [`seen`], with everything checked and this one mounted and written.
pub(crate) fn running(disks: Vec<SeenDisk>, live: &str) -> Evidence {
    let mut evidence = seen(disks);
    for volume in evidence.disks.iter().flat_map(|disk| &disk.volumes) {
        evidence.session.checked.insert(volume.id.clone(), CheckResult::Clean);
    }
    let live = VolumeId::new(live);
    let disk = evidence.disks.iter().find(|disk| disk.volumes.iter().any(|volume| volume.id == live));
    let disk = disk.map(SeenDisk::words).unwrap_or_default();
    evidence.live = Some(Live { volume: live, generation: 0, disk, attached: Some(1), used_bytes: None });
    evidence.session.writers_stopped = false;
    evidence
}

/// The memory of a disk that was pulled while it was in use.
pub(crate) fn pulled(volume: &str, generation: u64, disk: &str) -> Option<Live> {
    let volume = VolumeId::new(volume);
    Some(Live { volume, generation, disk: disk.to_owned(), attached: Some(1), used_bytes: None })
}
