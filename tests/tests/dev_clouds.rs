//! Dev clouds: two beside each other, a half-made one, one that lost a host for good; and what needs
//! nothing but simulated guests to be seen.

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tepui_tests::{Cloud, Hypervisor, binary, free_port, run, until};

#[test]
fn two_dev_clouds_live_side_by_side_and_end_apart() {
    let (one, two) = (Cloud::start(Hypervisor::Simulated, 2), Cloud::start(Hypervisor::Simulated, 1));
    for cloud in [&one, &two] {
        cloud.import("tiny", "root");
    }
    let launch = |cloud: &Cloud| cloud.tepui(&["instance", "run", "tiny", "--name", "web", "--quiet"]).ok();
    let (first, second) = (launch(&one), launch(&two));
    let ids = |cloud: &Cloud| cloud.tepui(&["instance", "list", "--quiet"]).ok();
    assert_eq!((ids(&one), ids(&two)), (first.clone(), second.clone()));
    let mixed = one.tepui_as(&with_url(&one, &two), &["whoami"]);
    assert_eq!(mixed.code, Some(4), "a key of one is nothing in the other: {}", mixed.stderr);
    let address = one.address();
    one.down();
    assert!(TcpStream::connect(&address).is_err(), "nobody listens there any more");
    assert_eq!(ids(&two), second);
    two.tepui(&["instance", "stop", "web"]).ok();
    two.assert_healthy();
    two.down();
}

/// The credential of `one` for the cloud of `two`.
fn with_url(one: &Cloud, two: &Cloud) -> std::collections::BTreeMap<String, String> {
    let mut variables = one.variables().clone();
    variables.insert("TEPUI_URL".into(), two.variable("TEPUI_URL").into());
    variables
}

/// Without `tepui-node` an `up` gets as far as namespaces, `tepui-api` and the first host's libvirtd.
#[test]
fn down_after_a_half_made_up_leaves_nothing() {
    let folder = tempfile::Builder::new().prefix("tp-").tempdir_in("/tmp").unwrap();
    let (cloud, programs) = (folder.path().join("c"), folder.path().join("bin"));
    fs::create_dir(&programs).unwrap();
    symlink(binary("tepui-api"), programs.join("tepui-api")).unwrap();
    let (before, listen) = (traces(), format!("127.0.0.1:{}", free_port()));
    let text = |path: &std::path::Path| path.to_string_lossy().into_owned();
    let up = ["dev", "up", "--dir", &text(&cloud), "--listen", &listen, "--bin-dir", &text(&programs)];
    let said = run(binary("tepui"), &up).refused();
    assert!(said.contains("there is no") && said.contains("tepui-node"), "{said}");
    assert!(TcpStream::connect(&listen).is_ok(), "tepui-api runs: {said}");
    // Others may have clouds on this machine, too.
    let made: BTreeSet<String> = traces().difference(&before).cloned().collect();
    assert!(made.len() > 3, "and there is something to remove: {made:?}");
    let down = ["dev", "down", "--dir", &text(&cloud)];
    run(binary("tepui"), &down).ok();
    assert!(traces().is_disjoint(&made), "of {made:?} something is left");
    assert!(TcpStream::connect(&listen).is_err(), "nobody listens there any more");
    assert!(!cloud.exists());
    run(binary("tepui"), &down).ok();
}

/// What dev clouds have on this machine: namespaces, devices, tables, folders.
fn traces() -> BTreeSet<String> {
    let of = |program: &str, arguments: &[&str]| run(program, arguments).stdout;
    let lists = of("ip", &["netns", "list"]) + &of("ip", &["-o", "link"]) + &of("nft", &["list", "tables"]);
    let folders = fs::read_dir("/run").into_iter().flatten().flatten();
    let folders = folders.map(|entry| entry.path().to_string_lossy().into_owned());
    let words = lists.split_whitespace().map(str::to_owned).chain(folders);
    words.filter(|word| word.contains("tpd") || word.contains("tepui-dev-")).collect()
}

#[test]
fn up_resumes_a_simulation_of_which_a_host_was_given_up() {
    let mut cloud = Cloud::start(Hypervisor::Simulated, 2);
    let state: Value =
        serde_json::from_slice(&fs::read(cloud.cloud_folder().join("state.json")).unwrap()).unwrap();
    let hosts = state["processes"]["tepui-node"]["pid"].as_i64().unwrap();
    kill(Pid::from_raw(i32::try_from(hosts).unwrap()), Signal::SIGKILL).unwrap();
    // A node is not given up before it was silent for 90 s.
    until("the hosts are unreachable", 150, || {
        let nodes = cloud.tepui_json(&["node", "list"]);
        let nodes = nodes.as_array().unwrap();
        nodes.iter().all(|node| node["state"] == "unreachable").then_some(())
    });
    cloud.tepui(&["node", "expunge", "sim-1", "--yes"]).ok();
    cloud.up();
    let states = cloud.tepui(&["node", "list", "--jq", "map(.state) | sort | .[]"]).ok();
    assert_eq!(states, "expunged\nup");
    cloud.down();
}

#[test]
fn ssh_that_cannot_succeed_says_why_at_once_and_a_launch_is_among_the_events() {
    let cloud = Cloud::start(Hypervisor::Simulated, 1);
    cloud.import("tiny", "root");
    let body = r#"{"image":"tiny","name":"keyless"}"#;
    cloud.tepui(&["api", "POST", "/v1/instances", "--body", body]).ok();
    cloud.tepui(&["instance", "wait", "keyless", "--for", "running"]).ok();
    cloud.tepui(&["security-group", "create", "closed"]).ok();
    let shut = ["instance", "run", "tiny", "--name", "shut", "--security-group", "closed"];
    let said = cloud.tepui(&shut);
    assert!(said.stderr.contains("no login: the security groups of 'shut' let no ssh in"), "{}", said.stderr);
    for (name, why, cure) in [
        ("keyless", "has no key pair", "tepui instance ssh keyless --identity FILE"),
        ("shut", "let no ssh in from anywhere", "tepui security-group allow closed --tcp 22"),
    ] {
        let asked = Instant::now();
        let said = cloud.tepui(&["instance", "ssh", name]).refused();
        assert!(said.contains(why) && said.contains(cure), "{said}");
        assert!(asked.elapsed() < Duration::from_secs(3), "it waited for nothing");
    }
    let events = cloud.tepui(&["instance", "events", "shut", "--jq", ".[].action"]).ok();
    assert_eq!(events, "RunInstances");
    cloud.down();
}
