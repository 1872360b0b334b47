//! Disks that are volumes: what they are made from, and how a running domain gets and loses them.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;

use tepui_types::PlacementId;
use tepui_types::agent::IoLimits;
use tepui_types::failpoint::{self, Tripped};
use uuid::Uuid;
use virt::connect::Connect;
use virt::domain::Domain;
use virt::secret::Secret;
use virt::sys;

use crate::host::{Outcome, is_invalid, lookup, present};
use crate::identity::placement_of;
use crate::spec::{check_path, check_serial, is_name, require};
use crate::{Error, throttle, xml};

/// The fail points of giving a running domain a disk; each stands behind the step it names.
pub const GIVE_STEPS: &[&str] = &["agent::disks::told", "agent::disks::given", "agent::disks::fitted"];
/// Those of asking it to let go of one.
pub const TAKE_STEPS: &[&str] = &["agent::disks::asked"];

/// The letter of the disk that a domain boots from.
const ROOT: char = 'a';

/// One disk that is a raw volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataDisk {
    /// Its place, `a` to `z`: the guest orders its disks by it. The root disk is `a`, and no other.
    pub letter: char,
    /// The serial by which the guest knows it: 1 to 20 letters, digits, `-` or `_`.
    pub serial: String,
    /// Where its bytes are.
    pub source: DiskSource,
    /// The guest cannot write to it.
    pub read_only: bool,
    /// A guest that runs and sees fewer bytes is told of so many, which must be there.
    pub least_bytes: u64,
    /// What the guest may do with it in a second.
    pub limits: IoLimits,
}

/// Where the bytes of a volume are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DiskSource {
    /// Behind an iSCSI target, to which QEMU speaks by itself.
    Iscsi(IscsiSource),
    /// In a file of an NFS server, to which QEMU speaks by itself.
    Nfs(NfsSource),
    /// In a file of this host.
    File(PathBuf),
}

/// A logical unit of an iSCSI target, and who comes to it.
#[derive(Clone, PartialEq, Eq)]
pub struct IscsiSource {
    /// Where the target listens.
    pub portal: SocketAddrV4,
    /// The target's name.
    pub target: String,
    /// The logical unit.
    pub lun: u32,
    /// The name under which the initiator comes.
    pub initiator: String,
    /// The account.
    pub account: String,
    /// Its password, which libvirt hands to QEMU and keeps nowhere.
    pub password: String,
    /// Names the password in libvirtd. No two accounts have one.
    pub secret: Uuid,
}

/// A file of an NFS server, and who its client says that it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NfsSource {
    /// Where the server listens.
    pub server: Ipv4Addr,
    /// The file as the server names it: the export's path and the file in it.
    pub path: String,
    /// The client's user.
    pub user: u32,
    /// The client's group.
    pub group: u32,
}

/// Without the password.
impl fmt::Debug for IscsiSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IscsiSource")
            .field("portal", &self.portal)
            .field("target", &self.target)
            .field("lun", &self.lun)
            .field("initiator", &self.initiator)
            .field("account", &self.account)
            .finish_non_exhaustive()
    }
}

/// A volume that a running domain has for a disk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LiveDisk {
    /// Its device in the domain, for example `vdf`.
    pub device: String,
    /// Target and unit, or the file.
    pub source: String,
    /// What its guest is held to.
    pub limits: IoLimits,
}

/// The volumes that a running domain has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LiveDisks {
    /// All of them.
    pub disks: Vec<LiveDisk>,
    /// Those that do not show the size that their volume has by now, or whose guest is not held to their limits: the
    /// device, and why.
    pub unfit: Vec<(String, String)>,
}

impl LiveDisk {
    /// Whether the domain boots from it, and so cannot lose it while it runs.
    pub fn is_root(&self) -> bool {
        self.device == device(ROOT)
    }
}

fn device(letter: char) -> String {
    format!("vd{letter}")
}

impl DataDisk {
    /// A disk to boot from, in its place.
    #[must_use]
    pub fn as_root(self) -> Self {
        Self { letter: ROOT, ..self }
    }

    pub(crate) fn is_root(&self) -> bool {
        self.letter == ROOT
    }

    /// Its device in the domain.
    pub fn device(&self) -> String {
        device(self.letter)
    }

    /// The disk as a running domain has it.
    pub fn live(&self) -> LiveDisk {
        LiveDisk { device: self.device(), source: self.source_name(), limits: self.limits }
    }

    /// Its source as libvirt tells it of a running domain.
    pub fn source_name(&self) -> String {
        match &self.source {
            DiskSource::Iscsi(source) => source.unit(),
            DiskSource::Nfs(source) => source.path.clone(),
            DiskSource::File(path) => path.display().to_string(),
        }
    }

    pub(crate) fn validate(&self) -> Result<(), Error> {
        require("letter", self.letter, self.letter.is_ascii_lowercase(), "must be a to z")?;
        check_serial(&self.serial)?;
        match &self.source {
            DiskSource::File(path) => check_path("file", path),
            DiskSource::Nfs(source) => check_path("path", source.path.as_ref()),
            DiskSource::Iscsi(source) => {
                // RFC 7143, 4.2.7.1: at most 223 bytes.
                let rule = "must be 1 to 223 letters, digits, '-', '.' or ':'";
                require("target", &source.target, is_name(&source.target, 223, "-.:"), rule)?;
                require("initiator", &source.initiator, is_name(&source.initiator, 223, "-.:"), rule)?;
                let rule = "must be 1 to 64 letters, digits, '-' or '_'";
                require("account", &source.account, is_name(&source.account, 64, "-_"), rule)
            }
        }
    }
}

impl IscsiSource {
    /// As libvirt spells it: the target and the unit.
    pub(crate) fn unit(&self) -> String {
        format!("{}/{}", self.target, self.lun)
    }
}

/// Tells libvirtd the passwords of these disks. It forgets them when it ends, or is asked to once no running domain names
/// them; QEMU has its own by then.
pub(crate) fn tell_secrets<'a>(
    connect: &Connect,
    disks: impl IntoIterator<Item = &'a DataDisk>,
) -> Outcome<()> {
    for disk in disks {
        if let DiskSource::Iscsi(source) = &disk.source {
            let secret = Secret::define_xml(connect, &xml::secret_xml(source.secret, &source.account), 0)?;
            secret.set_value(source.password.as_bytes(), 0)?;
        }
    }
    Ok(())
}

/// Gives a running domain the disks that it lacks, in the sizes and with the limits that they have by now, and asks it
/// to let go of those that are `leaving`; what it has then. A domain that is off has none: its next start gives it
/// what is wanted. One that does not grow, or cannot be limited, holds up no other. What it boots
/// from it has since its start and keeps to its end: it is not given and not taken.
pub(crate) fn set_disks(
    connect: &Connect,
    id: PlacementId,
    wanted: &[Prepared],
    leaving: &[String],
) -> Outcome<Result<LiveDisks, Tripped>> {
    let Some(domain) = lookup(connect, id)? else { return Ok(Ok(LiveDisks::default())) };
    let Some(live) = live_disks(&domain)? else { return Ok(Ok(LiveDisks::default())) };
    let is_wanted = |live: &LiveDisk| wanted.iter().any(|wanted| wanted.is(live));
    let leaves = |live: &LiveDisk| leaving.iter().any(|name| live.source.contains(name));
    for disk in live.iter().filter(|live| leaves(live) && !is_wanted(live) && !live.is_root()) {
        let xml = xml::detach_xml(&disk.device);
        // It may have let go of it by itself, or have ended.
        tolerate(&domain, domain.detach_device_flags(&xml, sys::VIR_DOMAIN_AFFECT_LIVE))?;
        if let Err(tripped) = failpoint::hit("agent::disks::asked") {
            return Ok(Err(tripped));
        }
    }
    let Some(live) = live_disks(&domain)? else { return Ok(Ok(LiveDisks::default())) };
    for disk in wanted.iter().filter(|wanted| !live.iter().any(|live| wanted.is(live))) {
        // The place is another's until that is gone.
        if disk.disk.is_root() || live.iter().any(|live| live.device == disk.disk.device()) {
            continue;
        }
        tell_secrets(connect, [&disk.disk])?;
        if let Err(tripped) = failpoint::hit("agent::disks::told") {
            return Ok(Err(tripped));
        }
        tolerate(&domain, domain.attach_device_flags(&disk.xml, sys::VIR_DOMAIN_AFFECT_LIVE))?;
        if let Err(tripped) = failpoint::hit("agent::disks::given") {
            return Ok(Err(tripped));
        }
    }
    let Some(live) = live_disks(&domain)? else { return Ok(Ok(LiveDisks::default())) };
    let mut unfit = Vec::new();
    for live in &live {
        let Some(Prepared { disk, .. }) = wanted.iter().find(|wanted| wanted.is(live)) else { continue };
        for fitted in [grow(&domain, disk), limit(&domain, live, disk)] {
            if let Err(error) = tolerate(&domain, fitted) {
                unfit.push((disk.device(), error.to_string()));
            }
        }
        if let Err(tripped) = failpoint::hit("agent::disks::fitted") {
            return Ok(Err(tripped));
        }
    }
    let Some(disks) = live_disks(&domain)? else { return Ok(Ok(LiveDisks::default())) };
    Ok(Ok(LiveDisks { disks, unfit }))
}

/// Tells a guest of the size that a disk of it has by now. QEMU asks a target itself, and refuses a size that is not
/// there; a file it would make as large itself, so that nobody may name a size before the volume's host has made it.
fn grow(domain: &Domain, disk: &DataDisk) -> Outcome<u32> {
    let device = disk.device();
    match domain.get_block_info(&device, 0)?.capacity < disk.least_bytes {
        true => domain.block_resize(&device, disk.least_bytes, sys::VIR_DOMAIN_BLOCK_RESIZE_BYTES),
        false => Ok(0),
    }
}

/// Holds a guest to the limits that a disk of it has by now. QEMU waits for what is under way on the disk when it is to
/// have no limit any more: where it has none already, it is not asked.
fn limit(domain: &Domain, live: &LiveDisk, disk: &DataDisk) -> Outcome<u32> {
    match live.limits == disk.limits {
        true => Ok(0),
        false => throttle::set(domain, &live.device, disk.limits),
    }
}

/// A disk with the XML that was made of it where a mistake could still be told.
pub(crate) struct Prepared {
    disk: DataDisk,
    xml: String,
}

impl Prepared {
    pub(crate) fn of(disk: DataDisk) -> Result<Self, Error> {
        let xml = xml::disk_xml(&disk)?;
        Ok(Self { disk, xml })
    }

    fn is(&self, live: &LiveDisk) -> bool {
        live.device == self.disk.device() && live.source == self.disk.source_name()
    }
}

/// The volumes of a running domain; `None` when it is off or gone.
fn live_disks(domain: &Domain) -> Outcome<Option<Vec<LiveDisk>>> {
    if present(domain.is_active())? != Some(true) {
        return Ok(None);
    }
    let Some(text) = present(domain.get_xml_desc(0))? else { return Ok(None) };
    Ok(Some(xml::volumes(&text)))
}

/// The volumes of all our running domains.
pub(crate) fn live_volumes(connect: &Connect) -> Outcome<BTreeMap<PlacementId, Vec<LiveDisk>>> {
    let mut found = BTreeMap::new();
    for domain in connect.list_all_domains(sys::VIR_CONNECT_LIST_DOMAINS_ACTIVE)? {
        let Some(id) = placement_of(&domain.get_name()?) else { continue };
        found.extend(live_disks(&domain)?.map(|disks| (id, disks)));
    }
    Ok(found)
}

/// What fails because the domain went off, or because the disk is not there, did not fail.
fn tolerate(domain: &Domain, outcome: Outcome<u32>) -> Outcome<()> {
    match present(outcome) {
        Err(error) if is_invalid(&error) && present(domain.is_active())? != Some(true) => Ok(()),
        Err(error) if error.code().to_raw() == sys::VIR_ERR_DEVICE_MISSING => Ok(()),
        outcome => outcome.map(drop),
    }
}
