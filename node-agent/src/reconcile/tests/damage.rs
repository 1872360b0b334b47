//! Torn files of the ledger.

use super::*;
use crate::testing::vpc_id;

#[tokio::test]
async fn while_a_vpcs_part_is_torn_its_guests_run_on_and_the_network_stays_as_it_is() {
    let (host, hypervisor) = simulated();
    let id = placement(1);
    let mut agent = host.start_agent();
    agent.take(vec![vpc_part(1), node_part(1, vec![running(id, 1, 0)])]);
    agent.wait_state(id, is_running(1, 0)).await;
    drop(agent);
    std::fs::write(host.dir.path().join("ledger").join(vpc_id().to_string()), "").unwrap();
    let mut agent = host.start_agent();
    let told =
        |seen: &Observed| seen.impaired.as_ref().is_some_and(|why| why.contains(&vpc_id().to_string()));
    agent.wait("the damage is told", told).await;
    agent.wait_state(id, is_running(1, 0)).await;
    agent.shared.executor.network.ensure().await.unwrap();
    assert_eq!(
        agent.shared.executor.network.tap_name(id),
        None,
        "the network was made anew without the part"
    );
    agent.take(vec![vpc_part(1)]);
    agent.wait("the damage is mended", |seen| seen.looked && seen.impaired.is_none()).await;
    agent.shared.executor.network.ensure().await.unwrap();
    assert!(agent.shared.executor.network.tap_name(id).is_some());
    assert_eq!(hypervisor.starts_and_resets(id), (1, 0));
}

#[tokio::test]
async fn torn_files_of_the_ledger_stop_reset_or_start_nobody() {
    let names = [node_id().to_string(), vpc_id().to_string(), placement(1).to_string(), "../key".to_owned()];
    for (name, is_cut) in names.iter().flat_map(|name| [(name, false), (name, true)]) {
        let (host, hypervisor) = simulated();
        let (id, off) = (placement(1), placement(2));
        let mut agent = host.start_agent();
        let wanted = vec![running(id, 1, 1), running(off, 1, 0)];
        agent.take(vec![vpc_part(1), node_part(1, wanted.clone())]);
        agent.wait_state(id, is_running(1, 1)).await;
        agent.wait_state(off, is_running(1, 0)).await;
        drop(agent);
        let path = host.dir.path().join("ledger").join(name);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, if is_cut { &whole[..whole.len() / 2] } else { &[] }).unwrap();
        let mut agent = host.start_agent();
        agent.wait("both are seen", |seen| seen.placements.len() == 2).await;
        agent.take(vec![vpc_part(1), node_part(1, wanted)]);
        agent.wait_state(id, is_running(1, 1)).await;
        agent.wait_state(off, is_running(1, 0)).await;
        agent.wait("the damage is mended", |seen| seen.impaired.is_none()).await;
        assert_eq!(hypervisor.starts_and_resets(id), (1, 0), "{name}");
        assert_eq!(hypervisor.starts_and_resets(off), (1, 0), "{name}");
    }
}

#[tokio::test]
async fn a_guest_that_was_off_stays_off_though_its_record_is_torn_and_starts_when_it_is_asked_to() {
    for torn in [placement(1).to_string(), "../key".to_owned()] {
        let (host, hypervisor) = simulated();
        let id = placement(1);
        let mut agent = host.start_agent();
        let parts =
            |start_seq| vec![vpc_part(start_seq), node_part(start_seq, vec![running(id, start_seq, 0)])];
        agent.take(parts(1));
        agent.wait_state(id, is_running(1, 0)).await;
        hypervisor.goes_off(id, Seen::Guest);
        agent.wait_state(id, PlacementState::Off { start_seq: 1, reason: OffReason::Guest }).await;
        agent.wait_record(id, |done| done.off.is_some()).await;
        drop(agent);
        std::fs::write(host.dir.path().join("ledger").join(&torn), "").unwrap();
        let kept_off = PlacementState::Off { start_seq: 1, reason: OffReason::Unknown };
        for _ in 0..2 {
            let mut agent = host.start_agent();
            agent.take(parts(1));
            agent.wait_state(id, kept_off.clone()).await;
            agent.wait_record(id, |done| !done.lost).await;
        }
        assert_eq!(hypervisor.starts_and_resets(id), (1, 0), "{torn}");
        let mut agent = host.start_agent();
        agent.take(parts(2));
        agent.wait_state(id, is_running(2, 0)).await;
        assert_eq!(hypervisor.starts_and_resets(id), (2, 0), "{torn}");
    }
}

#[tokio::test]
async fn a_disk_that_is_gone_with_the_record_of_it_is_not_made_anew() {
    let (host, _) = simulated();
    let id = placement(1);
    let mut agent = host.start_agent();
    agent.take(vec![vpc_part(1), node_part(1, vec![running(id, 1, 0)])]);
    agent.wait_state(id, is_running(1, 0)).await;
    agent.take(vec![node_part(2, vec![stopped(id, true)])]);
    agent.wait_state(id, PlacementState::Off { start_seq: 1, reason: OffReason::Requested }).await;
    agent.wait_record(id, |done| done.off.is_some()).await;
    drop(agent);
    std::fs::write(host.dir.path().join("ledger").join(id.to_string()), "").unwrap();
    crate::disks::Disks::remove(host.disks.as_ref(), id).await.unwrap();
    let mut agent = host.start_agent();
    agent.wait("it is seen", |seen| state_of(seen, id).is_some()).await;
    agent.take(vec![node_part(3, vec![running(id, 2, 0)])]);
    agent
        .wait("the loss is told", |seen| {
            matches!(state_of(seen, id), Some(PlacementState::Failed { permanent: true, .. }))
        })
        .await;
}

#[tokio::test]
async fn the_record_of_a_placement_that_an_old_ledger_knows_goes_once_the_control_plane_names_it_no_more() {
    let (host, hypervisor) = simulated();
    let (gone, left) = (placement(1), placement(2));
    let mut agent = host.start_agent();
    agent.take(vec![vpc_part(1), node_part(1, vec![running(gone, 1, 0), running(left, 1, 0)])]);
    agent.wait_state(gone, is_running(1, 0)).await;
    agent.wait_state(left, is_running(1, 0)).await;
    agent.wait_record(gone, |done| done.start_seq == 1).await;
    agent.wait_record(left, |done| done.start_seq == 1).await;
    let record = host.dir.path().join("ledger").join(gone.to_string());
    let old = std::fs::read(&record).unwrap();
    agent.take(vec![node_part(2, vec![absent(gone, true), running(left, 1, 0)])]);
    agent.wait_state(gone, PlacementState::Gone).await;
    drop(agent);

    // Nobody says who belongs here: the node's part is torn.
    std::fs::write(&record, &old).unwrap();
    std::fs::write(host.dir.path().join("ledger").join(node_id().to_string()), "").unwrap();
    let mut agent = host.start_agent();
    agent.wait("both are reported", |seen| seen.placements.len() == 2).await;
    assert!(record.exists());
    agent.take(vec![node_part(3, Vec::new())]);
    agent.wait("the other alone is reported", |seen| seen.placements.len() == 1).await;
    assert!(!record.exists());
    assert!(!agent.shared.ledger().progress().contains_key(&gone));
    agent.wait_state(left, is_running(1, 0)).await;
    assert_eq!(hypervisor.starts_and_resets(left), (1, 0));
}
