//! Terraform with the stock AWS provider: apply, "No changes", another size, destroy.

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tepui_tests::{Cloud, Hypervisor, Output, until};

/// Plugins of a local mirror; no public registry may be reachable.
const MIRROR: &str = "/opt/tf-plugins";

#[test]
fn terraform_applies_plans_no_changes_and_destroys() {
    let Some(mirror) = mirror() else {
        // Terraform is in none of Debian's, PyPI's or crates.io's archives. CI must not skip.
        assert!(env::var_os("CI").is_none(), "terraform with a mirror of the AWS provider is missing");
        println!("skipped: no terraform with a plugin mirror; set TEPUI_TERRAFORM_PLUGINS");
        return;
    };
    let cloud = Cloud::start(Hypervisor::Libvirt, 1);
    cloud.import("tiny", "root");
    cloud.make_pool(&cloud.host(1));
    let folder = cloud.scratch().join("terraform");
    let prepared = std::fs::create_dir_all(&folder).and_then(|()| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("terraform");
        ["main.tf", "volumes.tf"]
            .into_iter()
            .try_for_each(|name| std::fs::copy(source.join(name), folder.join(name)).map(drop))
    });
    assert!(prepared.is_ok(), "{prepared:?}");
    let plugins = format!("-plugin-dir={}", mirror.display());
    terraform(&cloud, &folder, &["init", "-input=false", &plugins]).ok();
    apply(&cloud, &folder, 1);
    assert_eq!(volumes(&cloud), [("copy".to_owned(), 1), ("data".to_owned(), 1)]);
    wait(&cloud, "volume-in-use", "--volume-ids", &ids(&cloud, "data"));
    let snapshots = cloud.ec2(&["describe-snapshots", "--owner-ids", "self"]);
    let snapshot = snapshots["Snapshots"][0]["SnapshotId"].as_str().unwrap_or_default();
    wait(&cloud, "snapshot-completed", "--snapshot-ids", &[snapshot.to_owned()]);
    wait(&cloud, "volume-available", "--volume-ids", &ids(&cloud, "copy"));

    apply(&cloud, &folder, 2);
    assert_eq!(volumes(&cloud), [("copy".to_owned(), 1), ("data".to_owned(), 2)]);
    let figures = figures(&cloud);
    assert_eq!(figures["data"], [3000, 125], "what Terraform sends with each change is no limit");
    assert_eq!(figures["copy"], [500, 250]);
    until("the guest sees the new size", 60, || {
        let found = cloud.ec2(&["describe-volumes-modifications"]);
        let modification = &found["VolumesModifications"][0];
        let sizes = (&modification["OriginalSize"], &modification["TargetSize"]);
        (modification["ModificationState"] == "completed" && *sizes.0 == 1 && *sizes.1 == 2).then_some(())
    });

    let gone: Vec<_> = ["data", "copy"].iter().flat_map(|name| ids(&cloud, name)).collect();
    terraform(&cloud, &folder, &["destroy", "-auto-approve", "-input=false"]).ok();
    wait(&cloud, "volume-deleted", "--volume-ids", &gone);
    let groups = cloud.ec2(&["describe-security-groups", "--filters", "Name=group-name,Values=terraform"]);
    assert_eq!(groups["SecurityGroups"].as_array().map(Vec::len), Some(0));
    until("nothing is left in the pool", 60, || {
        let pools = cloud.tepui_json(&["pool", "list"]);
        (pools[0]["volumes"] == 0 && pools[0]["snapshots"] == 0).then_some(())
    });
    cloud.assert_healthy();
    cloud.down();
}

/// Applies it with a volume of this size; nothing is left to plan then.
fn apply(cloud: &Cloud, folder: &Path, gib: u32) {
    let size = format!("-var=size={gib}");
    terraform(cloud, folder, &["apply", "-auto-approve", "-input=false", &size]).ok();
    let plan = terraform(cloud, folder, &["plan", "-input=false", "-detailed-exitcode", &size]);
    assert_eq!(plan.code, Some(0), "the plan is not empty:\n{}\n{}", plan.stdout, plan.stderr);
    assert!(plan.stdout.contains("No changes"), "{}", plan.stdout);
}

/// The volumes in the pool, by their names in the configuration, with their sizes.
fn volumes(cloud: &Cloud) -> Vec<(String, u64)> {
    let mut found: Vec<_> = described(cloud)
        .iter()
        .map(|volume| (name(volume).to_owned(), volume["Size"].as_u64().unwrap_or_default()))
        .collect();
    found.sort();
    found
}

/// Their operations and MiB a second.
fn figures(cloud: &Cloud) -> BTreeMap<&'static str, [u64; 2]> {
    let of = |volume: &Value| {
        let figure = |name: &str| volume[name].as_u64().unwrap_or_default();
        (name(volume), [figure("Iops"), figure("Throughput")])
    };
    described(cloud).iter().map(of).collect()
}

fn ids(cloud: &Cloud, named: &str) -> Vec<String> {
    let all = described(cloud);
    let own = all.iter().filter(|volume| name(volume) == named);
    own.map(|volume| volume["VolumeId"].as_str().unwrap_or_default().to_owned()).collect()
}

/// All volumes but root disks.
fn described(cloud: &Cloud) -> Vec<Value> {
    let found = cloud.ec2(&["describe-volumes"]);
    let all = found["Volumes"].as_array().cloned().unwrap_or_default();
    all.into_iter().filter(|volume| volume["Attachments"][0]["Device"] != "/dev/sda1").collect()
}

/// The copy is made from a snapshot, and the other one is not.
fn name(volume: &Value) -> &'static str {
    match volume["SnapshotId"].as_str() {
        Some("") | None => "data",
        Some(_) => "copy",
    }
}

/// One of the AWS CLI's waiters.
fn wait(cloud: &Cloud, waiter: &str, option: &str, ids: &[String]) {
    assert!(!ids.is_empty(), "{waiter}");
    let mut arguments = vec!["wait", waiter, option];
    arguments.extend(ids.iter().map(String::as_str));
    cloud.aws(cloud.variables(), "ec2", &arguments).ok();
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
