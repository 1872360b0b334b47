//! The volumes of guests: which disks a domain starts with, and what becomes of changes while it runs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tepui_libvirt::{DataDisk, DiskSource, FailedDisk, IscsiSource, LiveDisks, NfsSource};
use tepui_types::agent::{
    DiskIo, DiskObserved, DiskPart, DiskSpec, DiskState, IoCounters, IoLimits, NodePart, PlacementObserved,
    PlacementPart, PlacementSpec, PlacementState, VolumeSource, WantedDisk, iscsi_account, iscsi_initiator,
};
use tepui_types::{ExportId, PlacementId, VolumeId};
use tokio::sync::Notify;
use uuid::Uuid;

use crate::hypervisor::Hypervisor;

mod secrets;
mod stalls;

pub(crate) use secrets::SecretKeeper;
pub(crate) use stalls::Stall;
pub use tepui_libvirt::{GIVE_STEPS, TAKE_STEPS};

/// Names of passwords in libvirtd begin so; an export's 68 bits follow.
const SECRETS: u128 = 0x7465_7075_6900_4000 << 68;

/// Keeps the disks of running guests as they are wanted, and what was seen of them for the report.
pub struct VolumeKeeper {
    hypervisor: Arc<dyn Hypervisor>,
    /// Something else may be wanted, or a guest may have started or ended.
    pub(crate) wake: Notify,
    seen: Mutex<BTreeMap<PlacementId, Seen>>,
    /// What guests did with their volumes, as it was read last.
    io: Mutex<BTreeMap<ExportId, IoCounters>>,
    /// Of the guests that stand still the disks that failed, as QEMU said when it was asked last.
    failed: Mutex<BTreeMap<PlacementId, Vec<FailedDisk>>>,
}

/// The disks of a placement, as they were looked at last.
#[derive(Debug, Clone, PartialEq)]
struct Seen {
    wanted: Vec<WantedDisk>,
    power: Power,
    disks: Vec<DiskObserved>,
}

/// What the disks of a placement depend on, beside what is wanted of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Power {
    /// The domain runs since this start.
    On(u64),
    /// There is nothing that could have a disk.
    Off,
}

impl VolumeKeeper {
    /// A keeper of the guests of this hypervisor.
    pub fn new(hypervisor: Arc<dyn Hypervisor>) -> Self {
        let (seen, io, failed) = (Mutex::default(), Mutex::default(), Mutex::default());
        Self { hypervisor, wake: Notify::new(), seen, io, failed }
    }

    /// What was seen last of a placement's disks.
    pub(crate) fn seen(&self, id: PlacementId) -> Vec<DiskObserved> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(&id).map(|seen| seen.disks.clone()).unwrap_or_default()
    }

    /// What guests did with their volumes, as it was read last.
    pub(crate) fn io(&self) -> Vec<DiskIo> {
        let io = self.io.lock().unwrap_or_else(PoisonError::into_inner);
        io.iter().map(|(export_id, counters)| DiskIo { export_id: *export_id, counters: *counters }).collect()
    }

    /// Reads what running guests did with their volumes; whether there is news. Of a volume that is not read now the
    /// last word stays, until its guest is off or has let go of it.
    pub(crate) async fn count(&self) -> bool {
        let places = self.places();
        let found = match places.is_empty() {
            true => Ok(Vec::new()),
            false => self.hypervisor.disk_counters().await,
        };
        let found = found.unwrap_or_else(|error| {
            tracing::debug!(message = crate::chain(&error), "no counters of disks");
            Vec::new()
        });
        let mut io = self.io.lock().unwrap_or_else(PoisonError::into_inner);
        let before = io.clone();
        io.retain(|export, _| places.values().any(|known| known == export));
        io.extend(
            found.into_iter().filter_map(|disk| Some((*places.get(&(disk.id, disk.device))?, disk.counters))),
        );
        *io != before
    }

    /// The volumes that running guests have, each by its guest and its device there.
    fn places(&self) -> BTreeMap<(PlacementId, String), ExportId> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let running = seen.iter().filter(|(_, seen)| matches!(seen.power, Power::On(_)));
        running
            .flat_map(|(id, seen)| seen.devices().map(|(device, export)| ((*id, device), export)))
            .collect()
    }

    /// Makes the disks of all guests as the part wants them; whether there is news, and whether something is left to
    /// do.
    pub(crate) async fn apply(&self, part: &NodePart, placements: &[PlacementObserved]) -> (bool, bool) {
        let before = self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut now = BTreeMap::new();
        for wanted in &part.placements {
            let PlacementPart::Present(spec) = &wanted.wanted else { continue };
            let old = before.get(&wanted.id);
            if spec.disks.is_empty() && old.is_none_or(|old| old.disks.is_empty()) {
                continue;
            }
            let state = placements.iter().find(|seen| seen.id == wanted.id).map(|seen| &seen.state);
            let seen = match power(state) {
                Some(power) => Some(self.look(wanted.id, &spec.disks, power, old).await),
                None => old.cloned(),
            };
            now.extend(seen.map(|seen| (wanted.id, seen)));
        }
        let left = now.values().any(|seen| !seen.is_settled());
        let news = now.iter().any(|(id, seen)| before.get(id).is_none_or(|old| old.disks != seen.disks))
            || before.keys().any(|id| !now.contains_key(id));
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = now;
        (news, left)
    }

    async fn look(&self, id: PlacementId, wanted: &[WantedDisk], power: Power, old: Option<&Seen>) -> Seen {
        let same = |old: &&Seen| old.wanted == wanted && old.power == power && old.is_settled();
        if let Some(old) = old.filter(same) {
            return old.clone();
        }
        let disks = match power {
            // Its next start gives it what is wanted then.
            Power::Off => wanted.iter().filter_map(|disk| told(disk, off(disk))).collect(),
            Power::On(_) => self.set(id, wanted).await,
        };
        Seen { wanted: wanted.to_vec(), power, disks }
    }

    async fn set(&self, id: PlacementId, wanted: &[WantedDisk]) -> Vec<DiskObserved> {
        match self.hypervisor.set_disks(id, data_disks(wanted), leaving(wanted)).await {
            Ok(live) => wanted.iter().filter_map(|disk| told(disk, on(disk, &live))).collect(),
            Err(error) => {
                let message = crate::chain(&error);
                tracing::warn!(placement = %id, %message, "the disks of a guest are not as wanted");
                let failed = |disk| told(disk, Some(DiskState::Failed { message: message.clone() }));
                wanted.iter().filter(|disk| disk.wanted != DiskPart::Awaited).filter_map(failed).collect()
            }
        }
    }
}

impl Seen {
    /// The disks that the guest has, by their devices.
    fn devices(&self) -> impl Iterator<Item = (String, ExportId)> {
        let has =
            |id| self.disks.iter().any(|seen| seen.export_id == id && seen.state == DiskState::Attached);
        self.wanted.iter().filter_map(move |disk| match &disk.wanted {
            DiskPart::Attached(spec) if has(disk.export_id) => {
                Some((data_disk(disk, spec).device(), disk.export_id))
            }
            DiskPart::Attached(_) | DiskPart::Awaited | DiskPart::Absent => None,
        })
    }

    /// Whether all is as wanted.
    fn is_settled(&self) -> bool {
        self.disks.iter().all(|disk| match disk.state {
            DiskState::Attached | DiskState::Absent => true,
            DiskState::Detaching | DiskState::Failed { .. } => false,
        })
    }
}

/// `None` while a guest is on its way, when its start or end may meet any disks.
fn power(state: Option<&PlacementState>) -> Option<Power> {
    match state? {
        PlacementState::Running { start_seq, .. } => Some(Power::On(*start_seq)),
        PlacementState::Off { .. } => Some(Power::Off),
        PlacementState::Preparing { .. }
        | PlacementState::Stopping
        | PlacementState::Failed { .. }
        | PlacementState::Gone => None,
    }
}

fn told(disk: &WantedDisk, state: Option<DiskState>) -> Option<DiskObserved> {
    let state = state?;
    let (size_bytes, limits) = match (&disk.wanted, &state) {
        // It was told, or will be when it starts.
        (DiskPart::Attached(spec), DiskState::Attached) => (spec.size_bytes, spec.limits),
        (DiskPart::Attached(_) | DiskPart::Awaited | DiskPart::Absent, _) => (0, IoLimits::NONE),
    };
    Some(DiskObserved { export_id: disk.export_id, state, size_bytes, limits })
}

/// `None` of one of which there is nothing to say yet.
fn off(disk: &WantedDisk) -> Option<DiskState> {
    match disk.wanted {
        DiskPart::Awaited => None,
        DiskPart::Attached(_) => Some(DiskState::Attached),
        DiskPart::Absent => Some(DiskState::Absent),
    }
}

/// `None` of one of which there is nothing to say yet.
fn on(disk: &WantedDisk, live: &LiveDisks) -> Option<DiskState> {
    let state = match &disk.wanted {
        DiskPart::Awaited => return None,
        DiskPart::Attached(spec) => {
            let own = data_disk(disk, spec);
            let unfit = live.unfit.iter().find(|(device, _)| *device == own.device());
            match (live.disks.iter().any(|live| own.source_name() == live.source), unfit) {
                (true, None) => DiskState::Attached,
                (true, Some((_, why))) => DiskState::Failed { message: why.clone() },
                (false, _) => {
                    DiskState::Failed { message: "its place is taken until another disk has left it".into() }
                }
            }
        }
        DiskPart::Absent => {
            let names = names(disk);
            let left = live.disks.iter().find(|live| names.iter().any(|name| live.source.contains(name)));
            match left {
                Some(root) if root.is_root() => {
                    let message = "the guest boots from it and keeps it until it stops".to_owned();
                    DiskState::Failed { message }
                }
                Some(_) => DiskState::Detaching,
                None => DiskState::Absent,
            }
        }
    };
    Some(state)
}

/// What it was made from is not said any more of a disk that is to go, but one of these is in the target's name or
/// the file's.
pub(crate) fn names(disk: &WantedDisk) -> [String; 2] {
    [disk.export_id.to_string(), disk.volume_id.to_string()]
}

/// The names of what is to go. A disk that no part names is not among them: its server has shut it out, and QEMU,
/// asked to let go of it, would wait for that server's answer and stand still for ever. It goes when the guest stops.
fn leaving(wanted: &[WantedDisk]) -> Vec<String> {
    let absent = wanted.iter().filter(|disk| disk.wanted == DiskPart::Absent);
    absent.flat_map(names).collect()
}

/// The volume from which a domain boots, if it is not a local disk and is there.
pub(crate) fn root_of(spec: &PlacementSpec) -> Option<DataDisk> {
    let mut attached = spec.disks.iter().filter_map(attached);
    attached.find(|(_, spec)| spec.is_root).map(|(disk, spec)| data_disk(disk, spec))
}

/// The disks with which a domain starts beside the one from which it boots.
pub(crate) fn disks_of(spec: &PlacementSpec) -> Vec<DataDisk> {
    let root = match &spec.root_disk {
        Some(_) => None,
        None => root_of(spec),
    };
    let mut disks = data_disks(&spec.disks);
    disks.retain(|disk| root.as_ref() != Some(disk));
    disks
}

/// The serial by which a guest knows a volume.
pub(crate) fn serial(volume: VolumeId) -> String {
    volume.to_string().replace('-', "")
}

fn attached(disk: &WantedDisk) -> Option<(&WantedDisk, &DiskSpec)> {
    match &disk.wanted {
        DiskPart::Attached(spec) => Some((disk, spec)),
        DiskPart::Awaited | DiskPart::Absent => None,
    }
}

fn data_disks(wanted: &[WantedDisk]) -> Vec<DataDisk> {
    let mut disks: Vec<DataDisk> =
        wanted.iter().filter_map(attached).map(|(disk, spec)| data_disk(disk, spec)).collect();
    disks.sort_unstable_by_key(|disk| disk.letter);
    disks
}

fn data_disk(disk: &WantedDisk, spec: &DiskSpec) -> DataDisk {
    let own = DataDisk {
        letter: spec.device.chars().last().unwrap_or_default(),
        serial: serial(disk.volume_id),
        source: source(disk.export_id, spec),
        read_only: spec.read_only,
        least_bytes: spec.size_bytes,
        limits: spec.limits,
    };
    if spec.is_root { own.as_root() } else { own }
}

fn source(id: ExportId, spec: &DiskSpec) -> DiskSource {
    match &spec.source {
        VolumeSource::Local { path } => DiskSource::File(path.into()),
        VolumeSource::Iscsi { portal, target, lun } => DiskSource::Iscsi(IscsiSource {
            portal: *portal,
            target: target.clone(),
            lun: *lun,
            initiator: iscsi_initiator(id),
            account: iscsi_account(id),
            password: spec.secret.clone().unwrap_or_default(),
            secret: Uuid::from_u128(SECRETS | id.bits()),
        }),
        VolumeSource::Nfs { server, path, uid, gid } => {
            DiskSource::Nfs(NfsSource { server: *server, path: path.clone(), user: *uid, group: *gid })
        }
    }
}

#[cfg(test)]
mod leaving;

#[cfg(test)]
mod tests {
    use std::net::SocketAddrV4;

    use tepui_types::VolumeId;
    use tepui_types::agent::Power;

    use super::*;

    fn wanted(number: u128, wanted: DiskPart) -> WantedDisk {
        WantedDisk {
            export_id: ExportId::from_random(number),
            volume_id: VolumeId::from_random(number),
            wanted,
        }
    }

    pub(super) fn attached(number: u128, device: &str) -> WantedDisk {
        let portal: SocketAddrV4 = "10.0.0.1:3260".parse().unwrap();
        let target = format!("iqn.2026-11.cloud.tepui:{}", ExportId::from_random(number));
        wanted(
            number,
            DiskPart::Attached(Box::new(DiskSpec {
                device: device.into(),
                source: VolumeSource::Iscsi { portal, target, lun: 1 },
                secret: Some("secret".into()),
                read_only: false,
                size_bytes: 4 << 30,
                limits: IoLimits { iops: 100, throughput_mib: 0 },
                is_root: false,
            })),
        )
    }

    fn live(of: &WantedDisk) -> LiveDisks {
        let DiskPart::Attached(spec) = &of.wanted else { panic!("absent") };
        LiveDisks { disks: vec![data_disk(of, spec).live()], unfit: Vec::new() }
    }

    #[test]
    fn disks_are_in_the_order_of_their_letters_and_absent_ones_are_not_there() {
        let part = [
            attached(1, "/dev/sdg"),
            attached(2, "/dev/xvdb"),
            wanted(3, DiskPart::Absent),
            wanted(4, DiskPart::Awaited),
        ];
        let disks = data_disks(&part);
        let found: Vec<_> = disks.iter().map(|disk| (disk.letter, disk.serial.as_str())).collect();
        assert_eq!(found, [('b', "vol00000000000000002"), ('g', "vol00000000000000001")]);
        let DiskSource::Iscsi(source) = &disks[0].source else { panic!("{disks:?}") };
        assert_eq!(source.account, ExportId::from_random(2).to_string());
        assert!(source.initiator.ends_with(&source.account), "{source:?}");
        assert!(!format!("{disks:?}").contains("\"secret\""), "no password in a log");
    }

    #[test]
    fn the_disk_to_boot_from_is_the_first_whatever_its_name_and_stays_while_its_guest_runs() {
        let mut root = attached(2, "/dev/sda1");
        let DiskPart::Attached(told) = &mut root.wanted else { panic!("absent") };
        told.is_root = true;
        let mut spec = crate::testing::spec(crate::testing::placement(1), Power::Stopped { force: false });
        spec.disks = vec![attached(1, "/dev/sdb"), root.clone()];
        let letters = |disks: &[DataDisk]| disks.iter().map(|disk| disk.letter).collect::<String>();
        assert_eq!(letters(&data_disks(&spec.disks)), "ab");
        assert_eq!(letters(&disks_of(&spec)), "ab", "beside a local root it is one too many, and refused");
        spec.root_disk = None;
        let own = root_of(&spec).unwrap();
        assert_eq!((own.device().as_str(), letters(&disks_of(&spec)).as_str()), ("vda", "b"));
        assert_eq!(own.serial, "vol00000000000000002");

        assert_eq!(on(&root, &live(&root)), Some(DiskState::Attached));
        let unfit = LiveDisks { unfit: vec![("vda".into(), "no answer".into())], ..live(&root) };
        assert_eq!(on(&root, &unfit), Some(DiskState::Failed { message: "no answer".into() }));
        let gone = WantedDisk { wanted: DiskPart::Absent, ..root.clone() };
        let refused = on(&gone, &live(&root));
        assert!(
            matches!(&refused, Some(DiskState::Failed { message }) if message.contains("boots from it")),
            "{refused:?}"
        );
        assert_eq!(on(&gone, &LiveDisks::default()), Some(DiskState::Absent));
        spec.disks.retain(|disk| *disk != root);
        assert_eq!(root_of(&spec), None);
    }

    #[test]
    fn a_disk_is_attached_or_gone_once_the_domain_says_so() {
        let (one, two) = (attached(1, "/dev/sdb"), attached(2, "/dev/sdb"));
        assert_eq!(on(&one, &live(&one)), Some(DiskState::Attached));
        assert!(matches!(on(&two, &live(&one)), Some(DiskState::Failed { .. })), "its place is another's");
        let gone = WantedDisk { wanted: DiskPart::Absent, ..one.clone() };
        assert_eq!(on(&gone, &live(&one)), Some(DiskState::Detaching));
        assert_eq!(on(&gone, &live(&two)), Some(DiskState::Absent));
        let unfit = LiveDisks { unfit: vec![("vdb".into(), "no answer".into())], ..live(&one) };
        assert_eq!(on(&one, &unfit), Some(DiskState::Failed { message: "no answer".into() }));
        assert_eq!(on(&gone, &unfit), Some(DiskState::Detaching));
        let awaited = WantedDisk { wanted: DiskPart::Awaited, ..one.clone() };
        assert_eq!(on(&awaited, &live(&two)), None);
        let fits = |disk: &WantedDisk, state| {
            let told = told(disk, Some(state)).unwrap();
            (told.size_bytes, told.limits.iops)
        };
        assert_eq!(fits(&one, DiskState::Attached), (4 << 30, 100), "what was wanted when it was set");
        assert_eq!(fits(&one, DiskState::Failed { message: "no".into() }), (0, 0));
        assert_eq!(fits(&gone, DiskState::Absent), (0, 0));
    }
}
