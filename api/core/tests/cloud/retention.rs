//! What is over is forgotten after its time.

use std::time::Duration;

use tepui_core::{ImportRequest, RunInstances};
use tepui_db::AuditFilter;
use tepui_types::agent::PlacementState;

use super::harness::{Harness, placement_of};

const DAY: i64 = 86_400;

#[tokio::test]
async fn each_kind_is_kept_for_its_own_time() {
    let t = Harness::with(|config| config.retention.audit = Duration::from_secs(3 * DAY as u64)).await;
    let host = t.host(1).await;
    let image = t.image(&t.admin, "i").await;
    let mut request = RunInstances::new(image, "t3.nano");
    request.client_token = Some("t".into());
    let made = t.cloud.run_instances(&t.admin, request.clone()).await.unwrap();
    t.cloud.terminate_instances(&t.admin, &[made.instances[0].record.instance.id]).await.unwrap();
    host.report(vec![(placement_of(&made), PlacementState::Gone)]).await;
    t.cloud.flush_audit().await;
    let left = async |after: i64| {
        t.clock.advance(after);
        t.cloud.reconcile_once().await;
        let known = t.cloud.run_instances(&t.admin, request.clone()).await.is_err();
        let instances = t.cloud.describe_instances(&t.admin, &[]).await.unwrap().len();
        let audit = t.cloud.audit_records(&t.admin, &AuditFilter::default(), 100).await.unwrap();
        let imports = t.cloud.import_tasks(&t.admin, &[]).await.unwrap();
        (instances, known, audit.iter().any(|record| record.action == "CompleteImport"), imports.len())
    };
    assert_eq!(left(0).await, (1, false, true, 1), "the token still shows its terminated instance");
    assert_eq!(left(3601).await, (0, true, true, 1));
    assert_eq!(left(DAY).await, (0, true, true, 1));
    assert!(!left(3 * DAY).await.2, "after three days");
    assert_eq!(left(30 * DAY).await.3, 0);
}

#[tokio::test]
async fn a_backlog_goes_in_bounded_rounds_and_an_active_import_never() {
    let t = Harness::new().await;
    let request = ImportRequest {
        name: None,
        description: String::new(),
        source: "s".into(),
        public: false,
        tags: [].into(),
        token: None,
    };
    let active = t.cloud.begin_import(&t.admin, request).await.unwrap().task;
    for number in 0..1100 {
        // Each is a record; most are refused before the store.
        let name = if number == 0 { "x" } else { "" };
        let create = t.cloud.create_project(&t.admin, name, None);
        let _ = t.cloud.audited(&t.admin, "CreateProject", create).await;
    }
    t.cloud.flush_audit().await;
    t.clock.advance(500 * DAY);
    t.cloud.reconcile_once().await;
    assert_eq!(t.cloud.audit_records(&t.admin, &AuditFilter::default(), 10).await.unwrap(), []);
    assert_eq!(t.cloud.import_tasks(&t.admin, &[]).await.unwrap(), [active]);
}

#[tokio::test]
async fn a_clock_that_is_set_ahead_forgets_nothing_early() {
    let t = Harness::new().await;
    let host = t.host(1).await;
    let image = t.image(&t.admin, "i").await;
    let mut request = RunInstances::new(image, "t3.nano");
    request.client_token = Some("t".into());
    let made = t.cloud.run_instances(&t.admin, request.clone()).await.unwrap();
    t.cloud.terminate_instances(&t.admin, &[made.instances[0].record.instance.id]).await.unwrap();
    host.report(vec![(placement_of(&made), PlacementState::Gone)]).await;
    let left = async || {
        t.cloud.reconcile_once().await;
        t.cloud.describe_instances(&t.admin, &[]).await.unwrap().len()
    };
    t.clock.jump(500 * DAY);
    assert_eq!(left().await, 1);
    assert_eq!(t.cloud.run_instances(&t.admin, request.clone()).await.unwrap().id, made.id, "a late repeat");
    assert_eq!(t.cloud.import_tasks(&t.admin, &[]).await.unwrap().len(), 1);
    t.clock.jump(-500 * DAY);
    t.clock.advance(3601);
    assert_eq!(left().await, 0);
}
