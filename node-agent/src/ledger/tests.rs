use std::os::unix::fs::PermissionsExt;

use proptest::prelude::*;

use super::*;
use crate::testing::{node_id, node_part, placement, running, vpc_id, vpc_part};

fn open(dir: &Path) -> Result<Ledger, LedgerError> {
    Ledger::open(&dir.join("ledger"), Seal::open(&dir.join("key")).unwrap())
}

fn take(ledger: &mut Ledger, epoch: u64, parts: Vec<Part>) -> Taken {
    ledger.take(node_id(), Epoch(epoch), parts).unwrap()
}

#[test]
fn a_ledger_that_is_opened_again_holds_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let mut ledger = open(dir.path()).unwrap();
    take(&mut ledger, 3, vec![node_part(7, vec![running(placement(1), 1, 0)]), vpc_part(2)]);
    let progress = Progress { start_seq: 1, ..Progress::default() };
    ledger.record(placement(1), Some(progress.clone())).unwrap();
    ledger.record(placement(2), Some(progress.clone())).unwrap();
    ledger.record(placement(2), None).unwrap();
    let again = open(dir.path()).unwrap();
    assert_eq!((again.epoch(), again.wanted()), (Epoch(3), ledger.wanted()));
    assert_eq!(again.progress(), &BTreeMap::from([(placement(1), progress)]));
    assert!(again.wanted().vpcs.contains_key(&vpc_id()));
}

#[test]
fn files_are_for_root_only_and_show_no_user_data() {
    let dir = tempfile::tempdir().unwrap();
    let mut ledger = open(dir.path()).unwrap();
    take(&mut ledger, 1, vec![node_part(1, vec![running(placement(1), 1, 0)])]);
    for entry in fs::read_dir(dir.path().join("ledger")).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let bytes = fs::read(&path).unwrap();
        assert!(!bytes.windows(16).any(|window| window == b"IyEvYmluL3NoCg=="));
    }
}

#[test]
fn an_older_generation_is_refused_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut ledger = open(dir.path()).unwrap();
    take(&mut ledger, 1, vec![node_part(5, vec![running(placement(1), 1, 0)])]);
    let before = ledger.wanted();
    let taken = take(&mut ledger, 1, vec![node_part(4, Vec::new())]);
    assert!(!taken.changed);
    assert_eq!(taken.refused[0].reason, "it is older than generation 5 of the ledger");
    assert_eq!(ledger.wanted(), before);
}

#[test]
fn the_same_generation_is_known_or_refused_by_its_content() {
    let dir = tempfile::tempdir().unwrap();
    let mut ledger = open(dir.path()).unwrap();
    take(&mut ledger, 1, vec![node_part(5, vec![running(placement(1), 1, 0)])]);
    let before = ledger.wanted();
    assert_eq!(take(&mut ledger, 1, vec![node_part(5, vec![running(placement(1), 1, 0)])]), Taken::default());
    let taken = take(&mut ledger, 1, vec![node_part(5, Vec::new())]);
    assert_eq!(taken.refused[0].reason, "the ledger holds the same generation with other content");
    assert_eq!(ledger.wanted(), before);
}

#[test]
fn a_new_epoch_counts_anew_and_an_older_one_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut ledger = open(dir.path()).unwrap();
    take(&mut ledger, 1, vec![node_part(5, vec![running(placement(1), 1, 0)]), vpc_part(9)]);
    assert!(take(&mut ledger, 2, vec![node_part(1, Vec::new())]).changed);
    assert_eq!(ledger.have(), [HavePart { key: PartKey::Node(node_id()), generation: Generation(1) }]);
    assert!(ledger.wanted().vpcs.contains_key(&vpc_id()), "an older part holds until a newer one comes");
    let taken = take(&mut ledger, 1, vec![node_part(6, Vec::new())]);
    assert_eq!(taken.refused[0].reason, "epoch 1 is older than epoch 2 of the ledger");
}

#[test]
fn parts_for_others_and_parts_that_contradict_their_name_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut ledger = open(dir.path()).unwrap();
    let foreign = Part { key: PartKey::Node(NodeId::from_random(9)), ..node_part(1, Vec::new()) };
    let nameless = Part { key: PartKey::Vpc(VpcId::from_random(9)), ..vpc_part(1) };
    let mixed = Part { key: PartKey::Vpc(vpc_id()), ..node_part(1, Vec::new()) };
    let absent = Part { body: PartBody::Absent, ..node_part(1, Vec::new()) };
    let taken = take(&mut ledger, 1, vec![foreign, nameless, mixed, absent]);
    assert_eq!((taken.changed, taken.refused.len()), (false, 4));
    assert_eq!(ledger.wanted(), Wanted::default());
}

#[test]
fn an_absent_vpc_is_no_longer_carried() {
    let dir = tempfile::tempdir().unwrap();
    let mut ledger = open(dir.path()).unwrap();
    take(&mut ledger, 1, vec![vpc_part(1)]);
    take(&mut ledger, 1, vec![Part { body: PartBody::Absent, ..vpc_part(2) }]);
    assert!(open(dir.path()).unwrap().wanted().vpcs.is_empty());
}

#[test]
fn a_write_that_was_cut_off_leaves_the_part_before() {
    let dir = tempfile::tempdir().unwrap();
    let mut ledger = open(dir.path()).unwrap();
    take(&mut ledger, 1, vec![node_part(1, vec![running(placement(1), 1, 0)])]);
    let name = dir.path().join("ledger").join(node_id().to_string());
    let whole = fs::read(&name).unwrap();
    for length in [0, 1, whole.len() / 2, whole.len()] {
        fs::write(name.with_added_extension("tmp"), &whole[..length]).unwrap();
        let again = open(dir.path()).unwrap();
        assert_eq!(again.wanted(), ledger.wanted());
        assert_eq!(fs::read_dir(dir.path().join("ledger")).unwrap().count(), 1);
    }
}

#[test]
fn a_placement_is_never_wanted_before_its_network_when_a_write_is_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let mut ledger = open(dir.path()).unwrap();
    let in_the_way = dir.path().join("ledger").join(node_id().to_string());
    fs::create_dir(&in_the_way).unwrap();
    let parts = vec![node_part(1, vec![running(placement(1), 1, 0)]), vpc_part(1)];
    ledger.take(node_id(), Epoch(1), parts).unwrap_err();
    fs::remove_dir(&in_the_way).unwrap();
    let again = open(dir.path()).unwrap().wanted();
    assert_eq!((again.node.placements.len(), again.vpcs.len()), (0, 1));
}

#[test]
fn progress_from_before_the_mark_of_the_disk_is_still_read() {
    let text = r#"{"start_seq":1,"reboot_seq":0,"boot_id":"b","off":null,"stopping":false}"#;
    let progress: Progress = serde_json::from_str(text).unwrap();
    assert!(progress.has_disk() && !progress.disk_made);
}

/// Opens a ledger of which one file is damaged.
fn with_damage(name: &str, damage: impl Fn(&mut Vec<u8>)) -> (tempfile::TempDir, Ledger) {
    let dir = tempfile::tempdir().unwrap();
    let mut ledger = open(dir.path()).unwrap();
    take(&mut ledger, 3, vec![node_part(7, vec![running(placement(1), 1, 0)]), vpc_part(2)]);
    let progress = Progress { start_seq: 1, reboot_seq: 4, ..Progress::default() };
    ledger.record(placement(1), Some(progress)).unwrap();
    let path = dir.path().join("ledger").join(name);
    let mut bytes = fs::read(&path).unwrap();
    damage(&mut bytes);
    fs::write(&path, bytes).unwrap();
    let ledger = open(dir.path()).unwrap();
    (dir, ledger)
}

const CUTS: [fn(&mut Vec<u8>); 2] = [Vec::clear, |bytes| bytes.truncate(bytes.len() / 2)];

#[test]
fn a_torn_vpc_part_alone_is_lost_and_comes_again() {
    for cut in CUTS {
        let (dir, mut ledger) = with_damage(&vpc_id().to_string(), cut);
        let key = PartKey::Vpc(vpc_id());
        assert_eq!(ledger.wanted().damaged, BTreeSet::from([key]));
        assert_eq!((ledger.wanted().node.placements.len(), ledger.progress().len()), (1, 1));
        assert!(ledger.have().contains(&HavePart { key, generation: Generation(0) }), "it is asked for");
        assert!(ledger.wanted().parts.iter().all(|part| part.key != key), "it was not acted on");
        assert!(take(&mut ledger, 3, vec![vpc_part(2)]).changed);
        for ledger in [ledger, open(dir.path()).unwrap()] {
            assert_eq!(ledger.wanted().damaged, BTreeSet::new());
            assert!(ledger.wanted().vpcs.contains_key(&vpc_id()));
        }
    }
}

#[test]
fn a_torn_vpc_part_that_is_absent_meanwhile_is_no_longer_asked_for() {
    let (_dir, mut ledger) = with_damage(&vpc_id().to_string(), CUTS[0]);
    take(&mut ledger, 3, vec![Part { body: PartBody::Absent, ..vpc_part(3) }]);
    assert_eq!(ledger.wanted().damaged, BTreeSet::new());
    assert!(!ledger.have().iter().any(|part| part.generation == Generation(0)));
}

#[test]
fn a_torn_node_part_leaves_every_placement_unnamed_until_it_comes_again() {
    for cut in CUTS {
        let (_dir, mut ledger) = with_damage(&node_id().to_string(), cut);
        assert_eq!(ledger.wanted().damaged, BTreeSet::from([PartKey::Node(node_id())]));
        assert_eq!((ledger.wanted().node.placements.len(), ledger.wanted().vpcs.len()), (0, 1));
        assert!(take(&mut ledger, 3, vec![node_part(7, vec![running(placement(1), 1, 0)])]).changed);
        assert_eq!(ledger.wanted().node.placements.len(), 1);
    }
}

#[test]
fn torn_progress_counts_as_a_disk_that_was_made() {
    for cut in CUTS {
        let (_dir, ledger) = with_damage(&placement(1).to_string(), cut);
        let progress = &ledger.progress()[&placement(1)];
        assert!(progress.lost && progress.has_disk() && progress.off.is_none() && !progress.stopping);
        assert_eq!((progress.start_seq, progress.reboot_seq), (1, 0), "what was wanted counts as done");
        assert_eq!(ledger.wanted().damaged, BTreeSet::new());
    }
}

#[test]
fn a_torn_sealing_key_loses_the_ledger_and_stops_nobody() {
    for cut in CUTS {
        let (dir, _) = with_damage(&vpc_id().to_string(), |_| {});
        let key = dir.path().join("key");
        let mut bytes = fs::read(&key).unwrap();
        cut(&mut bytes);
        fs::write(&key, bytes).unwrap();
        let mut ledger = open(dir.path()).unwrap();
        assert_eq!(ledger.wanted().damaged.len(), 2);
        assert!(ledger.progress()[&placement(1)].has_disk());
        assert!(take(&mut ledger, 3, vec![node_part(7, Vec::new()), vpc_part(2)]).changed);
        assert_eq!(open(dir.path()).unwrap().wanted().damaged, BTreeSet::new(), "the new key is kept");
    }
}

#[test]
fn an_absent_part_is_dropped_once_it_is_acknowledged_and_no_older_one_brings_its_vpc_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut ledger = open(dir.path()).unwrap();
    let absent = |generation| Part { body: PartBody::Absent, ..vpc_part(generation) };
    let told = |generation| [HavePart { key: PartKey::Vpc(vpc_id()), generation: Generation(generation) }];
    take(&mut ledger, 1, vec![node_part(1, Vec::new()), vpc_part(3)]);
    ledger.drop_absent(&told(3)).unwrap();
    assert!(ledger.wanted().vpcs.contains_key(&vpc_id()), "it is not absent");
    take(&mut ledger, 1, vec![absent(4)]);
    ledger.drop_absent(&told(3)).unwrap();
    assert_eq!(ledger.have().len(), 2, "an older one was acknowledged");
    ledger.drop_absent(&told(4)).unwrap();
    ledger.drop_absent(&told(4)).unwrap();
    assert_eq!(ledger.have().len(), 1);
    assert_eq!(fs::read_dir(dir.path().join("ledger")).unwrap().count(), 1);
    for late in [vpc_part(3), vpc_part(4), absent(4)] {
        let taken = take(&mut ledger, 1, vec![late]);
        assert_eq!(taken.refused[0].reason, "it is not newer than generation 4, which was absent");
        assert!(!taken.changed);
    }
    assert!(take(&mut ledger, 1, vec![vpc_part(5)]).changed);
    assert!(ledger.wanted().vpcs.contains_key(&vpc_id()), "the VPC is carried again");
    assert_eq!(open(dir.path()).unwrap().wanted(), ledger.wanted());
}

proptest! {
    #[test]
    fn a_damaged_file_is_never_acted_on(place in 0_usize..400, bit in 0_u8..8) {
        let dir = tempfile::tempdir().unwrap();
        let mut ledger = open(dir.path()).unwrap();
        take(&mut ledger, 1, vec![node_part(1, vec![running(placement(1), 1, 0)])]);
        let path = dir.path().join("ledger").join(node_id().to_string());
        let mut bytes = fs::read(&path).unwrap();
        let place = place % bytes.len();
        bytes[place] ^= 1 << bit;
        fs::write(&path, bytes).unwrap();
        let wanted = open(dir.path()).unwrap().wanted();
        prop_assert!(wanted.node.placements.is_empty() && wanted.damaged.len() == 1);
    }
}

#[test]
fn a_file_under_another_name_is_not_opened() {
    let dir = tempfile::tempdir().unwrap();
    let mut ledger = open(dir.path()).unwrap();
    take(&mut ledger, 1, vec![vpc_part(1)]);
    let ledger_dir = dir.path().join("ledger");
    fs::rename(ledger_dir.join(vpc_id().to_string()), ledger_dir.join("vpc-00000000000000009")).unwrap();
    let wanted = open(dir.path()).unwrap().wanted();
    assert_eq!((wanted.vpcs.len(), wanted.damaged.len()), (0, 1));
}
