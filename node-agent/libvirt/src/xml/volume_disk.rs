//! Disks that are volumes as XML, alone and read back from a running domain.

use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};
use serde::Serialize;
use tepui_types::agent::IoLimits;
use uuid::Uuid;

use super::elements::Target;
use super::write;
use crate::Error;
use crate::disk::{DataDisk, DiskSource, IscsiSource, LiveDisk, NfsSource};
use crate::throttle::MIB;

/// The format of every volume and scratch disk, and of no local root disk.
const RAW: &str = "raw";

/// A raw volume over the network or in a file.
///
/// - `none` asks the host's page cache for nothing: a volume may be opened on another host next, and nothing of it
///   may linger here.
/// - A failed write stops the guest instead of telling it. Without the connection QEMU's clients retry for ever, and
///   stop nobody.
#[derive(Serialize)]
#[serde(rename = "disk")]
pub(super) struct VolumeDisk<'a> {
    #[serde(rename = "@type")]
    kind: &'static str,
    #[serde(rename = "@device")]
    device: &'static str,
    driver: Driver,
    source: Source<'a>,
    target: OwnedTarget,
    #[serde(skip_serializing_if = "Option::is_none")]
    iotune: Option<IoTune>,
    #[serde(skip_serializing_if = "Option::is_none")]
    readonly: Option<()>,
    serial: &'a str,
}

/// Without `_max` QEMU lets no more than a tenth of a second's worth pass at once.
#[derive(Serialize)]
struct IoTune {
    #[serde(skip_serializing_if = "Option::is_none")]
    total_bytes_sec: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    total_iops_sec: Option<u32>,
}

#[derive(Serialize)]
struct Driver {
    #[serde(rename = "@name")]
    name: &'static str,
    #[serde(rename = "@type")]
    format: &'static str,
    #[serde(rename = "@cache")]
    cache: &'static str,
    #[serde(rename = "@error_policy")]
    error_policy: &'static str,
    #[serde(rename = "@rerror_policy")]
    rerror_policy: &'static str,
    #[serde(rename = "@discard")]
    discard: &'static str,
}

#[derive(Serialize)]
struct OwnedTarget {
    #[serde(rename = "@dev")]
    dev: String,
    #[serde(rename = "@bus")]
    bus: &'static str,
}

#[derive(Serialize)]
struct Source<'a> {
    #[serde(rename = "@file", skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    #[serde(rename = "@protocol", skip_serializing_if = "Option::is_none")]
    protocol: Option<&'static str>,
    #[serde(rename = "@name", skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<Host>,
    #[serde(skip_serializing_if = "Option::is_none")]
    auth: Option<Auth<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    initiator: Option<Initiator<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    identity: Option<Identity>,
}

#[derive(Serialize)]
struct Host {
    #[serde(rename = "@name")]
    name: String,
    /// NFS has its own, which its client asks the server for.
    #[serde(rename = "@port", skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
}

/// Numbers of this host's, as libvirt would look for a name otherwise.
#[derive(Serialize)]
struct Identity {
    #[serde(rename = "@user")]
    user: String,
    #[serde(rename = "@group")]
    group: String,
}

#[derive(Serialize)]
struct Auth<'a> {
    #[serde(rename = "@username")]
    username: &'a str,
    secret: SecretReference,
}

#[derive(Serialize)]
struct SecretReference {
    #[serde(rename = "@type")]
    kind: &'static str,
    #[serde(rename = "@uuid")]
    uuid: String,
}

#[derive(Serialize)]
struct Initiator<'a> {
    iqn: Name<'a>,
}

#[derive(Serialize)]
struct Name<'a> {
    #[serde(rename = "@name")]
    name: &'a str,
}

/// A password's place in libvirtd: in memory only, and shown to nobody.
#[derive(Serialize)]
#[serde(rename = "secret")]
struct SecretElement<'a> {
    #[serde(rename = "@ephemeral")]
    ephemeral: &'static str,
    #[serde(rename = "@private")]
    private: &'static str,
    uuid: String,
    usage: Usage<'a>,
}

#[derive(Serialize)]
struct Usage<'a> {
    #[serde(rename = "@type")]
    kind: &'static str,
    target: &'a str,
}

/// What libvirt needs to know of a disk that is to go.
#[derive(Serialize)]
#[serde(rename = "disk")]
struct Leaving<'a> {
    #[serde(rename = "@type")]
    kind: &'static str,
    #[serde(rename = "@device")]
    device: &'static str,
    target: Target<'a>,
}

pub(super) fn volume_disk(disk: &DataDisk) -> VolumeDisk<'_> {
    let (kind, source) = match &disk.source {
        DiskSource::File(_) => ("file", file(disk)),
        DiskSource::Iscsi(source) => ("network", unit(source)),
        DiskSource::Nfs(source) => ("network", served(source)),
    };
    VolumeDisk {
        kind,
        device: "disk",
        driver: Driver {
            name: "qemu",
            format: RAW,
            cache: "none",
            error_policy: "stop",
            rerror_policy: "stop",
            discard: "unmap",
        },
        source,
        target: OwnedTarget { dev: disk.device(), bus: "virtio" },
        iotune: iotune(disk.limits),
        readonly: disk.read_only.then_some(()),
        serial: &disk.serial,
    }
}

fn iotune(limits: IoLimits) -> Option<IoTune> {
    let IoLimits { iops, throughput_mib } = limits;
    (!limits.is_none()).then(|| IoTune {
        total_bytes_sec: (throughput_mib > 0).then(|| u64::from(throughput_mib) * MIB),
        total_iops_sec: (iops > 0).then_some(iops),
    })
}

fn file(disk: &DataDisk) -> Source<'_> {
    Source {
        file: Some(disk.source_name()),
        protocol: None,
        name: None,
        host: None,
        auth: None,
        initiator: None,
        identity: None,
    }
}

fn served(source: &NfsSource) -> Source<'_> {
    Source {
        file: None,
        protocol: Some("nfs"),
        name: Some(source.path.clone()),
        host: Some(Host { name: source.server.to_string(), port: None }),
        auth: None,
        initiator: None,
        identity: Some(Identity { user: format!("+{}", source.user), group: format!("+{}", source.group) }),
    }
}

fn unit(source: &IscsiSource) -> Source<'_> {
    let secret = SecretReference { kind: "iscsi", uuid: source.secret.to_string() };
    Source {
        file: None,
        protocol: Some("iscsi"),
        name: Some(source.unit()),
        host: Some(Host { name: source.portal.ip().to_string(), port: Some(source.portal.port()) }),
        auth: Some(Auth { username: &source.account, secret }),
        initiator: Some(Initiator { iqn: Name { name: &source.initiator } }),
        identity: None,
    }
}

/// The XML of one disk.
pub(crate) fn disk_xml(disk: &DataDisk) -> Result<String, Error> {
    disk.validate()?;
    write(&volume_disk(disk))
}

/// The XML by which a running domain is asked to let go of a disk.
pub(crate) fn detach_xml(device: &str) -> String {
    let target = Target { dev: device, bus: Some("virtio"), managed: None };
    // Attributes of text cannot fail.
    write(&Leaving { kind: "file", device: "disk", target }).unwrap_or_default()
}

/// The XML of the place of an account's password.
pub(crate) fn secret_xml(secret: Uuid, account: &str) -> String {
    let element = SecretElement {
        ephemeral: "yes",
        private: "yes",
        uuid: secret.to_string(),
        usage: Usage { kind: "iscsi", target: account },
    };
    write(&element).unwrap_or_default()
}

/// The disks of a running domain that are volumes: all that are raw, and so also scratch disks, whose names nobody asks for. What cannot be read is none: libvirt wrote it.
pub(crate) fn volumes(domain: &str) -> Vec<LiveDisk> {
    let (mut reader, mut found) = (Reader::from_str(domain), Vec::new());
    let (mut disk, mut depth, mut within) = (None::<ReadDisk>, 0_usize, String::new());
    while let Ok(event) = reader.read_event() {
        match event {
            Event::Eof => break,
            Event::Start(element) if element.name().as_ref() == "disk" && disk.is_none() => {
                (disk, depth) = (Some(ReadDisk::default()), 0);
            }
            Event::Start(element) => {
                depth += 1;
                note(&mut disk, &element, depth);
                within = element.name().as_ref().to_owned();
            }
            Event::Text(text) => note_limit(&mut disk, &within, &text.xml10_content()),
            Event::Empty(element) => note(&mut disk, &element, depth + 1),
            Event::End(element) if element.name().as_ref() == "disk" && depth == 0 => {
                found.extend(disk.take().filter(|disk| disk.format == RAW).map(ReadDisk::live));
            }
            Event::End(_) => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    found
}

/// What was read of a disk so far.
#[derive(Default)]
struct ReadDisk {
    device: String,
    source: String,
    format: String,
    limits: IoLimits,
}

impl ReadDisk {
    fn live(self) -> LiveDisk {
        LiveDisk { device: self.device, source: self.source, limits: self.limits }
    }
}

/// Takes what an element directly below a disk says of it.
fn note(disk: &mut Option<ReadDisk>, element: &BytesStart<'_>, depth: usize) {
    let Some(disk) = disk.as_mut().filter(|_| depth == 1) else { return };
    let attribute = |name: &str| {
        let found = element.try_get_attribute(name).ok().flatten();
        found
            .and_then(|found| found.normalized_value(XmlVersion::Implicit1_0).ok())
            .map(std::borrow::Cow::into_owned)
    };
    match element.name().as_ref() {
        "source" => disk.source = attribute("name").or_else(|| attribute("file")).unwrap_or_default(),
        "target" => disk.device = attribute("dev").unwrap_or_default(),
        "driver" => disk.format = attribute("type").unwrap_or_default(),
        _ => {}
    }
}

/// Takes a number that stands within an element. Below a disk only its limits have elements of these names.
fn note_limit(disk: &mut Option<ReadDisk>, within: &str, text: &str) {
    let (Some(disk), Ok(number)) = (disk, text.trim().parse::<u64>()) else { return };
    let whole = |number| u32::try_from(number).unwrap_or(u32::MAX);
    match within {
        "total_iops_sec" => disk.limits.iops = whole(number),
        "total_bytes_sec" => disk.limits.throughput_mib = whole(number / MIB),
        _ => {}
    }
}
