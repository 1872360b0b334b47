//! Every mutating call is one audit record.

use futures::future::join_all;
use tepui_core::{CloudConfig, Error, InstanceChange, NameOrId, RunInstances};
use tepui_db::model::PlacementStrategy;
use tepui_db::{AuditFilter, AuditRecord};
use tepui_db_sqlite::Options;
use tepui_types::{InstanceId, ProjectId};

use super::harness::Harness;

async fn records(t: &Harness) -> Vec<AuditRecord> {
    t.cloud.flush_audit().await;
    stored(t).await
}

async fn stored(t: &Harness) -> Vec<AuditRecord> {
    t.cloud.audit_records(&t.admin, &AuditFilter::default(), 10_000).await.unwrap()
}

async fn create(t: &Harness, name: &str) -> Result<(), Error> {
    t.cloud.create_placement_group(&t.admin, name, PlacementStrategy::Spread).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_store_gets_every_record_in_the_end() {
    let t = Harness::on(Options { queue: 1, ..Options::default() }, |_| ()).await;
    let before = records(&t).await.len();
    let names: Vec<_> = (0..200).map(|number| format!("group-{number}")).collect();
    let results = join_all(names.iter().map(|name| create(&t, name))).await;
    assert!(results.iter().any(|result| matches!(result, Err(Error::Busy))), "the store was busy");
    let told: Vec<_> = records(&t).await.into_iter().map(|record| record.outcome).collect();
    assert_eq!(told.len() - before, 200);
    let busy = results.iter().filter(|result| matches!(result, Err(Error::Busy))).count();
    assert_eq!(told.iter().filter(|outcome| *outcome == "busy").count(), busy);
}

#[tokio::test]
async fn a_call_waits_for_its_record_when_too_many_wait_already() {
    let t = Harness::with(|config: &mut CloudConfig| config.audits_waiting = 0).await;
    let before = stored(&t).await.len();
    create(&t, "one").await.unwrap();
    assert_eq!(stored(&t).await.len(), before + 1, "it is stored when the call is answered");
}

#[tokio::test]
async fn a_launch_names_its_instances() {
    let t = Harness::new().await;
    t.host(1).await;
    let made = t.run_one(&t.admin).await;
    let record = records(&t).await.into_iter().find(|record| record.action == "RunInstances").unwrap();
    let expected = format!("{},{}", made.id, made.instances[0].record.instance.id);
    assert_eq!((record.resources, record.outcome.as_str()), (expected, "ok"));
}

#[tokio::test]
async fn a_call_that_changes_several_attributes_has_one_record() {
    let t = Harness::new().await;
    t.host(1).await;
    let id = t.run_one(&t.admin).await.instances[0].record.instance.id;
    let before = records(&t).await.len();
    let changes = vec![InstanceChange::DisableApiStop(true), InstanceChange::DisableApiTermination(true)];
    t.cloud.modify_instance(&t.admin, id, changes).await.unwrap();
    let records = records(&t).await;
    let told = (records[0].action.as_str(), &records[0].resources, records[0].outcome.as_str());
    assert_eq!((records.len() - before, told), (1, ("ModifyInstanceAttribute", &id.to_string(), "ok")));
}

#[tokio::test]
async fn a_refused_call_has_a_record_and_no_call_has_two() {
    let t = Harness::new().await;
    let (member, before) = (t.member("ann").await, records(&t).await.len());
    let foreign = InstanceId::from_random(7);
    let ids = [foreign];
    let terminate = t.cloud.terminate_instances(&t.admin, &ids);
    t.cloud.audited(&t.admin, "TerminateInstances", terminate).await.unwrap_err();
    t.cloud.audited(&t.admin, "CreatePlacementGroup", create(&t, "")).await.unwrap_err();
    t.cloud.audited(&t.admin, "CreatePlacementGroup", create(&t, "one")).await.unwrap();
    t.cloud.audited(&t.admin, "CreatePlacementGroup", create(&t, "one")).await.unwrap_err();
    let theirs = t.cloud.create_project(&member, "p", None);
    t.cloud.audited(&member, "CreateProject", theirs).await.unwrap_err();
    let records = records(&t).await;
    let told = |record: &AuditRecord| {
        (record.action.clone(), record.resources.clone(), record.outcome.clone(), record.project_id)
    };
    let of = |action: &str, resources: String, outcome: &str, project: ProjectId| {
        (action.to_owned(), resources, outcome.to_owned(), project)
    };
    let (group, own) = ("CreatePlacementGroup", t.admin.project);
    let ids: Vec<_> = records.iter().take(2).map(|record| record.resources.clone()).collect();
    assert_eq!(records.len() - before, 4);
    assert_eq!(
        records.iter().take(4).map(told).collect::<Vec<_>>(),
        [
            of(group, ids[0].clone(), "already_exists", own),
            of(group, ids[1].clone(), "ok", own),
            of(group, String::new(), "invalid_input", own),
            of("TerminateInstances", foreign.to_string(), "not_found", own),
        ]
    );
    let theirs = t.cloud.audit_records(&member, &AuditFilter::default(), 1).await.unwrap();
    let expected = of("CreateProject", String::new(), "forbidden", member.project);
    assert_eq!(theirs.iter().map(told).collect::<Vec<_>>(), [expected]);
}

#[tokio::test]
async fn a_call_that_finds_nothing_to_do_has_a_record_and_a_rehearsal_has_none() {
    let t = Harness::new().await;
    t.host(1).await;
    let image = t.image(&t.admin, "i").await;
    let request = || {
        let mut request = RunInstances::new(image, "t3.nano");
        request.client_token = Some("t".into());
        request
    };
    let run = async || {
        let run = t.cloud.run_instances(&t.admin, request());
        t.cloud.audited(&t.admin, "RunInstances", run).await.unwrap()
    };
    assert_eq!(run().await.id, run().await.id);
    let count = |records: Vec<AuditRecord>| records.iter().filter(|r| r.action == "RunInstances").count();
    assert_eq!(count(records(&t).await), 2);
    let mut dry = t.admin.clone();
    dry.dry_run = true;
    let before = records(&t).await.len();
    let none = NameOrId::Name("none".into());
    let delete = t.cloud.delete_security_group(&dry, &none);
    t.cloud.audited(&dry, "DeleteSecurityGroup", delete).await.unwrap_err();
    assert_eq!(records(&t).await.len(), before);
}
