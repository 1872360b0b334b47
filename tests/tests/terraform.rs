//! Terraform with the stock AWS provider: apply, "No changes", another size, another host, destroy; guests write to its
//! volumes and read them.

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tepui_tests::{Cloud, Hypervisor, Output, until};

/// Plugins of a local mirror; no public registry may be reachable.
const MIRROR: &str = "/opt/tf-plugins";

/// How long a guest may take to do its part, in seconds.
const PATIENCE: u64 = 120;

#[test]
fn terraform_applies_plans_no_changes_and_destroys() {
    let Some(mirror) = mirror() else {
        // Terraform is in none of Debian's, PyPI's or crates.io's archives. CI must not skip.
        assert!(env::var_os("CI").is_none(), "terraform with a mirror of the AWS provider is missing");
        println!("skipped: no terraform with a plugin mirror; set TEPUI_TERRAFORM_PLUGINS");
        return;
    };
    let cloud = Cloud::start(Hypervisor::Libvirt, 2);
    cloud.import("tiny", "root");
    cloud.make_pools_of([("gp3", "iscsi"), ("nfs", "nfs")], &cloud.host(1));
    let folder = cloud.scratch().join("terraform");
    let prepared = std::fs::create_dir_all(&folder).and_then(|()| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("terraform");
        ["main.tf", "volumes.tf", "guest.sh"]
            .into_iter()
            .try_for_each(|name| std::fs::copy(source.join(name), folder.join(name)).map(drop))
    });
    assert!(prepared.is_ok(), "{prepared:?}");
    let plugins = format!("-plugin-dir={}", mirror.display());
    terraform(&cloud, &folder, &["init", "-input=false", &plugins]).ok();
    apply(&cloud, &folder, &["size=1"]);
    assert_eq!(sizes(&cloud), [("data gp3".into(), 1), ("data nfs".into(), 1)]);
    let data = ids(&cloud, "data");
    cloud.ec2_wait("volume-in-use", "--volume-ids", &data);
    let users = [0, 1].map(|number| user(&cloud, number));
    assert_ne!(cloud.host_of(&users[0]).number(), cloud.host_of(&users[1]).number());
    let first = tells(&cloud, &users[0], "first", &data);

    apply(&cloud, &folder, &["size=1", "backup=true"]);
    let found = cloud.ec2(&["describe-snapshots", "--owner-ids", "self"]);
    let snapshots: Vec<_> = found["Snapshots"].as_array().into_iter().flatten().collect();
    let ids_of_snapshots: Vec<_> = snapshots.iter().map(|one| text(&one["SnapshotId"])).collect();
    cloud.ec2_wait("snapshot-completed", "--snapshot-ids", &ids_of_snapshots);
    let copies = ids(&cloud, "copy");
    cloud.ec2_wait("volume-in-use", "--volume-ids", &copies);
    assert_eq!(tells(&cloud, &users[1], "first", &copies), first, "what the snapshots have");

    apply(&cloud, &folder, &["size=2", "backup=true"]);
    let wanted = [("copy gp3", 1), ("copy nfs", 1), ("data gp3", 2), ("data nfs", 2)];
    assert_eq!(sizes(&cloud), wanted.map(|(name, size)| (name.to_owned(), size)));
    let figures = figures(&cloud);
    assert_eq!(figures["data gp3"], [3000, 125], "what Terraform sends with each change is no limit");
    assert_eq!(figures["copy gp3"], [500, 250]);
    until("the guest sees the new sizes", 60, || {
        let found = cloud.ec2(&["describe-volumes-modifications"]);
        let all = found["VolumesModifications"].as_array()?;
        let is_done = |one: &Value| {
            one["ModificationState"] == "completed" && one["OriginalSize"] == 1 && one["TargetSize"] == 2
        };
        (all.len() == 2 && all.iter().all(is_done)).then_some(())
    });
    let later = tells(&cloud, &users[0], "later", &data);
    for volume in &data {
        cloud.wait_console(&users[0], &format!("{} is free", serial(volume)), PATIENCE);
    }

    apply(&cloud, &folder, &["size=2", "backup=true", "user=1"]);
    assert_eq!(tells(&cloud, &users[1], "first", &data), first);
    assert_eq!(tells(&cloud, &users[1], "later", &data), later);
    let mut said = String::new();
    for volume in data.iter().chain(&copies) {
        said = cloud.wait_console(&users[1], &format!("{} is clean", serial(volume)), PATIENCE);
    }
    assert!(!said.contains("FAILED"), "{said}");
    for volume in &copies {
        assert!(!said.contains(&format!("{} later", serial(volume))), "{said}");
    }

    let gone = [data, copies].concat();
    terraform(&cloud, &folder, &["destroy", "-auto-approve", "-input=false"]).ok();
    cloud.ec2_wait("volume-deleted", "--volume-ids", &gone);
    let groups = cloud.ec2(&["describe-security-groups", "--filters", "Name=group-name,Values=terraform"]);
    assert_eq!(groups["SecurityGroups"].as_array().map(Vec::len), Some(0));
    until("nothing is left in the pools", 60, || {
        let pools = cloud.tepui_json(&["pool", "list"]);
        let empty = |number: usize| pools[number]["volumes"] == 0 && pools[number]["snapshots"] == 0;
        (empty(0) && empty(1)).then_some(())
    });
    cloud.assert_healthy();
    cloud.down();
}

/// The checksum that a guest tells of what was written to each volume, once it has told all.
fn tells(cloud: &Cloud, user: &str, what: &str, volumes: &[String]) -> Vec<String> {
    let of = |volume: &String| {
        let start = format!("{} {what}: ", serial(volume));
        let line = |said: &str| {
            let told = said.lines().find_map(|line| line.strip_prefix(&start)?.split_once("  -"));
            told.map(|(sum, _)| sum.to_owned())
        };
        let said = cloud.wait_console(user, &start, PATIENCE);
        line(&said).unwrap_or_else(|| {
            let whole = || line(&cloud.console(cloud.variables(), user));
            until(&format!("the whole line of {volume}"), PATIENCE, whole)
        })
    };
    volumes.iter().map(of).collect()
}

/// What guests have as the serial number of a volume's disk.
fn serial(volume: &str) -> String {
    volume.replace('-', "")
}

/// An instance of those that use the volumes.
fn user(cloud: &Cloud, number: u8) -> String {
    let filters =
        [format!("Name=tag:Name,Values=user-{number}"), "Name=instance-state-name,Values=running".into()];
    let found = cloud.ec2(&["describe-instances", "--filters", &filters[0], &filters[1]]);
    text(&found["Reservations"][0]["Instances"][0]["InstanceId"])
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Applies it with these variables; nothing is left to plan then.
fn apply(cloud: &Cloud, folder: &Path, variables: &[&str]) {
    let variables: Vec<_> = variables.iter().map(|variable| format!("-var={variable}")).collect();
    let with = |words: &[&str]| {
        let all: Vec<&str> = words.iter().copied().chain(variables.iter().map(String::as_str)).collect();
        terraform(cloud, folder, &all)
    };
    with(&["apply", "-auto-approve", "-input=false"]).ok();
    let plan = with(&["plan", "-input=false", "-detailed-exitcode"]);
    assert_eq!(plan.code, Some(0), "the plan is not empty:\n{}\n{}", plan.stdout, plan.stderr);
    assert!(plan.stdout.contains("No changes"), "{}", plan.stdout);
}

/// The sizes of the volumes, by what they are and their class.
fn sizes(cloud: &Cloud) -> Vec<(String, u64)> {
    let sizes = |volume: &Value| (name(volume), volume["Size"].as_u64().unwrap_or_default());
    described(cloud).iter().map(sizes).collect()
}

/// Their operations and MiB a second.
fn figures(cloud: &Cloud) -> BTreeMap<String, [u64; 2]> {
    let of = |volume: &Value| {
        let figure = |name: &str| volume[name].as_u64().unwrap_or_default();
        (name(volume), [figure("Iops"), figure("Throughput")])
    };
    described(cloud).iter().map(of).collect()
}

/// The ids of the volumes of this name in the configuration, in the order of their classes.
fn ids(cloud: &Cloud, named: &str) -> Vec<String> {
    let all = described(cloud);
    all.iter().filter(|one| name(one).starts_with(named)).map(|one| text(&one["VolumeId"])).collect()
}

/// All volumes but root disks, by their names.
fn described(cloud: &Cloud) -> Vec<Value> {
    let found = cloud.ec2(&["describe-volumes"]);
    let mut all = found["Volumes"].as_array().cloned().unwrap_or_default();
    all.retain(|volume| volume["Attachments"][0]["Device"] != "/dev/sda1");
    all.sort_by_key(name);
    all
}

/// The copies are made from snapshots, and the others are not.
fn name(volume: &Value) -> String {
    let what = if text(&volume["SnapshotId"]).is_empty() { "data" } else { "copy" };
    format!("{what} {}", text(&volume["VolumeType"]))
}

fn mirror() -> Option<PathBuf> {
    let path = env::var_os("TEPUI_TERRAFORM_PLUGINS").map_or_else(|| MIRROR.into(), PathBuf::from);
    let installed =
        Command::new("terraform").arg("version").env_remove("TF_CLI_CONFIG_FILE").output().is_ok();
    (installed && path.is_dir()).then_some(path)
}

fn terraform(cloud: &Cloud, folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new("terraform");
    command.args(arguments).arg("-no-color").current_dir(folder);
    // The variable may name a file that does not exist, which terraform refuses.
    cloud.with_environment(command.env_remove("TF_CLI_CONFIG_FILE").env("CHECKPOINT_DISABLE", "1"))
}
