//! Each call that would change something has one audit record, in the protocol's own names.

use tepui_db::AuditFilter;

use crate::harness::Harness;

/// Action, resources and outcome of the newest records, newest first.
async fn newest(harness: &Harness, key_id: &str, count: u32) -> Vec<(String, String, String)> {
    harness.cloud.flush_audit().await;
    let caller = harness.caller(key_id).await;
    let records = harness.cloud.audit_records(&caller, &AuditFilter::default(), count).await.unwrap();
    records.into_iter().map(|record| (record.action, record.resources, record.outcome)).collect()
}

fn told(action: &str, resources: &str, outcome: &str) -> (String, String, String) {
    (action.into(), resources.into(), outcome.into())
}

#[tokio::test]
async fn refusals_of_every_kind_are_recorded_and_reading_and_rehearsing_are_not() {
    let harness = Harness::new().await;
    let client = harness.member("ann").await;
    let (foreign, public) = ("i-0123456789abcdef0", "sg-0123456789abcdef0");
    client.refused("TerminateInstances", &[("InstanceId.1", foreign)]).await;
    client.refused("DeleteSecurityGroup", &[("GroupId", public), ("DryRun", "true")]).await;
    client.refused("DescribeInstances", &[("InstanceId.1", foreign)]).await;
    client.refused("RunInstances", &[("MinCount", "1"), ("MaxCount", "1")]).await;
    client.refused("StopInstances", &[("InstanceId.1", "web")]).await;
    client.ok("DeleteKeyPair", &[("KeyName", "none")]).await;
    assert_eq!(
        newest(&harness, &client.key_id, 10).await,
        [
            told("DeleteKeyPair", "", "ok"),
            told("StopInstances", "", "malformed"),
            told("RunInstances", "", "invalid_input"),
            told("TerminateInstances", foreign, "not_found"),
        ]
    );
}

#[tokio::test]
async fn a_change_whose_request_cannot_be_read_is_recorded_under_its_name() {
    let harness = Harness::new().await;
    let client = harness.member("ann").await;
    let id = "InstanceId.1=i-0123456789abcdef0";
    for (form, code) in [
        (format!("Action=TerminateInstances&Version=2016-11-15&{id}&{id}"), "InvalidParameterCombination"),
        (format!("Version=2016-11-15&{id}=%zz&Action=StopInstances"), "MalformedQueryString"),
        (format!("Action=StartInstances&Version=yesterday&{id}"), "NoSuchVersion"),
        (format!("Action=RebootInstances&Version=2016-11-15&{id}&DryRun=perhaps"), "InvalidParameterValue"),
        ("Action=DescribeInstances&Version=2016-11-15&A=1&A=2".into(), "InvalidParameterCombination"),
        ("Action=MakeCoffee&A=1&A=2".into(), "InvalidParameterCombination"),
        ("A=1&A=2".into(), "InvalidParameterCombination"),
    ] {
        let reply = client.post("ec2", &form).await;
        assert_eq!(reply.error_code().as_deref(), Some(code), "{form}: {}", reply.body);
    }
    let names = ["RebootInstances", "StartInstances", "StopInstances", "TerminateInstances"];
    let expected = names.map(|name| told(name, "", "invalid_input"));
    assert_eq!(newest(&harness, &client.key_id, 10).await, expected);
}
