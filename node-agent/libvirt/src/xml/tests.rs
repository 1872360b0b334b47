use std::collections::BTreeMap;
use std::path::PathBuf;

use proptest::prelude::*;
use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};
use tepui_types::agent::{IoLimits, ScratchKind};
use tepui_types::{InstanceId, MacAddress, PlacementId};

use uuid::Uuid;

use super::{detach_xml, domain_xml, secret_xml, volumes};
use crate::{
    Accelerator, DataDisk, DiskFormat, DiskSource, DomainSpec, Error, IscsiSource, LiveDisk, NfsSource,
    Overlay, Root, ScratchDisk, domain_name, system_uuid,
};

fn spec() -> DomainSpec {
    DomainSpec {
        placement_id: PlacementId::from_random(0x11),
        instance_id: InstanceId::from_random(0x22),
        vcpus: 2,
        memory_mib: 1024,
        accelerator: Accelerator::Tcg,
        root: Root::Overlay(overlay()),
        tap: "tpt1".into(),
        mac: MacAddress::from_octets([2, 0, 0, 0, 0, 1]),
        mtu: 1450,
        disks: Vec::new(),
        scratch: Vec::new(),
        console_log: "/var/lib/tepui-node/consoles/p-00000000000000011.log".into(),
    }
}

fn overlay() -> Overlay {
    Overlay {
        path: "/var/lib/tepui-node/disks/p-00000000000000011.qcow2".into(),
        base: "/var/lib/tepui-node/images/0123abcd".into(),
        base_format: DiskFormat::Raw,
        serial: "vol0123456789abcdef0".into(),
    }
}

#[test]
fn an_emulated_guest_on_a_raw_base() {
    insta::assert_snapshot!(domain_xml(&spec()).unwrap());
}

#[test]
fn a_hardware_guest_on_a_qcow2_base() {
    let spec = DomainSpec {
        accelerator: Accelerator::Kvm,
        root: Root::Overlay(Overlay { base_format: DiskFormat::Qcow2, ..overlay() }),
        vcpus: 96,
        memory_mib: 786_432,
        mtu: 9000,
        ..spec()
    };
    insta::assert_snapshot!(domain_xml(&spec).unwrap());
}

fn data_disk(letter: char, source: DiskSource) -> DataDisk {
    DataDisk {
        letter,
        serial: "vol0123456789abcdef1".into(),
        source,
        read_only: false,
        least_bytes: 0,
        limits: IoLimits::NONE,
    }
}

fn unit() -> IscsiSource {
    IscsiSource {
        portal: "10.9.0.1:3260".parse().unwrap(),
        target: "iqn.2026-11.cloud.tepui:export-00000000000000001".into(),
        lun: 1,
        initiator: "iqn.2026-11.cloud.tepui.host:export-00000000000000001".into(),
        account: "export-00000000000000001".into(),
        password: "NEVERSHOWN".into(),
        secret: Uuid::from_u128(7),
    }
}

fn served(path: &str) -> DiskSource {
    let server = "10.9.0.1".parse().unwrap();
    DiskSource::Nfs(NfsSource { server, path: path.into(), user: 64055, group: 64056 })
}

#[test]
fn a_guest_with_volumes() {
    let file = DataDisk { read_only: true, ..data_disk('c', DiskSource::File("/srv/a & b/disk.raw".into())) };
    let limits = |iops, throughput_mib| IoLimits { iops, throughput_mib };
    let disks = vec![
        data_disk('b', DiskSource::Iscsi(unit())),
        DataDisk { limits: limits(100, 0), ..file },
        DataDisk { limits: limits(4000, 250), ..data_disk('d', served("/pool/e/disk.raw")) },
        DataDisk { limits: limits(0, 1), ..data_disk('e', served("/pool/f/disk.raw")) },
    ];
    let live: Vec<_> = disks.iter().map(DataDisk::live).collect();
    let xml = domain_xml(&DomainSpec { disks, ..spec() }).unwrap();
    assert!(!xml.contains("NEVERSHOWN"), "no password in the XML");
    assert_eq!(volumes(&xml), live, "libvirt's XML is read as ours is written");
    insta::assert_snapshot!(xml);
    insta::assert_snapshot!(secret_xml(unit().secret, &unit().account));
    insta::assert_snapshot!(detach_xml("vdb"));
}

#[test]
fn a_guest_that_boots_from_a_volume() {
    let root = data_disk('a', DiskSource::Iscsi(unit()));
    let disks = vec![data_disk('b', served("/pool/e/disk.raw"))];
    let live = vec![root.live(), disks[0].live()];
    let spec = DomainSpec { root: Root::Volume(root), disks, ..spec() };
    let secrets: Vec<_> = spec.volumes().map(DataDisk::device).collect();
    assert_eq!(secrets, ["vda", "vdb"], "libvirtd is told the secret of the root, too");
    let xml = domain_xml(&spec).unwrap();
    assert!(!xml.contains("NEVERSHOWN"), "no password in the XML");
    assert_eq!(volumes(&xml), live, "it is a volume as the others are");
    assert_eq!(live.iter().map(LiveDisk::is_root).collect::<Vec<_>>(), [true, false]);
    insta::assert_snapshot!(xml);
}

fn scratch(kind: ScratchKind, letter: char) -> ScratchDisk {
    ScratchDisk { kind, letter, path: format!("/var/lib/tepui-node/disks/p-1.{letter}").into() }
}

#[test]
fn a_guest_with_scratch_disks() {
    let scratch = vec![scratch(ScratchKind::Scratch, 'b'), scratch(ScratchKind::Swap, 'c')];
    let disks = vec![data_disk('d', served("/pool/e/disk.raw"))];
    let with = domain_xml(&DomainSpec { scratch, disks: disks.clone(), ..spec() }).unwrap();
    let without = domain_xml(&DomainSpec { disks, ..spec() }).unwrap();
    let ports = |xml: &str| xml.matches("pcie-root-port").count();
    assert_eq!(ports(&with), ports(&without) + 2, "they take no port that a volume may need later");
    insta::assert_snapshot!(with);
}

#[test]
fn what_is_no_disks_xml_is_no_disk() {
    for text in [
        "",
        "<domain>",
        "<disk><target dev='vdb'/>",
        "<a><disk><b><driver type='raw'/></b></disk></a>",
        "<<<",
    ] {
        assert_eq!(volumes(text), [], "{text}");
    }
}

#[test]
fn a_bad_field_of_a_disk_is_named_with_its_value_and_rule() {
    let refused =
        |disk: DataDisk| domain_xml(&DomainSpec { disks: vec![disk], ..spec() }).unwrap_err().to_string();
    let iscsi = |change: fn(&mut IscsiSource)| {
        let mut source = unit();
        change(&mut source);
        refused(data_disk('b', DiskSource::Iscsi(source)))
    };
    let misplaced = |scratch| {
        let disks = vec![data_disk('d', served("/e/disk.raw"))];
        domain_xml(&DomainSpec { scratch: vec![scratch], disks, ..spec() }).unwrap_err().to_string()
    };
    let messages = [
        refused(data_disk('a', DiskSource::Iscsi(unit()))),
        refused(data_disk('1', DiskSource::Iscsi(unit()))),
        domain_xml(&DomainSpec { root: Root::Volume(data_disk('b', served("/e/disk.raw"))), ..spec() })
            .unwrap_err()
            .to_string(),
        refused(DataDisk { serial: "vol-1 ".into(), ..data_disk('b', DiskSource::Iscsi(unit())) }),
        refused(data_disk('b', DiskSource::File("disk.raw".into()))),
        iscsi(|source| source.target = "iqn/../x".into()),
        iscsi(|source| source.initiator.clear()),
        iscsi(|source| source.account = "a,b".into()),
        refused(data_disk('b', served("pool/disk.raw"))),
        misplaced(scratch(ScratchKind::Swap, 'a')),
        misplaced(scratch(ScratchKind::Swap, 'd')),
        misplaced(ScratchDisk { path: "p-1.swap".into(), ..scratch(ScratchKind::Swap, 'b') }),
    ];
    insta::assert_snapshot!(messages.join("\n"));
}

#[test]
fn metacharacters_in_paths_are_escaped() {
    let spec = DomainSpec {
        root: Root::Overlay(Overlay {
            path: "/a'/\"><source file='/etc/shadow'/>&amp;".into(),
            base: "/b & <b>".into(),
            ..overlay()
        }),
        console_log: "/c]]>ü".into(),
        ..spec()
    };
    insta::assert_snapshot!(domain_xml(&spec).unwrap());
}

#[test]
fn a_bad_field_is_named_with_its_value_and_rule() {
    let refused = |change: fn(&mut DomainSpec)| {
        let mut spec = spec();
        change(&mut spec);
        domain_xml(&spec).unwrap_err().to_string()
    };
    let of_root = |change: fn(&mut Overlay)| {
        let mut overlay = overlay();
        change(&mut overlay);
        domain_xml(&DomainSpec { root: Root::Overlay(overlay), ..spec() }).unwrap_err().to_string()
    };
    let messages = [
        refused(|spec| spec.vcpus = 0),
        refused(|spec| spec.memory_mib = 0),
        of_root(|root| root.serial = "vol-0123456789abcdef0".into()),
        refused(|spec| spec.tap = "vnet7".into()),
        refused(|spec| spec.tap = "../../etc".into()),
        of_root(|root| root.path = "disk.qcow2".into()),
        of_root(|root| root.base = "/base\n".into()),
        refused(|spec| spec.console_log = "/log\0".into()),
    ];
    insta::assert_snapshot!(messages.join("\n"));
}

fn awkward_text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[-_.a-z0-9]{0,22}",
        proptest::collection::vec(
            prop_oneof![
                Just("<"),
                Just(">"),
                Just("&"),
                Just("'"),
                Just("\""),
                Just("]]>"),
                Just("<!--"),
                Just("&lt;"),
                Just("&#10;"),
                Just("{}"),
                Just(" "),
                Just("\u{a0}"),
                Just("\u{fffe}"),
                Just("x"),
                Just("é")
            ],
            0..12
        )
        .prop_map(|pieces| pieces.concat()),
    ]
}

proptest! {
    #[test]
    fn every_text_is_refused_or_parses_back(
        [path, base, console_log, tap, serial] in [(); 5].map(|()| awkward_text())
    ) {
        let absolute = |text: &str| PathBuf::from(format!("/{text}"));
        let root = Overlay { path: absolute(&path), base: absolute(&base), serial, ..overlay() };
        let spec = DomainSpec {
            root: Root::Overlay(root.clone()),
            console_log: absolute(&console_log),
            tap,
            ..spec()
        };
        let named = Root::Overlay(Overlay { serial: "vol1".into(), ..root });
        // One bad field must not hide the others.
        for spec in [
            DomainSpec { tap: "tpt1".into(), root: named, ..spec.clone() },
            spec,
        ] {
            match domain_xml(&spec) {
                Ok(xml) => prop_assert_eq!(read_back(&xml), intent(&spec)),
                Err(error) => prop_assert!(matches!(error, Error::Spec { .. }), "{}", error),
            }
        }
    }
}

/// The values of `spec` by the place where libvirt looks for them.
fn intent(spec: &DomainSpec) -> BTreeMap<String, String> {
    let uuid = system_uuid(spec.placement_id).to_string();
    let path = |path: &PathBuf| path.to_str().unwrap().to_owned();
    let Root::Overlay(root) = &spec.root else { panic!("{spec:?}") };
    [
        ("/domain/name", domain_name(spec.placement_id)),
        ("/domain/uuid", uuid),
        ("/domain/devices/disk/source@file", path(&root.path)),
        ("/domain/devices/disk/backingStore/source@file", path(&root.base)),
        ("/domain/devices/disk/serial", root.serial.clone()),
        ("/domain/devices/interface/target@dev", spec.tap.clone()),
        ("/domain/devices/serial/source@path", path(&spec.console_log)),
        ("/domain/devices/console/source@path", path(&spec.console_log)),
    ]
    .map(|(place, value)| (place.to_owned(), value))
    .into()
}

/// The same places as a parser that knows nothing of our structs finds them.
fn read_back(xml: &str) -> BTreeMap<String, String> {
    let wanted = intent(&spec());
    let mut found = BTreeMap::new();
    let mut path = Vec::new();
    let mut reader = Reader::from_str(xml);
    let mut text = String::new();
    loop {
        match reader.read_event().unwrap() {
            Event::Start(element) => {
                path.push(name(&element));
                note_attributes(&path, &element, &wanted, &mut found);
                text.clear();
            }
            Event::Empty(element) => {
                path.push(name(&element));
                note_attributes(&path, &element, &wanted, &mut found);
                path.pop();
            }
            Event::Text(piece) => text.push_str(&piece.xml10_content()),
            Event::GeneralRef(_) => panic!("no element has a text that needs escapes"),
            Event::End(_) => {
                note(format!("/{}", path.join("/")), std::mem::take(&mut text), &wanted, &mut found);
                path.pop();
            }
            Event::Eof => return found,
            _ => {}
        }
    }
}

fn note_attributes(
    path: &[String],
    element: &BytesStart<'_>,
    wanted: &BTreeMap<String, String>,
    found: &mut BTreeMap<String, String>,
) {
    for attribute in element.attributes() {
        let attribute = attribute.unwrap();
        let key = attribute.key.as_ref().to_owned();
        let place = format!("/{}@{key}", path.join("/"));
        let value = attribute.normalized_value(quick_xml::XmlVersion::Implicit1_0).unwrap();
        note(place, value.into_owned(), wanted, found);
    }
}

fn note(
    place: String,
    value: String,
    wanted: &BTreeMap<String, String>,
    found: &mut BTreeMap<String, String>,
) {
    if wanted.contains_key(&place) {
        assert_eq!(found.insert(place.clone(), value), None, "{place} twice");
    }
}

fn name(element: &BytesStart<'_>) -> String {
    element.name().as_ref().to_owned()
}
