use tepui_types::Epoch;
use tepui_types::agent::{NodeCapacity, NodeObserved, NodeUsage};

use super::*;

fn report(agent_run: u64, sequence: u64) -> Arc<Report> {
    let observed = NodeObserved {
        agent_version: "1".into(),
        boot_id: "b".into(),
        capacity: NodeCapacity { vcpus: 1, memory_mib: 1, disk_gib: 1 },
        usage: NodeUsage::default(),
        applied: Vec::new(),
        refused: Vec::new(),
        placements: Vec::new(),
        impaired: None,
        storage: None,
        io: Vec::new(),
        stalled: Vec::new(),
        findings: Vec::new(),
    };
    Arc::new(Report { epoch: Epoch(1), agent_run, sequence, observed })
}

#[test]
fn a_restarted_agent_is_no_second_one_but_one_that_comes_back_is() {
    let (fleet, node) = (Fleet::new(Timestamp::UNIX_EPOCH), NodeId::from_random(1));
    let alarms = [1, 1, 2, 2, 3, 2, 3].map(|run| fleet.heard_run(node, run, Timestamp::UNIX_EPOCH));
    assert_eq!(alarms, [false, false, false, false, false, true, false]);
    let at = |second| Timestamp::from_second(second).unwrap();
    assert!(fleet.is_duplicate(node, at(600)));
    assert_eq!((fleet.duplicates(at(600)), fleet.duplicates(at(601))), (vec![node], vec![]));
    assert!(!fleet.is_duplicate(node, at(601)), "one of the two was stopped");
}

#[test]
fn a_report_that_was_overtaken_or_repeats_one_is_dropped() {
    let (fleet, node) = (Fleet::new(Timestamp::UNIX_EPOCH), NodeId::from_random(1));
    fleet.keep(node, report(1, 5), None);
    assert!(fleet.is_overtaken(node, &report(1, 4)));
    assert!(fleet.is_overtaken(node, &report(1, 5)));
    assert!(!fleet.is_overtaken(node, &report(1, 6)));
    assert!(!fleet.is_overtaken(node, &report(2, 1)), "a new process counts from the start");
    fleet.keep(node, report(1, 4), None);
    assert_eq!(fleet.report(node).unwrap().sequence, 5);
}

#[test]
fn the_store_is_read_again_where_a_silence_began_or_ended() {
    let timeout = Duration::from_secs(90);
    let at = |second| Timestamp::from_second(second).unwrap();
    let (fleet, node) = (Fleet::new(at(0)), NodeId::from_random(1));
    assert!(!fleet.is_agreed(at(0), timeout), "it was never read");
    fleet.agreed([(node, false)]);
    assert!(fleet.is_agreed(at(90), timeout));
    assert!(!fleet.is_agreed(at(91), timeout), "a silence began");
    fleet.agreed([(node, true)]);
    assert!(fleet.is_agreed(at(91), timeout));
    fleet.seen(node, at(91));
    assert!(!fleet.is_agreed(at(91), timeout), "it ended");
    fleet.agreed([(node, false)]);
    fleet.seen(NodeId::from_random(2), at(91));
    assert!(!fleet.is_agreed(at(91), timeout), "a node joined");
}

#[test]
fn after_a_restart_every_node_has_its_full_time() {
    let timeout = Duration::from_secs(90);
    let at = |second| Timestamp::from_second(second).unwrap();
    let (fleet, node) = (Fleet::new(at(1000)), NodeId::from_random(1));
    assert!(!fleet.is_silent(node, at(1090), timeout));
    assert!(fleet.is_silent(node, at(1091), timeout));
    fleet.seen(node, at(1091));
    assert!(!fleet.is_silent(node, at(1181), timeout));
    assert_eq!(fleet.trouble(node, at(1182), timeout), Some(Health::Unknown));
    assert!(!fleet.is_silent(node, at(900), timeout), "a sign of life that came after the look");
}

#[test]
fn a_node_that_was_given_up_makes_nobody_read_the_store_when_its_agent_is_still_heard() {
    let timeout = Duration::from_secs(90);
    let at = |second| Timestamp::from_second(second).unwrap();
    let (fleet, node) = (Fleet::new(at(0)), NodeId::from_random(1));
    fleet.agreed([(node, true)]);
    fleet.forget(node);
    fleet.seen(node, at(1));
    for second in [1, 91, 92] {
        assert!(fleet.is_agreed(at(second), timeout), "{second}");
    }
}
