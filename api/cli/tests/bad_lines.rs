//! Command lines that are wrong, each with its message and its exit code, in one golden file.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::fmt::Write as _;
use std::process::Command;

use assert_cmd::cargo::CommandCargoExt;

/// No cloud listens on this port: what gets past the parser says that none answers.
const NOWHERE: &str = "http://127.0.0.1:9";

const LINES: &[&str] = &[
    "instnce list",
    "instance lst",
    "instance",
    "instance frobnicate web",
    "instance run",
    "instance run debian-12 --count 0",
    "instance run debian-12 --count many",
    "instance run debian-12 --root-size 0",
    "instance run debian-12 --root-size -5",
    "instance run debian-12 --timeout soon",
    "instance run debian-12 --timeout 60",
    "instance run debian-12 --user-data /nonexistent/setup.sh",
    "instance run debian-12 --tag team",
    "instance run debian-12 --tag =blue",
    "instance run debian-12 --ssh --no-wait",
    "instance run debian-12 --tpye t3.small",
    "instance run debian-12 extra",
    "instance list --json id",
    "instance list --json=id --quiet",
    "instance list --jsno",
    "instance show",
    "instance start",
    "instance stop --force",
    "instance delete",
    "instance set web",
    "instance set web --termination-protection maybe",
    "instance set web --shutdown-behavior explode",
    "instance wait web",
    "instance wait web --for flying",
    "instance wait web --for running --timeout -1s",
    "instance console",
    "instance ssh",
    "instance ssh web uname -a",
    "instance events web --limit 0",
    "instance events web --limit 1001",
    "image import",
    "image import disk.qcow2",
    "image import /nonexistent/disk.qcow2 --name disk",
    "image import https://images.example/a.qcow2 --name a --resume up-1",
    "key-pair create",
    "key-pair import laptop",
    "key-pair import laptop /nonexistent/key.pub",
    "security-group allow web",
    "security-group allow web --tcp http",
    "security-group allow web --tcp 70000",
    "security-group allow web --tcp 90-80",
    "security-group allow web --tcp 22 --udp 53",
    "security-group allow web --tcp 22 --from 10.0.0.0/33",
    "security-group allow web --protocol 256",
    "placement-group create apart",
    "placement-group create apart --strategy random",
    "quota set default",
    "quota set default --vcpus many",
    "quota set default --instances -1",
    "tag set i-0123456789abcdef0",
    "tag delete i-0123456789abcdef0",
    "security-group revoke web",
    "instance list --jq .[",
    "instance list --jq .name|nmae",
    "instance list --jq . --quiet",
    "login",
    "login cloud.example",
    "login http://cloud.example:8773",
    "login https://cloud.example/v1",
    "context use",
    "context show lab",
    "instance ssh web --identity",
    "tag set i-0123456789abcdef0 novalue",
    "node expunge",
    "user create",
    "key delete",
    "api",
    "api FETCH /v1/instances",
    "api GET v1/instances",
    "api POST /v1/projects --body {name",
    "help instance rnu",
    "help exit-code",
    "completions tcsh",
    "man",
    "whoami now",
    "doctor --mend",
];

/// Exit code and both streams; nothing of this machine gets into the text.
fn tepui(line: &str, environment: &[(&str, &str)]) -> (i32, String) {
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::cargo_bin("tepui").unwrap();
    command.args(line.split_whitespace()).env_clear().env("XDG_DATA_HOME", home.path());
    command.env("XDG_CONFIG_HOME", home.path());
    let output = command.envs(environment.iter().copied()).output().unwrap();
    assert!(output.stdout.is_empty(), "{line}: an error is no answer");
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn every_bad_line_gets_its_message_and_its_exit_code() {
    let cloud = [("TEPUI_URL", NOWHERE), ("TEPUI_TOKEN", "TPAK.secret")];
    let mut golden = String::new();
    for line in LINES {
        let (code, text) = tepui(line, &cloud);
        let _ = writeln!(golden, "$ tepui {line}\n{text}=> {code}\n");
    }
    insta::assert_snapshot!(golden);
}

#[test]
fn no_bad_line_reaches_the_cloud() {
    for line in LINES {
        let (code, text) = tepui(line, &[]);
        assert_ne!(code, 0, "{line}");
        assert!(!text.contains("panicked"), "{line}: {text}");
    }
}

#[test]
fn without_a_cloud_the_first_command_says_what_to_do() {
    let (code, text) = tepui("instance list", &[]);
    insta::assert_snapshot!(format!("{text}=> {code}"));
    let (code, text) = tepui("instance list", &[("TEPUI_URL", NOWHERE)]);
    insta::assert_snapshot!(format!("{text}=> {code}"));
}

#[test]
fn a_url_that_is_none_and_a_missing_ca_file_are_named() {
    let (code, text) = tepui("whoami", &[("TEPUI_URL", "cloud.example"), ("TEPUI_TOKEN", "a.b")]);
    insta::assert_snapshot!(format!("{text}=> {code}"));
    let missing =
        [("TEPUI_URL", NOWHERE), ("TEPUI_TOKEN", "a.b"), ("TEPUI_CA_BUNDLE", "/nonexistent/ca.pem")];
    let (code, text) = tepui("whoami", &missing);
    insta::assert_snapshot!(format!("{text}=> {code}"));
}

#[test]
fn a_bad_file_of_contexts_is_named_with_line_and_key() {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join("tepui")).unwrap();
    let file = home.path().join("tepui/config.toml");
    std::fs::write(&file, "current = \"lab\"\n\n[context.lab]\nurl = \"https://a:1\"\ntokn = \"a.b\"\n")
        .unwrap();
    let (code, text) = tepui("whoami", &[("XDG_CONFIG_HOME", &home.path().to_string_lossy())]);
    insta::assert_snapshot!(format!("{}=> {code}", text.replace(&*home.path().to_string_lossy(), "HOME")));
}
