//! What the doctor says of what is on its way, and that putting right harms nothing that is well.

use tepui_core::Severity;
use tepui_db::NodeDb as _;
use tepui_types::agent::{HostFinding, NodeObserved};

use super::harness::{Harness, placement_of, running};

#[tokio::test]
async fn what_is_on_its_way_for_too_long_is_named_while_its_node_speaks() {
    let t = Harness::new().await;
    let host = t.host(1).await;
    let made = t.run_one(&t.admin).await;
    let id = made.instances[0].record.instance.id;
    let nodes_word = async || host.report(Vec::new()).await;
    t.clock.advance(300);
    nodes_word().await;
    assert_eq!(t.cloud.doctor(&t.admin).await.unwrap(), []);
    t.clock.advance(1);
    nodes_word().await;
    let findings = t.cloud.doctor(&t.admin).await.unwrap();
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!((findings[0].severity, &findings[0].object), (Severity::Warning, &format!("instance {id}")));
    assert!(findings[0].what.contains("pending for 301 s"), "{findings:?}");
    t.cloud.terminate_instances(&t.admin, &[id]).await.unwrap();
    assert_eq!(t.cloud.doctor(&t.admin).await.unwrap(), [], "it is on another way now");
    t.clock.advance(301);
    t.cloud.reconcile_once().await;
    let findings = t.cloud.doctor(&t.admin).await.unwrap();
    assert!(findings.len() == 1 && findings[0].what.contains("unreachable"), "the node is why: {findings:?}");
}

#[tokio::test]
async fn an_import_that_neither_ends_nor_fails_is_named_after_a_day() {
    let t = Harness::new().await;
    let request = tepui_core::ImportRequest {
        name: Some("slow".into()),
        description: String::new(),
        source: "slow.qcow2".into(),
        public: false,
        tags: [].into(),
        token: None,
    };
    let task = t.cloud.begin_import(&t.admin, request).await.unwrap().task;
    t.clock.advance(24 * 3600);
    assert_eq!(t.cloud.doctor(&t.admin).await.unwrap(), []);
    t.clock.advance(1);
    let findings = t.cloud.doctor(&t.admin).await.unwrap();
    assert!(findings.len() == 1 && findings[0].object == format!("import {}", task.id), "{findings:?}");
    t.cloud.fail_import(&t.admin, task.id, "given up").await.unwrap();
    assert_eq!(t.cloud.doctor(&t.admin).await.unwrap(), []);
}

#[tokio::test]
async fn putting_right_changes_nothing_where_all_is_well() {
    let t = Harness::new().await;
    let host = t.host(1).await;
    let made = t.run_one(&t.admin).await;
    host.report(vec![(placement_of(&made), running(1))]).await;
    let before = t.db.nodes().await.unwrap();
    assert_eq!(t.cloud.mend(&t.admin).await.unwrap(), Vec::<String>::new());
    assert_eq!(t.db.nodes().await.unwrap(), before);
    assert_eq!(t.cloud.doctor(&t.admin).await.unwrap(), []);
}

#[tokio::test]
async fn what_an_agent_found_is_told_with_its_host_as_long_as_it_is_heard() {
    let t = Harness::new().await;
    let host = t.host(1).await;
    let found = |is_failure, object: &str| HostFinding {
        is_failure,
        object: object.into(),
        what: "tgtd serves it, and the control plane does not name it".into(),
        cure: "end it".into(),
    };
    let findings = vec![found(true, "iqn.a"), found(false, "guest")];
    host.report_as(1, NodeObserved { findings, ..host.observed(Vec::new()) }).await;
    let name = t.cloud.nodes(&t.admin).await.unwrap()[0].load.node.name.clone();
    let told = t.cloud.doctor(&t.admin).await.unwrap();
    let shown: Vec<_> = told.iter().map(|one| (one.severity, one.object.clone(), one.fixable)).collect();
    let object = format!("node {name}");
    assert_eq!(shown, [(Severity::Failure, object.clone(), false), (Severity::Warning, object, false)]);
    assert_eq!(told[0].what, "iqn.a: tgtd serves it, and the control plane does not name it");
    assert_eq!(told[0].cure, "end it");

    t.clock.advance(301);
    t.cloud.reconcile_once().await;
    let told = t.cloud.doctor(&t.admin).await.unwrap();
    assert!(told.len() == 1 && told[0].what.contains("unreachable"), "{told:?}");
    host.poll().await;
    t.cloud.reconcile_once().await;
    host.report(Vec::new()).await;
    assert_eq!(t.cloud.doctor(&t.admin).await.unwrap(), []);
}
