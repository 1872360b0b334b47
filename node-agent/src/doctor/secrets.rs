//! The passwords of exports in libvirtd, against the guests that need them.

use std::collections::{BTreeMap, BTreeSet};

use tepui_types::ExportId;
use tepui_types::agent::{DiskPart, PlacementPart};
use uuid::Uuid;

use super::volumes::Live;
use super::{Books, Finding, Subject, warning};

/// Those that nothing refers to. While it cannot be told who refers to what, nothing is said.
pub(super) fn findings(
    books: &Books,
    live: Option<&Live>,
    secrets: Option<&BTreeMap<ExportId, Uuid>>,
) -> Vec<Finding> {
    let (Some(live), Some(secrets), true) = (live, secrets, books.wanted.names_everyone()) else {
        return Vec::new();
    };
    let named = named(books);
    let in_use = |id: &ExportId| {
        let name = id.to_string();
        live.values().flatten().any(|disk| disk.source.contains(&name))
    };
    let left = secrets.iter().filter(|(id, _)| !named.contains(id) && !in_use(id));
    let told = left.map(|(id, uuid)| {
        let what = "libvirtd keeps the password of this export, which no guest here has or is to have";
        let cure =
            format!("start the agent, which takes it away; where none runs: virsh secret-undefine {uuid}");
        warning(Subject::Secrets, id.to_string(), what, &cure)
    });
    told.collect()
}

/// The exports that guests are to have, running or not.
fn named(books: &Books) -> BTreeSet<ExportId> {
    let mut named = BTreeSet::new();
    for placement in &books.wanted.node.placements {
        if let PlacementPart::Present(spec) = &placement.wanted {
            let wanted = spec.disks.iter().filter(|disk| matches!(disk.wanted, DiskPart::Attached(_)));
            named.extend(wanted.map(|disk| disk.export_id));
        }
    }
    named
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tepui_libvirt::LiveDisk;
    use tepui_types::Generation;
    use tepui_types::agent::{HavePart, IoLimits, NodePart, PartKey};

    use super::*;
    use crate::ledger::Wanted;
    use crate::testing::{booting, node_id, placement, root};

    /// A guest that is to boot from the volume of the first export.
    fn books() -> Books {
        let node = Arc::new(NodePart { placements: vec![booting(placement(1), 1, root())] });
        let parts = vec![HavePart { key: PartKey::Node(node_id()), generation: Generation(1) }];
        Books { wanted: Wanted { node, parts, ..Wanted::default() }, ..Books::default() }
    }

    fn secrets(numbers: &[u128]) -> BTreeMap<ExportId, Uuid> {
        numbers.iter().map(|number| (ExportId::from_random(*number), Uuid::from_u128(*number))).collect()
    }

    #[test]
    fn a_password_that_no_guest_needs_is_told_with_its_cure_and_no_other_is() {
        let source = format!("iqn.2026-11.cloud.tepui:{}/1", ExportId::from_random(2));
        let live = LiveDisk { device: "vdf".into(), source, limits: IoLimits::NONE };
        let live = Live::from([(placement(7), vec![live])]);
        let found = findings(&books(), Some(&live), Some(&secrets(&[1, 2, 3])));
        assert_eq!(found.len(), 1, "wanted, torn away from a guest that runs, left: {found:?}");
        assert_eq!(found[0].object, ExportId::from_random(3).to_string());
        assert!(
            found[0].cure.ends_with(&Uuid::from_u128(3).to_string()) && found[0].fix.is_none(),
            "{found:?}"
        );
    }

    #[test]
    fn where_it_cannot_be_told_who_needs_what_nothing_is_said() {
        let (secrets, live) = (secrets(&[3]), Live::new());
        assert_eq!(findings(&books(), None, Some(&secrets)), []);
        assert_eq!(findings(&books(), Some(&live), None), []);
        let mut older = books();
        older.wanted.parts.clear();
        assert_eq!(findings(&older, Some(&live), Some(&secrets)), []);
    }
}
