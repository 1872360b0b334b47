//! Everything but instances.

use data_encoding::BASE64;

use crate::harness::Harness;

const PUBLIC_KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB2o7l1P5EqQO5rTzUvQk0e2hQ8zvD0x6dL1D3s4X9aM me@here";

#[tokio::test]
async fn key_pairs_are_made_imported_shown_and_deleted() {
    let harness = Harness::new().await;
    let client = &harness.admin;
    let tag = [
        ("TagSpecification.1.ResourceType", "key-pair"),
        ("TagSpecification.1.Tag.1.Key", "owner"),
        ("TagSpecification.1.Tag.1.Value", "<me>"),
    ];
    let made = client
        .ok("CreateKeyPair", &[("KeyName", "made"), ("KeyType", "ed25519"), tag[0], tag[1], tag[2]])
        .await;
    assert!(made.text_at("keyMaterial").starts_with("-----BEGIN OPENSSH PRIVATE KEY-----\n"));
    let key = BASE64.encode(PUBLIC_KEY.as_bytes());
    let imported =
        client.call("ImportKeyPair", &[("KeyName", "imported"), ("PublicKeyMaterial", &key)]).await;
    assert_eq!(imported.status, 200, "{}", imported.body);
    let keys =
        client.ok("DescribeKeyPairs", &[("Filter.1.Name", "tag:owner"), ("Filter.1.Value.1", "<?e*")]).await;
    let [key] = keys.items("keySet") else { panic!("{keys:?}") };
    assert_eq!((key.text_at("keyName"), key.text_at("tagSet.item.value")), ("made", "<me>"));
    client.ok("DeleteKeyPair", &[("KeyName", "made")]).await;
    client.ok("DeleteKeyPair", &[("KeyName", "made")]).await;
    let gone = client.refused("DescribeKeyPairs", &[("KeyName.1", "made")]).await;
    assert_eq!(gone.0, "InvalidKeyPair.NotFound");
    let bad = client.refused("ImportKeyPair", &[("KeyName", "x"), ("PublicKeyMaterial", "AAAA")]).await;
    assert_eq!(bad.0, "InvalidKey.Format");
    let taken = client.refused("CreateKeyPair", &[("KeyName", "imported"), ("KeyType", "ed25519")]).await;
    assert_eq!(taken.0, "InvalidKeyPair.Duplicate");
}

#[tokio::test]
async fn rules_of_a_group_are_added_shown_and_removed() {
    let harness = Harness::new().await;
    let client = &harness.admin;
    let made = client.ok("CreateSecurityGroup", &[("GroupName", "web"), ("GroupDescription", "d")]).await;
    let group = made.text_at("groupId").to_owned();
    let rules = [
        ("GroupId", group.as_str()),
        ("IpPermissions.1.IpProtocol", "tcp"),
        ("IpPermissions.1.FromPort", "22"),
        ("IpPermissions.1.ToPort", "23"),
        ("IpPermissions.1.IpRanges.1.CidrIp", "10.0.0.0/8"),
        ("IpPermissions.1.IpRanges.2.CidrIp", "192.168.0.0/16"),
        ("IpPermissions.1.Groups.1.GroupId", &group),
        ("IpPermissions.2.IpProtocol", "icmp"),
        ("IpPermissions.2.FromPort", "-1"),
        ("IpPermissions.2.ToPort", "-1"),
        ("IpPermissions.2.IpRanges.1.CidrIp", "0.0.0.0/0"),
    ];
    let added = client.ok("AuthorizeSecurityGroupIngress", &rules).await;
    assert_eq!(added.items("securityGroupRuleSet").len(), 4);
    let again = client.refused("AuthorizeSecurityGroupIngress", &rules).await;
    assert_eq!(again.0, "InvalidPermission.Duplicate");
    let shown = client.ok("DescribeSecurityGroups", &[("GroupId.1", &group)]).await;
    let shown = &shown.items("securityGroupInfo")[0];
    let [ssh, ping] = shown.items("ipPermissions") else { panic!("{shown:?}") };
    assert_eq!((ssh.items("ipRanges").len(), ssh.items("groups").len()), (2, 1));
    assert_eq!(ping.text_at("fromPort"), "-1");
    let each = client
        .ok("DescribeSecurityGroupRules", &[("Filter.1.Name", "group-id"), ("Filter.1.Value.1", &group)])
        .await;
    assert_eq!(each.items("securityGroupRuleSet").len(), 5);
    let removed = client.ok("RevokeSecurityGroupIngress", &rules).await;
    assert_eq!(removed.items("revokedSecurityGroupRuleSet").len(), 4);
    let gone = client.refused("RevokeSecurityGroupIngress", &rules).await;
    assert_eq!(gone.0, "InvalidPermission.NotFound");
    client.ok("DeleteSecurityGroup", &[("GroupId", &group)]).await;
}

#[tokio::test]
async fn ipv6_rules_are_never_there_and_never_taken() {
    let harness = Harness::new().await;
    let client = &harness.admin;
    let groups = client.ok("DescribeSecurityGroups", &[]).await;
    let group = groups.text_at("securityGroupInfo.item.groupId").to_owned();
    let rule = [
        ("GroupId", group.as_str()),
        ("IpPermissions.1.IpProtocol", "-1"),
        ("IpPermissions.1.Ipv6Ranges.1.CidrIpv6", "::/0"),
    ];
    assert_eq!(client.refused("RevokeSecurityGroupEgress", &rule).await.0, "InvalidPermission.NotFound");
    assert_eq!(client.refused("AuthorizeSecurityGroupEgress", &rule).await.0, "UnsupportedOperation");
    assert_eq!(client.refused("DeleteSecurityGroup", &[("GroupId", &group)]).await.0, "CannotDelete");
}

#[tokio::test]
async fn tags_are_set_listed_by_pages_and_removed() {
    let harness = Harness::new().await;
    let client = &harness.admin;
    let vpc = client.ok("DescribeVpcs", &[]).await.text_at("vpcSet.item.vpcId").to_owned();
    let mut params = vec![("ResourceId.1".to_owned(), vpc.clone())];
    for n in 1..=7 {
        params.push((format!("Tag.{n}.Key"), format!("k{n}")));
        params.push((format!("Tag.{n}.Value"), String::new()));
    }
    let params: Vec<(&str, &str)> = params.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    client.ok("CreateTags", &params).await;
    let first = client.ok("DescribeTags", &[("MaxResults", "5")]).await;
    let token = first.text_at("nextToken").to_owned();
    let second = client.ok("DescribeTags", &[("MaxResults", "5"), ("NextToken", &token)]).await;
    assert_eq!((first.items("tagSet").len(), second.items("tagSet").len()), (5, 2));
    assert!(second.get("nextToken").is_none());
    assert_eq!(second.items("tagSet")[0].text_at("resourceType"), "vpc");
    client.ok("DeleteTags", &[("ResourceId.1", &vpc), ("Tag.1.Key", "k1"), ("Tag.2.Key", "k2")]).await;
    assert_eq!(client.ok("DescribeTags", &[]).await.items("tagSet").len(), 5);
}

#[tokio::test]
async fn places_networks_and_types_are_described() {
    let harness = Harness::new().await;
    let client = &harness.admin;
    assert_eq!(client.ok("DescribeRegions", &[]).await.text_at("regionInfo.item.regionName"), "test-1");
    let zones = client.ok("DescribeAvailabilityZones", &[]).await;
    assert_eq!(zones.text_at("availabilityZoneInfo.item.zoneName"), "test-1a");
    let attributes = client.ok("DescribeAccountAttributes", &[("AttributeName.1", "default-vpc")]).await;
    let vpc = attributes.text_at("accountAttributeSet.item.attributeValueSet.item.attributeValue").to_owned();
    let vpcs = client
        .ok(
            "DescribeVpcs",
            &[("VpcId.1", &vpc), ("Filter.1.Name", "isDefault"), ("Filter.1.Value.1", "true")],
        )
        .await;
    assert_eq!(vpcs.text_at("vpcSet.item.cidrBlock"), "172.31.0.0/16");
    for name in ["enableDnsHostnames", "enableDnsSupport", "enableNetworkAddressUsageMetrics"] {
        let attribute = client.ok("DescribeVpcAttribute", &[("VpcId", &vpc), ("Attribute", name)]).await;
        assert!(attribute.get(name).is_some());
    }
    let subnets = client.ok("DescribeSubnets", &[]).await;
    assert_eq!(subnets.text_at("subnetSet.item.availableIpAddressCount"), "4091");
    let types = client.ok("DescribeInstanceTypes", &[("InstanceType.1", "t3.micro")]).await;
    assert_eq!(types.text_at("instanceTypeSet.item.supportedUsageClasses.item"), "on-demand");
    assert_eq!(types.text_at("instanceTypeSet.item.memoryInfo.sizeInMiB"), "1024");
    assert_eq!(
        client.refused("DescribeInstanceTypes", &[("InstanceType.1", "z9.huge")]).await.0,
        "InvalidInstanceType"
    );
    let offerings =
        client.ok("DescribeInstanceTypeOfferings", &[("LocationType", "availability-zone")]).await;
    assert_eq!(offerings.text_at("instanceTypeOfferingSet.item.location"), "test-1a");
}

#[tokio::test]
async fn images_are_imported_described_and_withdrawn() {
    let harness = Harness::new().await;
    let client = &harness.admin;
    let image = harness.image(client, "debian").await;
    let shown = client
        .ok("DescribeImages", &[("Owner.1", "self"), ("Filter.1.Name", "name"), ("Filter.1.Value.1", "deb*")])
        .await;
    let shown = &shown.items("imagesSet")[0];
    assert_eq!((shown.text_at("imageId"), shown.text_at("description")), (image.as_str(), "a <test> image"));
    assert_eq!(shown.text_at("blockDeviceMapping.item.ebs.volumeSize"), "2");
    assert!(client.ok("DescribeImages", &[("Owner.1", "amazon")]).await.items("imagesSet").is_empty());
    let source =
        [("DiskContainer.1.Url", "https://images.test/a.qcow2"), ("DiskContainer.1.Format", "qcow2")];
    let task = client.ok("ImportImage", &source).await.text_at("importTaskId").to_owned();
    let tasks = client.ok("DescribeImportImageTasks", &[("ImportTaskId.1", &task)]).await;
    assert_eq!(tasks.text_at("importImageTaskSet.item.status"), "active");
    client.ok("DeregisterImage", &[("ImageId", &image)]).await;
    assert_eq!(client.refused("DescribeImages", &[("ImageId.1", &image)]).await.0, "InvalidAMIID.NotFound");
}

#[tokio::test]
async fn tags_that_are_refused_leave_nothing_that_was_to_have_them() {
    let harness = Harness::new().await;
    let client = &harness.admin;
    for (key, code) in
        [("aws:reserved", "InvalidParameterValue"), (&"k".repeat(200), "InvalidParameterValue")]
    {
        let tag = |kind| [("TagSpecification.1.ResourceType", kind), ("TagSpecification.1.Tag.1.Key", key)];
        let group = [&[("GroupName", "tagged")][..], &tag("placement-group")].concat();
        assert_eq!(client.refused("CreatePlacementGroup", &group).await.0, code);
        let image = [("DiskContainer.1.Url", "https://images.test/a.qcow2")];
        let image = [&image[..], &tag("import-image-task")].concat();
        assert_eq!(client.refused("ImportImage", &image).await.0, code);
    }
    let groups = client.ok("DescribePlacementGroups", &[]).await;
    assert!(groups.items("placementGroupSet").is_empty());
    assert!(client.ok("DescribeImportImageTasks", &[]).await.items("importImageTaskSet").is_empty());
}

#[tokio::test]
async fn an_empty_value_names_the_tag_with_the_empty_value() {
    let harness = Harness::new().await;
    let client = &harness.admin;
    let vpc = client.ok("DescribeVpcs", &[]).await.text_at("vpcSet.item.vpcId").to_owned();
    let tag = |n, value| [("ResourceId.1", vpc.as_str()), ("Tag.1.Key", n), ("Tag.1.Value", value)];
    client.ok("CreateTags", &tag("full", "x")).await;
    client.ok("CreateTags", &tag("empty", "")).await;
    let with = async |key: &str| {
        let filter = [("Filter.1.Name", key), ("Filter.1.Value.1", "")];
        client.ok("DescribeVpcs", &filter).await.items("vpcSet").len()
    };
    assert_eq!((with("tag:full").await, with("tag:empty").await), (0, 1));
    client.ok("DeleteTags", &tag("full", "")).await;
    client.ok("DeleteTags", &tag("empty", "")).await;
    let left = client.ok("DescribeTags", &[]).await;
    assert_eq!(left.items("tagSet").len(), 1);
    assert_eq!(left.text_at("tagSet.item.key"), "full");
}

#[tokio::test]
async fn tagging_what_is_not_there_is_refused_with_the_code_of_its_kind() {
    let harness = Harness::new().await;
    for (id, code) in [
        ("i-0123456789abcdef0", "InvalidInstanceID.NotFound"),
        ("vol-0123456789abcdef0", "InvalidVolume.NotFound"),
        ("ami-0123456789abcdef0", "InvalidAMIID.NotFound"),
        ("sg-0123456789abcdef0", "InvalidGroup.NotFound"),
        ("sgr-0123456789abcdef0", "InvalidSecurityGroupRuleId.NotFound"),
        ("subnet-0123456789abcdef0", "InvalidSubnetID.NotFound"),
        ("i-nonsense", "InvalidID"),
        ("rtb-0123456789abcdef0", "InvalidID"),
    ] {
        let tag = [("ResourceId.1", id), ("Tag.1.Key", "k")];
        assert_eq!(harness.admin.refused("CreateTags", &tag).await.0, code, "{id}");
        assert_eq!(harness.admin.refused("DeleteTags", &tag).await.0, code, "{id}");
    }
}

#[tokio::test]
async fn placement_groups_are_made_shown_and_deleted() {
    let harness = Harness::new().await;
    let client = &harness.admin;
    client.ok("CreatePlacementGroup", &[("GroupName", "apart"), ("Strategy", "spread")]).await;
    let taken =
        client.refused("CreatePlacementGroup", &[("GroupName", "apart"), ("Strategy", "spread")]).await;
    assert_eq!(taken.0, "InvalidPlacementGroup.Duplicate");
    let groups = client.ok("DescribePlacementGroups", &[("GroupName.1", "apart")]).await;
    assert_eq!(groups.text_at("placementGroupSet.item.strategy"), "spread");
    client.ok("DeletePlacementGroup", &[("GroupName", "apart")]).await;
    assert_eq!(
        client.refused("DeletePlacementGroup", &[("GroupName", "apart")]).await.0,
        "InvalidPlacementGroup.Unknown"
    );
}

#[tokio::test]
async fn a_client_token_imports_once_and_only_the_same() {
    let harness = Harness::new().await;
    let client = &harness.admin;
    let import = |url, token, value| {
        [
            ("DiskContainer.1.Url", url),
            ("ClientToken", token),
            ("TagSpecification.1.ResourceType", "import-image-task"),
            ("TagSpecification.1.Tag.1.Key", "owner"),
            ("TagSpecification.1.Tag.1.Value", value),
        ]
    };
    // Only a part of a URL is shown; all of it counts.
    let (url, other) = ("https://a.test/disk.raw?version=1", "https://a.test/disk.raw?version=2");
    let first = client.ok("ImportImage", &import(url, "t", "me")).await;
    let task = first.text_at("importTaskId").to_owned();
    assert_eq!(first.text_at("tagSet.item.value"), "me");
    client.ok("DeleteTags", &[("ResourceId.1", &task)]).await;
    let again = client.ok("ImportImage", &import(url, "t", "me")).await;
    assert_eq!(again.text_at("importTaskId"), task);
    assert!(again.items("tagSet").is_empty(), "a repeat sets nothing again");
    for changed in [import(other, "t", "me"), import(url, "t", "you")] {
        let refused = client.refused("ImportImage", &changed).await;
        assert_eq!(refused, ("IdempotentParameterMismatch".into(), 400));
    }
    let long = "x".repeat(65);
    assert_eq!(client.refused("ImportImage", &import(url, &long, "me")).await.0, "InvalidParameterValue");
    let new = client.ok("ImportImage", &import(url, "u", "me")).await;
    assert_ne!(new.text_at("importTaskId"), task);
    assert_eq!(client.ok("DescribeImportImageTasks", &[]).await.items("importImageTaskSet").len(), 2);
}
