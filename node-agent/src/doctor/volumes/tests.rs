use std::sync::Arc;

use tepui_types::agent::{HavePart, IoLimits, NodePart, PartKey, ScratchKind, WantedPlacement};
use tepui_types::{ExportId, Generation, VolumeId};

use super::super::Severity;
use super::*;
use crate::ledger::Wanted;
use crate::testing::{booting, node_id, placement, root, running};

fn books(placements: Vec<WantedPlacement>) -> Books {
    let node = Arc::new(NodePart { placements });
    let parts = vec![HavePart { key: PartKey::Node(node_id()), generation: Generation(1) }];
    Books { wanted: Wanted { node, parts, ..Wanted::default() }, ..Books::default() }
}

fn spec(books: &mut Books) -> &mut PlacementSpec {
    let PlacementPart::Present(spec) = &mut Arc::make_mut(&mut books.wanted.node).placements[0].wanted else {
        panic!("absent")
    };
    spec
}

fn live(disks: Vec<LiveDisk>) -> Live {
    Live::from([(placement(1), disks)])
}

fn disk(source: &str) -> LiveDisk {
    LiveDisk { device: "vdf".into(), source: source.into(), limits: IoLimits::NONE }
}

/// What the guest of the books boots from, as its domain has it.
fn own(books: &mut Books) -> LiveDisk {
    root_of(spec(books)).unwrap().live()
}

#[test]
fn a_guest_that_has_what_it_should_is_no_finding() {
    let mut books = books(vec![booting(placement(1), 1, root())]);
    let scratch =
        disk(&format!("/disks/{}", crate::disks::scratch::file_name(placement(1), ScratchKind::Swap)));
    let live = live(vec![own(&mut books), scratch]);
    assert_eq!(findings(&books, Some(&live)), []);
    assert_eq!(count(Some(&live)), 1);
    assert_eq!(findings(&books, Some(&Live::new())), [], "it does not run, which is told of it as a guest");
    assert_eq!(findings(&books, None), [], "libvirt says nothing");
}

#[test]
fn a_volume_that_its_guest_lacks_is_told_while_it_is_to_run() {
    let mut books = books(vec![booting(placement(1), 1, root())]);
    let found = findings(&books, Some(&live(vec![])));
    assert!(found.len() == 1 && found[0].severity == Severity::Warning, "{found:?}");
    assert_eq!(found[0].object, VolumeId::from_random(1).to_string());
    assert!(found[0].what.contains("should have it as vda"), "{found:?}");
    spec(&mut books).power = Power::Stopped { force: false };
    assert_eq!(findings(&books, Some(&live(vec![]))), []);
}

#[test]
fn a_volume_that_nobody_names_or_that_is_to_go_is_a_warning() {
    let mut of = books(vec![running(placement(1), 1, 0)]);
    let source = format!("iqn.2026-11.cloud.tepui:{}/1", ExportId::from_random(9));
    let has = live(vec![disk(&source)]);
    let found = findings(&of, Some(&has));
    assert!(found.len() == 1 && found[0].severity == Severity::Warning, "{found:?}");
    assert_eq!(found[0].object, format!("{} vdf", placement(1)));
    assert!(found[0].what.contains(&source), "{found:?}");

    let (export_id, volume_id) = (ExportId::from_random(9), VolumeId::from_random(9));
    spec(&mut of).disks = vec![WantedDisk { export_id, volume_id, wanted: DiskPart::Absent }];
    let found = findings(&of, Some(&has));
    assert!(found.len() == 1 && found[0].what.contains("asked to let go"), "{found:?}");
    assert_eq!(found[0].object, volume_id.to_string());
    let older = Books { wanted: Wanted { parts: vec![], ..of.wanted }, ..Books::default() };
    assert_eq!(findings(&older, Some(&has)), []);
}
