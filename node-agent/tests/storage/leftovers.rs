//! What lies in a pool and is not wanted there.

use tepui_types::agent::{Leftover, LeftoverKind, SnapshotPart, StoredId, VolumePart, WantedUnlink};

use crate::support::{pool_id, snapshot, volume};
use crate::{Host, host, present, walk};

fn kinds(found: &[Leftover]) -> Vec<LeftoverKind> {
    found.iter().map(|one| one.kind).collect()
}

fn removed(number: u128) -> LeftoverKind {
    LeftoverKind::Removed { id: StoredId::Volume(volume(number)) }
}

fn order(host: &mut Host, number: u128) {
    host.part.unlinks = vec![WantedUnlink { pool_id: pool_id(), id: StoredId::Volume(volume(number)) }];
}

#[test]
fn what_was_removed_is_told_of_and_unlinked_by_order_alone() {
    host(|host, path| {
        let trash = path.join("pool/trash");
        for number in [1, 2] {
            host.want_volume(number, present(1));
        }
        assert_eq!(host.apply().leftovers, [], "they are wanted");
        for number in [1, 2] {
            host.want_volume(number, VolumePart::Absent);
        }
        assert_eq!(kinds(&host.apply().leftovers), [removed(1), removed(2)]);
        host.part.volumes.clear();
        // Removed at the epoch, by this host's clock: that is long ago.
        host.restart();
        assert_eq!(kinds(&host.apply().leftovers), [removed(1), removed(2)]);
        order(host, 1);
        assert_eq!(kinds(&host.apply().leftovers), [removed(2)]);
        assert_eq!(walk(&trash).len(), 1);
        order(host, 9);
        assert_eq!(kinds(&host.apply().leftovers), [removed(2)], "nothing of that name");

        std::fs::create_dir(trash.join("an operator's.1")).unwrap();
        order(host, 2);
        assert_eq!(host.apply().leftovers, []);
        assert!(trash.join("an operator's.1").exists());
    });
}

#[test]
fn a_file_that_the_part_does_not_name_is_told_of_and_stays() {
    host(|host, path| {
        let taken = SnapshotPart::Present { volume_id: volume(1), copy_of: None, image: None, taken: false };
        host.want_volume(1, present(1));
        host.want_snapshot(1, pool_id(), taken);
        assert_eq!(host.apply().leftovers, []);
        host.part.volumes.clear();
        host.part.snapshots.clear();
        order(host, 1);
        let ids = [StoredId::Volume(volume(1)), StoredId::Snapshot(snapshot(1))];
        let unnamed = ids.map(|id| LeftoverKind::Unnamed { id });
        assert_eq!(kinds(&host.apply().leftovers), unnamed);
        let kept = walk(&path.join("pool/volumes")).len() + walk(&path.join("pool/snapshots")).len();
        assert_eq!(kept, 2, "an order is for the trash alone");
    });
}
