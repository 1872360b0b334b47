//! What `explain` and a refused launch tell: everything to administrators, to members what is theirs.

use tepui_core::{Caller, Error, RunInstances};
use tepui_types::agent::{HavePart, NodeCapacity, PartKey, PlacementState, RefusedPart};
use tepui_types::{Generation, InstanceId};

use super::harness::{Harness, Host, placement_of};

const SECRET: &str = "/srv/disks is full";

/// A guest of a member and one of the administrator on one node, which has trouble.
async fn troubled(t: &Harness) -> (Host, Caller, InstanceId) {
    let host = t.host(1).await;
    let member = t.member("mine").await;
    let made = t.run_one(&member).await;
    t.run_one(&t.admin).await;
    let step = "disk".to_owned();
    let failed = PlacementState::Failed { start_seq: 1, step, message: SECRET.into(), permanent: false };
    let mut observed = host.observed(vec![(placement_of(&made), failed)]);
    observed.impaired = Some(SECRET.into());
    observed.refused = host.poll().await.parts.iter().map(|part| refusal(part.key)).collect();
    host.report_as(1, observed).await;
    (host, member, made.instances[0].record.instance.id)
}

fn refusal(key: PartKey) -> RefusedPart {
    RefusedPart { part: HavePart { key, generation: Generation(1) }, reason: SECRET.into() }
}

async fn told(t: &Harness, caller: &Caller, id: InstanceId) -> String {
    format!("{:?}", t.cloud.explain_instance(caller, id).await.unwrap())
}

#[tokio::test]
async fn a_member_learns_of_an_instance_neither_its_node_nor_others_networks() {
    let t = Harness::new().await;
    let (host, member, id) = troubled(&t).await;
    let text = told(&t, &member, id).await;
    let foreign = t.cloud.vpcs(&t.admin).await.unwrap()[0].id;
    let own = t.cloud.vpcs(&member).await.unwrap()[0].id;
    for hidden in ["node-1", SECRET, &host.id.to_string(), &foreign.to_string()] {
        assert!(!text.contains(hidden), "{hidden}: {text}");
    }
    for shown in ["cannot start guests", "refused", "disk failed, trying again", &own.to_string()] {
        assert!(text.contains(shown), "{shown}: {text}");
    }
}

#[tokio::test]
async fn an_administrator_learns_everything_that_concerns_the_instance_and_nothing_else() {
    let t = Harness::new().await;
    let (host, member, id) = troubled(&t).await;
    let admin = Caller { project: member.project, ..t.admin.clone() };
    let text = told(&t, &admin, id).await;
    let foreign = t.cloud.vpcs(&t.admin).await.unwrap()[0].id;
    for shown in ["node-1", SECRET, &host.id.to_string()] {
        assert!(text.contains(shown), "{shown}: {text}");
    }
    assert!(!text.contains(&foreign.to_string()), "{text}");
}

#[tokio::test]
async fn a_member_learns_from_a_refused_launch_the_rules_but_no_node() {
    let t = Harness::new().await;
    for number in 1..=2 {
        t.host_of(number, NodeCapacity { vcpus: 16, memory_mib: 256, disk_gib: 100 }).await;
    }
    let member = t.member("mine").await;
    let image = t.image(&member, "i").await;
    let error = t.cloud.run_instances(&member, RunInstances::new(image, "t3.micro")).await.unwrap_err();
    let Error::NoCapacity { why, .. } = error else { panic!("{error}") };
    assert_eq!(why.len(), 1, "{why:?}");
    assert_eq!((why[0].node.as_str(), why[0].rule.as_str()), ("2 nodes", "not enough memory free"));
}

#[tokio::test]
async fn why_a_launch_failed_is_told_to_administrators_in_full_and_to_members_without_the_host() {
    let t = Harness::new().await;
    let host = t.host(1).await;
    let member = t.member("mine").await;
    let made = t.run_one(&member).await;
    let (id, placement) = (made.instances[0].record.instance.id, placement_of(&made));
    let step = "disk".to_owned();
    let failed = PlacementState::Failed { start_seq: 1, step, message: SECRET.into(), permanent: true };
    host.report(vec![(placement, failed)]).await;
    host.report(vec![(placement, PlacementState::Gone)]).await;
    let instance = t.cloud.instance(&member, id).await.unwrap().record.instance.clone();
    let reason = instance.state_reason.unwrap();
    assert_eq!(reason.code, "Server.InternalError");
    assert_eq!(reason.message, "Server.InternalError: the step disk of the start failed for good");
    assert!(!told(&t, &member, id).await.contains(SECRET));
    let admin = Caller { project: member.project, ..t.admin.clone() };
    assert!(told(&t, &admin, id).await.contains(SECRET), "also when it is long gone");
}
