//! Mechanisms of the EC2 surface as boto3 meets them, on simulated hosts.

use std::path::Path;

use tepui_tests::{Cloud, Hypervisor};

#[test]
fn boto3_finds_tokens_pages_filters_and_errors_as_on_aws() {
    let cloud = Cloud::start(Hypervisor::Simulated, 4);
    cloud.import("tiny", "root");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/ec2_mechanisms.py");
    let said = cloud.python(&script, &[]).ok();
    assert!(said.ends_with("all mechanisms hold"), "{said}");
    cloud.assert_healthy();
    cloud.down();
}
