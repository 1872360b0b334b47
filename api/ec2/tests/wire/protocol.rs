//! What holds for every action.

use crate::harness::Harness;

#[tokio::test]
async fn the_caller_is_told_who_it_is() {
    let harness = Harness::new().await;
    let reply = harness.admin.ok("GetCallerIdentity", &[]).await;
    assert_eq!(reply.text_at("GetCallerIdentityResult.Account"), harness.admin.project);
    let arn = format!("arn:aws:iam::{}:user/admin", harness.admin.project);
    assert_eq!(reply.text_at("GetCallerIdentityResult.Arn"), arn);
}

#[tokio::test]
async fn known_actions_are_unsupported_and_unknown_ones_invalid() {
    let harness = Harness::new().await;
    let refused = async |action| harness.admin.refused(action, &[]).await;
    assert_eq!(refused("CreateVpc").await, ("UnsupportedOperation".into(), 400));
    assert_eq!(refused("MakeCoffee").await, ("InvalidAction".into(), 400));
    assert_eq!(refused("GetCallerIdentityX").await, ("InvalidAction".into(), 400));
    let reply = harness.admin.post("sts", "Action=AssumeRole&Version=2011-06-15").await;
    assert_eq!(
        (reply.root.name.as_str(), reply.error_code().unwrap().as_str()),
        ("ErrorResponse", "UnsupportedOperation")
    );
}

#[tokio::test]
async fn requests_without_a_good_signature_get_the_code_of_their_service() {
    let harness = Harness::new().await;
    let unsigned = harness.admin.send(&[("host", "ec2.test")], "Action=DescribeRegions").await;
    assert_eq!(
        (unsigned.error_code().unwrap().as_str(), unsigned.status),
        ("MissingAuthenticationToken", 403)
    );
    let mut wrong = harness.admin.clone();
    wrong.secret.push('x');
    assert_eq!(wrong.refused("DescribeRegions", &[]).await, ("AuthFailure".into(), 401));
    assert_eq!(wrong.refused("GetCallerIdentity", &[]).await, ("SignatureDoesNotMatch".into(), 403));
    let mut nobody = harness.admin.clone();
    nobody.key_id = "TPAKAAAAAAAAAAAAAAAA".into();
    assert_eq!(nobody.refused("DescribeRegions", &[]).await, ("AuthFailure".into(), 401));
    assert_eq!(nobody.refused("GetCallerIdentity", &[]).await, ("InvalidClientTokenId".into(), 403));
    let other = harness.admin.post("s3", "Action=DescribeRegions").await;
    assert_eq!(other.error_code().unwrap(), "SignatureDoesNotMatch");
}

#[tokio::test]
async fn a_deleted_key_is_refused_at_once() {
    let harness = Harness::new().await;
    let member = harness.member("one").await;
    member.ok("DescribeRegions", &[]).await;
    let admin = harness.caller(&harness.admin.key_id).await;
    harness.cloud.delete_access_key(&admin, member.project.parse().unwrap(), &member.key_id).await.unwrap();
    assert_eq!(member.refused("DescribeRegions", &[]).await.0, "AuthFailure");
}

#[tokio::test]
async fn the_reply_echoes_the_version_that_was_asked_for() {
    let harness = Harness::new().await;
    let reply = harness.admin.post("ec2", "Action=DescribeRegions&Version=2013-10-15").await;
    assert_eq!(reply.root.namespace.as_deref(), Some("http://ec2.amazonaws.com/doc/2013-10-15/"));
    for version in ["2013", "2013-13-01", "%22%3E%3Cx%3E"] {
        let reply = harness.admin.post("ec2", &format!("Action=DescribeRegions&Version={version}")).await;
        assert_eq!(reply.error_code().unwrap(), "NoSuchVersion");
    }
}

#[tokio::test]
async fn malformed_doubled_unknown_and_oversized_parameters_are_refused() {
    let harness = Harness::new().await;
    let long = format!("Action=DescribeRegions&A={}", "a".repeat(1 << 20));
    for (form, code) in [
        ("Version=2016-11-15", "MissingParameter"),
        ("Action=DescribeRegions&DryRun=%zz", "MalformedQueryString"),
        ("Action=DescribeRegions&Action=DescribeVpcs", "InvalidParameterCombination"),
        ("Action=DescribeRegions&Colour=red", "UnknownParameter"),
        ("Action=DescribeRegions&DryRun=perhaps", "InvalidParameterValue"),
        ("Action=StartInstances", "MissingParameter"),
        ("Action=DescribeInstances&MaxResults=4", "InvalidParameterValue"),
        (
            "Action=DescribeInstances&MaxResults=5&InstanceId.1=i-00000000000000000",
            "InvalidParameterCombination",
        ),
        ("Action=DescribeInstances&Filter.1.Name=colour&Filter.1.Value.1=red", "InvalidParameterValue"),
        (&long, "RequestEntityTooLarge"),
    ] {
        let reply = harness.admin.post("ec2", form).await;
        assert_eq!(reply.error_code().as_deref(), Some(code), "{}", reply.body);
    }
}

#[tokio::test]
async fn a_dry_run_is_answered_and_changes_nothing() {
    let harness = Harness::new().await;
    let dry = ("DryRun", "true");
    for (action, params) in [
        ("DescribeInstances", vec![dry]),
        ("CreateKeyPair", vec![("KeyName", "k"), ("KeyType", "ed25519"), dry]),
        ("CreateSecurityGroup", vec![("GroupName", "g"), ("GroupDescription", "d"), dry]),
        ("CreatePlacementGroup", vec![("GroupName", "g"), ("Strategy", "spread"), dry]),
        ("ImportImage", vec![("DiskContainer.1.Url", "https://example.test/a"), dry]),
    ] {
        assert_eq!(harness.admin.refused(action, &params).await, ("DryRunOperation".into(), 412), "{action}");
    }
    assert!(harness.admin.ok("DescribeKeyPairs", &[]).await.items("keySet").is_empty());
    assert_eq!(harness.admin.ok("DescribeSecurityGroups", &[]).await.items("securityGroupInfo").len(), 1);
}
