use std::sync::Arc;

use tepui_types::agent::{HavePart, NodePart, WantedVolume};
use tepui_types::{Generation, PoolId, VolumeId};

use super::super::{Severity, lines, report};
use super::*;
use crate::doctor::Examination;
use crate::ledger::Wanted as Ledgered;
use crate::testing::node_id;

const GUEST: &str = "iqn.2026-11.cloud.tepui.host:export-00000000000000001";

fn id(number: u128) -> ExportId {
    ExportId::from_random(number)
}

fn open(read_only: bool) -> ExportPart {
    ExportPart::Open { node_address: [10, 0, 0, 2].into(), secret: "never to be shown".into(), read_only }
}

/// A host with a pool of each backend, whose number is that of its volume, and these exports of the volume of a pool.
fn books(exports: &[(u128, u128, ExportPart)]) -> Books {
    let pool = |number, backend| PoolPart {
        id: PoolId::from_random(number),
        backend,
        path: format!("/pool{number}"),
        filer: None,
        soft_percent: 80,
        hard_percent: 95,
    };
    let volume = |number| WantedVolume {
        id: VolumeId::from_random(number),
        pool_id: PoolId::from_random(number),
        wanted: VolumePart::Present { size_bytes: 1, snapshot_id: None, image: None, made: true },
    };
    let export = |(number, volume, wanted): &(u128, u128, ExportPart)| WantedExport {
        id: id(*number),
        volume_id: VolumeId::from_random(*volume),
        wanted: wanted.clone(),
    };
    let part = StoragePart {
        pools: vec![pool(1, PoolBackend::Iscsi), pool(2, PoolBackend::Nfs), pool(3, PoolBackend::Local)],
        volumes: [1, 2, 3].map(volume).into(),
        exports: exports.iter().map(export).collect(),
        ..StoragePart::default()
    };
    let parts = vec![HavePart { key: PartKey::Storage(node_id()), generation: Generation(1) }];
    Books {
        wanted: Ledgered { storage: Some(Arc::new(part)), parts, ..Ledgered::default() },
        ..Books::default()
    }
}

/// The export of the first pool's volume, as tgtd should have it.
fn served(number: u128) -> Found {
    Found {
        name: format!("iqn.2026-11.cloud.tepui:{}", id(number)),
        id: Some(id(number)),
        path: Some(Volume::file_in("/pool1".as_ref(), VolumeId::from_random(1))),
        access: Access::ReadWrite,
        open: true,
        connections: vec![],
        others: vec![],
    }
}

fn connected() -> Vec<Connection> {
    vec![Connection { peer: GUEST.into(), address: Some([10, 0, 0, 2].into()) }]
}

fn compare(books: &Books, found: &[Found]) -> Vec<Finding> {
    Exports::of(books).unwrap().compare(By::Tgt, found, |_| "end it".into())
}

/// What the only finding says, and how bad it is.
#[track_caller]
fn said(books: &Books, found: &[Found]) -> (Severity, String) {
    let findings = compare(books, found);
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert!(findings[0].fix.is_none() && !findings[0].cure.is_empty(), "{findings:?}");
    (findings[0].severity, format!("{}: {}", findings[0].object, findings[0].what))
}

#[test]
fn what_is_served_as_wanted_is_no_finding() {
    let wanted = books(&[(1, 1, open(false)), (2, 1, ExportPart::Absent), (3, 2, open(false))]);
    let in_use = Found { connections: connected(), ..served(1) };
    assert_eq!(compare(&wanted, &[in_use]), [], "another server's is not missed here");
    let read = Found { access: Access::ReadOnly, ..served(1) };
    assert_eq!(compare(&books(&[(1, 1, open(true))]), &[read]), []);
}

#[test]
fn an_export_whose_volume_is_still_being_made_is_not_missed() {
    let mut wanted = books(&[(1, 1, open(false))]);
    let part = Arc::make_mut(wanted.wanted.storage.as_mut().unwrap());
    let image = None;
    part.volumes[0].wanted = VolumePart::Present { size_bytes: 1, snapshot_id: None, image, made: false };
    assert_eq!(compare(&wanted, &[]), []);
    assert_eq!(Exports::of(&wanted).unwrap().open(By::Tgt), 0, "nor the server");
    assert_eq!(compare(&wanted, &[served(1)]), []);
}

#[test]
fn each_difference_of_an_export_that_should_be_open_is_a_failure() {
    let wanted = books(&[(1, 1, open(false))]);
    for (found, what) in [
        (vec![], "should be open, and tgtd does not have it"),
        (vec![Found { open: false, ..served(1) }], "should be open, and tgtd lets nobody in by it"),
        (
            vec![Found { path: Some("/pool1/other".into()), ..served(1) }],
            "serves /pool1/other, and not /pool1/volumes/vol-",
        ),
        (
            vec![Found { access: Access::ReadOnly, ..served(1) }],
            "is open read-only, and should be read-write",
        ),
        (
            vec![Found { others: vec!["the initiator ALL".into()], ..served(1) }],
            "it lets in the initiator ALL",
        ),
    ] {
        let (severity, said) = said(&wanted, &found);
        assert_eq!(severity, Severity::Failure);
        assert!(said.starts_with(&format!("{} of vol-", id(1))) && said.contains(what), "{said}");
    }
    let read_only = books(&[(1, 1, open(true))]);
    let (severity, said) = said(&read_only, &[served(1)]);
    assert!(
        severity == Severity::Failure && said.contains("is open read-write, and should be read-only"),
        "{said}"
    );
}

#[test]
fn what_is_to_go_is_told_with_those_who_are_connected() {
    let wanted = books(&[(1, 1, ExportPart::Absent)]);
    let closing = Found { open: false, connections: connected(), ..served(1) };
    let (severity, told) = said(&wanted, std::slice::from_ref(&closing));
    assert_eq!(severity, Severity::Warning);
    assert!(told.contains(&format!("still connected to: {GUEST} at 10.0.0.2")), "{told}");
    let (severity, told) = said(&wanted, &[served(1)]);
    assert!(severity == Severity::Failure && told.contains("still open"), "{told}");
    let (severity, told) = said(&wanted, &[Found { open: false, ..served(1) }]);
    assert!(severity == Severity::Warning && told.contains("still there"), "{told}");
    let mut no_pool = wanted;
    Arc::make_mut(no_pool.wanted.storage.as_mut().unwrap()).pools.clear();
    assert!(said(&no_pool, &[closing]).1.contains("still connected"), "also where its pool is gone");
}

#[test]
fn a_stranger_is_told_with_its_file_and_its_peers_and_nothing_that_rules_a_terminal() {
    let nobody = books(&[]);
    let (severity, told) = said(&nobody, &[served(9)]);
    assert!(severity == Severity::Failure && told.starts_with(&id(9).to_string()), "{told}");
    let peer = Connection { peer: "iqn.x:\u{1b}[2Jy".into(), address: None };
    let foreign = Found {
        name: "iqn.2001-04.org.example:\u{7}disk".into(),
        id: None,
        connections: vec![peer],
        ..served(9)
    };
    let (_, told) = said(&nobody, &[foreign]);
    let expected = "iqn.2001-04.org.example:disk: tgtd serves it, and the control plane does not name it: /pool1/volumes/vol-00000000000000001/disk.raw, read-write; connected: iqn.x:[2Jy";
    assert_eq!(told, expected);
}

#[test]
fn while_nobody_says_who_belongs_here_nobody_is_a_stranger() {
    let mut older = books(&[(1, 1, open(false))]);
    older.wanted.parts.clear();
    assert_eq!(compare(&older, &[served(1), served(9)]), []);
    assert_eq!(compare(&older, &[]).len(), 1, "what was wanted still is");
    let mut torn = books(&[]);
    torn.wanted.damaged.insert(PartKey::Storage(node_id()));
    assert!(Exports::of(&torn).is_none());
    assert!(Exports::of(&Books::default()).is_none(), "nobody has said anything yet");
    let mut compute = Books::default();
    compute.wanted.node = Arc::new(NodePart::default());
    compute.wanted.parts = vec![HavePart { key: PartKey::Node(node_id()), generation: Generation(1) }];
    assert_eq!(compare(&compute, &[served(9)]).len(), 1, "a host that is to serve nothing");
}

#[test]
fn the_report_has_the_finding_with_its_cure_and_no_secret() {
    let books = books(&[(1, 1, open(false))]);
    let findings = compare(&books, &[]);
    let told = lines(&report(&Examination { books, findings, ..Examination::default() }, vec![]));
    let expected = format!(
        "FAIL  {} of {}: should be open, and tgtd does not have it\n      try: wait for the agent",
        id(1),
        VolumeId::from_random(1)
    );
    assert!(told.contains(&expected) && !told.contains("never to be shown"), "{told}");
    let fine = Examination { books: self::books(&[(1, 1, open(false))]), ..Examination::default() };
    assert!(lines(&report(&fine, vec![])).contains("PASS  exports: 1 are open as wanted"));
}
