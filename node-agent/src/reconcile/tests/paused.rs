//! Guests that are paused for a snapshot, beside guests that stand still.

use tepui_types::FreezeId;
use tepui_types::agent::{FreezeKind, FreezePart, FreezeState, NodePart, WantedFreeze};

use super::*;

/// A part with a running guest that is wanted so.
fn held(id: PlacementId, wanted: FreezePart) -> NodePart {
    let mut one = running(id, 1, 0);
    let PlacementPart::Present(spec) = &mut one.wanted else { panic!("it is absent") };
    spec.freeze = Some(WantedFreeze { id: FreezeId::from_random(1), kind: FreezeKind::Vcpus, wanted });
    NodePart { placements: vec![one] }
}

#[tokio::test]
async fn a_guest_that_is_paused_for_a_snapshot_runs_and_is_resumed_by_nobody_else() {
    let (host, hypervisor) = simulated();
    let [paused, broken] = [1, 2].map(placement);
    let mut agent = host.start_agent();
    agent.take(vec![vpc_part(1), node_part(1, vec![running(paused, 1, 0), running(broken, 1, 0)])]);
    for id in [paused, broken] {
        agent.wait_state(id, is_running(1, 0)).await;
    }
    let freezes = Arc::clone(&agent.shared.freezes);
    let mut holds = JoinSet::new();
    freezes.apply(&held(paused, FreezePart::Frozen), &mut holds);
    let says = async |state: FreezeState| {
        while freezes.seen(paused).map(|seen| seen.state).as_ref() != Some(&state) {
            freezes.wake.notified().await;
        }
    };
    says(FreezeState::Frozen).await;
    // Another one stands still: that it is resumed shows that the reconciler looked at both and did what is to be done.
    hypervisor.write_fails(broken);
    let runs = |id: PlacementId| {
        move |domain: &DomainStatus| *domain == DomainStatus { id, state: DomainState::Running }
    };
    let deadline = Instant::now() + PATIENCE;
    while !hypervisor.domains().await.unwrap().iter().any(runs(broken)) {
        assert!(Instant::now() < deadline, "it is never resumed");
        let seen = agent.observed.borrow().clone();
        assert_eq!(state_of(&seen, paused), Some(is_running(1, 0)));
        assert!(!seen.impaired.is_some_and(|why| why.contains(&paused.to_string())));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(hypervisor.is_paused(paused));
    freezes.apply(&held(paused, FreezePart::Thawed), &mut holds);
    says(FreezeState::Held).await;
    assert!(hypervisor.domains().await.unwrap().iter().any(runs(paused)));
}
