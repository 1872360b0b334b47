//! Terraform with the stock AWS provider: apply, "No changes", destroy.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use tepui_tests::{Cloud, Hypervisor, Output};

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
    let folder = cloud.scratch().join("terraform");
    let prepared = std::fs::create_dir_all(&folder).and_then(|()| {
        std::fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("terraform/main.tf"), folder.join("main.tf"))
    });
    assert!(prepared.is_ok(), "{prepared:?}");
    let plugins = format!("-plugin-dir={}", mirror.display());
    terraform(&cloud, &folder, &["init", "-input=false", &plugins]).ok();
    terraform(&cloud, &folder, &["apply", "-auto-approve", "-input=false"]).ok();
    let plan = terraform(&cloud, &folder, &["plan", "-input=false", "-detailed-exitcode"]);
    assert_eq!(plan.code, Some(0), "the plan is not empty:\n{}\n{}", plan.stdout, plan.stderr);
    assert!(plan.stdout.contains("No changes"), "{}", plan.stdout);
    terraform(&cloud, &folder, &["destroy", "-auto-approve", "-input=false"]).ok();
    let groups = cloud.ec2(&["describe-security-groups", "--filters", "Name=group-name,Values=terraform"]);
    assert_eq!(groups["SecurityGroups"].as_array().map(Vec::len), Some(0));
    cloud.assert_healthy();
    cloud.down();
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
