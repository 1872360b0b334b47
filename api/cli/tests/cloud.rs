//! Whole commands against a real control plane in this process. It has no hosts: what needs guests
//! is tested end to end elsewhere.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a helper that fails fails its test")]

use std::io::{Cursor, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};

use assert_cmd::cargo::CommandCargoExt;
use indicatif::ProgressDrawTarget;
use serde_json::{Value, json};
use tempfile::TempDir;
use tepui_cli::command::Finish;
use tepui_cli::exit::Exit;
use tepui_cli::world::{Streams, World};
use tepui_server::{Config, RunningServer, Server};

/// A control plane and a person's home.
struct Cloud {
    server: RunningServer,
    token: String,
    dir: TempDir,
}

/// What a command did.
#[derive(Debug)]
struct Ran {
    out: String,
    err: String,
    exit: Exit,
}

impl Ran {
    fn done(&self) {
        assert_eq!(self.exit, Exit::Ok, "{}", self.err);
    }

    fn json(&self) -> Value {
        self.done();
        serde_json::from_str(&self.out).unwrap()
    }
}

#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Kept {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Cloud {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path());
        let token = tepui_server::init(&config).await.unwrap().token;
        let server = Server::start(&config).await.unwrap();
        Self { server, token, dir }
    }

    fn world(&self, token: &str, person: bool) -> World {
        World {
            url: Some(format!("http://{}", self.server.public_addr)),
            token: Some(token.to_owned()),
            ca_bundle: None,
            config_dir: self.dir.path().join("config"),
            data_dir: self.dir.path().join("home"),
            stdout_is_terminal: person,
            stdin_is_terminal: person,
            width: Some(100),
            progress: ProgressDrawTarget::hidden,
            random: || [7; 32],
        }
    }

    /// As a script would run it.
    async fn tepui(&self, line: &str) -> Ran {
        run(self.world(&self.token, false), "", line).await
    }

    /// Without a word of the environment, as somebody who has logged in, or not; `typed` is standard
    /// input.
    async fn bare(&self, typed: &str, line: &str) -> Ran {
        run(World { url: None, token: None, ..self.world("", false) }, typed, line).await
    }

    /// As a person at a terminal who types `answer` when asked.
    async fn person(&self, answer: &str, line: &str) -> Ran {
        run(self.world(&self.token, true), answer, line).await
    }
}

fn config(dir: &Path) -> Config {
    let text = format!(
        "data_dir = \"{}\"\nregion = \"tepui-1\"\n[public]\nlisten = \"127.0.0.1:0\"\n\
         [agents]\nlisten = \"127.0.0.1:0\"\nnames = [\"127.0.0.1\"]\n[metrics]\nlisten = \"127.0.0.1:0\"\n",
        dir.join("api").display()
    );
    Config::parse(Path::new("api.toml"), &text).unwrap()
}

async fn run(world: World, answer: &str, line: &str) -> Ran {
    let (out, err) = (Kept::default(), Kept::default());
    let input = Cursor::new(format!("{answer}\n").into_bytes());
    let streams = Streams { out: Box::new(out.clone()), err: Box::new(err.clone()), input: Box::new(input) };
    let words = ["tepui"].into_iter().chain(line.split_whitespace()).map(Into::into).collect();
    let Finish::Exit(exit) = tepui_cli::run(words, world, streams, std::future::pending()).await else {
        panic!("{line} became another program");
    };
    Ran { out: out.text(), err: err.text(), exit }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoami_names_cloud_user_and_project() {
    let cloud = Cloud::start().await;
    let me = cloud.tepui("whoami --json").await.json();
    assert_eq!(me["user"]["name"], "admin");
    assert_eq!(me["project"]["name"], "default");
    assert_eq!(me["url"], format!("http://{}", cloud.server.public_addr));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_clouds_refusals_become_exit_codes() {
    let cloud = Cloud::start().await;
    assert_eq!(cloud.tepui("image show nothing-like-it").await.exit, Exit::NotFound);
    let stranger = cloud.world("TPAK234567ABCDEFGHIJ.wrong", false);
    assert_eq!(run(stranger, "", "whoami").await.exit, Exit::Unauthenticated);
    cloud.tepui("user create ada").await.done();
    let key = cloud.tepui("key create --user ada --json").await.json();
    let ada = cloud.world(key["token"].as_str().unwrap(), false);
    let room = run(cloud.world(key["token"].as_str().unwrap(), false), "", "type list").await;
    assert_eq!(room.exit, Exit::Ok, "a launch needs it: {room:?}");
    let refused = run(ada, "", "node list").await;
    assert_eq!(refused.exit, Exit::Forbidden, "{refused:?}");
    assert!(refused.err.contains("request: "), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn creating_twice_answers_with_what_is_there_or_names_what_differs() {
    let cloud = Cloud::start().await;
    for (same, other, field) in [
        ("user create ada", "user create ada --administrator", "role"),
        ("security-group create web", "security-group create web --description servers", "description"),
        (
            "placement-group create apart --strategy spread",
            "placement-group create apart --strategy cluster",
            "strategy",
        ),
        ("key-pair create laptop", "", ""),
        ("project create research", "", ""),
    ] {
        let first = cloud.tepui(&format!("{same} --quiet")).await;
        let again = cloud.tepui(&format!("{same} --quiet")).await;
        assert_eq!((again.exit, &again.out), (Exit::Ok, &first.out), "{again:?}");
        if !other.is_empty() {
            let refused = cloud.tepui(other).await;
            assert_eq!(refused.exit, Exit::Failed, "{refused:?}");
            assert!(refused.err.contains(&format!("with another {field}")), "{refused:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_deleted_without_the_name_or_yes() {
    let cloud = Cloud::start().await;
    cloud.tepui("key-pair create laptop").await.done();
    let script = cloud.tepui("key-pair delete laptop").await;
    assert_eq!(script.exit, Exit::Usage);
    assert!(script.err.contains("deletes: key pair laptop"), "{script:?}");
    assert_eq!(cloud.person("lap", "key-pair delete laptop").await.exit, Exit::Failed);
    assert_eq!(cloud.tepui("key-pair delete laptop --dry-run --yes").await.exit, Exit::Ok);
    assert_eq!(cloud.tepui("key-pair list --json=name").await.json(), json!([{"name": "laptop"}]));
    assert_eq!(cloud.person("laptop", "key-pair delete laptop").await.exit, Exit::Ok);
    assert_eq!(cloud.tepui("key-pair list").await.out, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_come_and_go_and_read_as_sentences() {
    let cloud = Cloud::start().await;
    cloud.tepui("security-group create web").await.done();
    cloud.tepui("security-group allow web --tcp 8000-8999 --from 203.0.113.9/24").await.done();
    let shown = cloud.person("", "security-group allow web --icmp --from web").await;
    assert!(shown.out.contains("in: tcp 8000-8999 from 203.0.113.0/24"), "{shown:?}");
    assert!(shown.out.contains("in: icmp from sg-"), "{shown:?}");
    let revoke = "security-group revoke web --tcp 8000-8999 --from 203.0.113.0/24";
    let script = cloud.tepui(revoke).await;
    assert_eq!(script.exit, Exit::Usage);
    assert!(
        script.err.contains("revokes: in: tcp 8000-8999 from 203.0.113.0/24 of security group web"),
        "{script:?}"
    );
    assert_eq!(cloud.tepui("security-group revoke web --udp 53 --dry-run").await.exit, Exit::NotFound);
    cloud.tepui(&format!("{revoke} --dry-run")).await.done();
    let shown = cloud.person("", "security-group show web").await;
    assert!(shown.out.contains("tcp 8000"), "a dry run changes nothing: {shown:?}");
    cloud.person("web", revoke).await.done();
    let shown = cloud.person("", "security-group show web").await;
    assert!(!shown.out.contains("tcp"), "{shown:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_is_removed_only_when_confirmed_and_twice_is_once() {
    let cloud = Cloud::start().await;
    let group = cloud.tepui("security-group create web --quiet").await.out.trim().to_owned();
    cloud.tepui(&format!("tag set {group} team=blue")).await.done();
    let delete = format!("tag delete {group} team");
    let script = cloud.tepui(&delete).await;
    assert_eq!(script.exit, Exit::Usage);
    assert!(script.err.contains(&format!("removes: tag team=blue of {group}")), "{script:?}");
    cloud.tepui(&format!("{delete} --dry-run")).await.done();
    let tags = cloud.tepui(&format!("tag list --resource {group} --json=key")).await;
    assert_eq!(tags.json(), json!([{"key": "team"}]));
    assert_eq!(cloud.person("no", &delete).await.exit, Exit::Failed);
    cloud.person("team", &delete).await.done();
    assert_eq!(cloud.tepui(&format!("tag list --resource {group}")).await.out, "");
    cloud.tepui(&format!("{delete} --yes")).await.done();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_is_the_clouds_answer_and_the_inventory_names_the_place() {
    let cloud = Cloud::start().await;
    cloud.tepui("user create ada").await.done();
    let free = cloud.tepui("user delete ada --dry-run").await;
    free.done();
    let place = format!("on:      http://{}, project default\n", cloud.server.public_addr);
    assert_eq!(free.err, format!("{place}deletes: user ada\ndry run: nothing was done\n"));
    cloud.tepui("key create --user ada").await.done();
    for line in ["user delete ada --dry-run", "user delete ada --yes", "user delete ada"] {
        let refused = cloud.tepui(line).await;
        assert_eq!(refused.exit, Exit::Failed, "{refused:?}");
        assert!(refused.err.starts_with("error: ") && refused.err.contains("in use"), "{refused:?}");
    }
    assert!(cloud.tepui("user list").await.out.contains("ada"));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_goes_through_a_filter_of_jq() {
    let cloud = Cloud::start().await;
    cloud.tepui("user create ada").await.done();
    let names = cloud.tepui("user list --jq .[].name").await;
    assert_eq!(names.out, "ada\nadmin\n");
    assert_eq!(cloud.tepui("user list --json=role --jq [.[]|keys[]]|unique[]").await.out, "role\n");
    assert_eq!(cloud.tepui("whoami --jq .project.name").await.out, "default\n");
    assert_eq!(cloud.tepui("api GET /v1/users --jq .items|length").await.out, "2\n");
    let elsewhere = World { url: Some("http://127.0.0.1:9".into()), ..cloud.world("a.b", false) };
    let bad = run(elsewhere, "", "user list --jq .[").await;
    assert_eq!(bad.exit, Exit::Usage, "before anything is sent: {bad:?}");
    assert_eq!(cloud.tepui("user list --jq . --quiet").await.exit, Exit::Usage);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_is_tried_kept_and_used() {
    let cloud = Cloud::start().await;
    let (url, token) = (format!("http://{}", cloud.server.public_addr), cloud.token.clone());
    let (id, secret) = token.split_once('.').unwrap();
    assert!(cloud.bare("", "whoami").await.err.contains("try:   sudo tepui dev up"));
    let wrong = cloud.bare(&format!("{id}\nwrong"), &format!("login {url}")).await;
    assert_eq!(wrong.exit, Exit::Unauthenticated, "{wrong:?}");
    assert_eq!(cloud.bare("", "context list").await.out, "", "what does not work is not kept");
    cloud.bare(&format!("{id}\n{secret}"), &format!("login {url} --name lab")).await.done();
    let me = cloud.bare("", "whoami --json").await.json();
    assert_eq!(me["url"], url);
    assert!(me["configured_by"].as_str().unwrap().starts_with("context lab of "), "{me}");
    assert_eq!(cloud.tepui("whoami --jq .configured_by").await.out, "environment\n");
    let shown = cloud.bare("", "context show lab --json").await;
    assert!(!shown.out.contains(secret), "{shown:?}");
    let other = cloud.bare(&token, "login http://127.0.0.1:9 --name lab").await;
    assert_eq!(other.exit, Exit::Failed, "{other:?}");
    assert_eq!(cloud.bare(&token, &format!("login {url} --name lab")).await.exit, Exit::Ok, "again is safe");
}

#[tokio::test(flavor = "multi_thread")]
async fn contexts_are_switched_and_forgotten() {
    let cloud = Cloud::start().await;
    let login = format!("login http://{} --name", cloud.server.public_addr);
    cloud.bare(&cloud.token, &format!("{login} first")).await.done();
    cloud.tepui("project create research").await.done();
    let key = cloud.tepui("key create --project research --jq .token").await.out;
    cloud.bare(key.trim(), &format!("{login} second")).await.done();
    assert_eq!(cloud.bare("", "whoami --jq .project.name").await.out, "research\n");
    let mixed = cloud.bare(&cloud.token, &format!("{login} second")).await;
    assert!(mixed.err.contains("with another project"), "{mixed:?}");
    cloud.bare("", "context use first").await.done();
    assert_eq!(cloud.bare("", "whoami --jq .project.name").await.out, "default\n");
    assert_eq!(cloud.bare("", "context use frist").await.exit, Exit::NotFound);
    assert_eq!(cloud.bare("", "context delete first").await.exit, Exit::Usage);
    cloud.bare("", "context delete first --yes").await.done();
    let names = cloud.bare("", "context list --json=name,current").await;
    assert_eq!(names.json(), json!([{"name": "second", "current": false}]));
    assert!(cloud.bare("", "whoami").await.err.contains("tepui context use NAME"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_environments_cloud_gets_no_contexts_credential() {
    let cloud = Cloud::start().await;
    let login = format!("login http://{}", cloud.server.public_addr);
    cloud.bare(&cloud.token, &login).await.done();
    let world = World { token: None, ..cloud.world("", false) };
    let refused = run(world, "", "whoami").await;
    assert_eq!(refused.exit, Exit::Unauthenticated);
    assert!(refused.err.contains("TEPUI_TOKEN is not set"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_elsewhere_does_not_take_the_environments_credential_along() {
    let (cloud, other) = (Cloud::start().await, Cloud::start().await);
    let elsewhere = format!("login http://{}", other.server.public_addr);
    let refused = run(cloud.world(&cloud.token, false), "", &elsewhere).await;
    assert_eq!(refused.exit, Exit::Usage, "no key was given: {refused:?}");
    assert!(refused.err.contains("TEPUI_TOKEN is not sent"), "{refused:?}");
    let own = format!("login http://{}", cloud.server.public_addr);
    run(cloud.world(&cloud.token, false), "", &own).await.done();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_without_tls_goes_through_no_proxy() {
    let cloud = Cloud::start().await;
    let mut command = std::process::Command::cargo_bin("tepui").unwrap();
    command.env_clear().env("HOME", cloud.dir.path()).env("HTTP_PROXY", "http://127.0.0.1:9");
    let url = format!("http://{}", cloud.server.public_addr);
    let output = command.env("TEPUI_URL", url).env("TEPUI_TOKEN", &cloud.token).arg("whoami").output();
    assert!(output.as_ref().unwrap().status.success(), "{output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shell_is_offered_commands_and_the_clouds_names_and_nothing_when_it_is_away() {
    let cloud = Cloud::start().await;
    cloud.tepui("security-group create web-servers").await.done();
    let url = format!("http://{}", cloud.server.public_addr);
    let offered = |url: &str, words: &[&str]| {
        let mut command = std::process::Command::cargo_bin("tepui").unwrap();
        command
            .env_clear()
            .env("TEPUI_URL", url)
            .env("TEPUI_TOKEN", &cloud.token)
            .env("TEPUI_COMPLETE", "bash");
        command.env("_CLAP_COMPLETE_INDEX", (words.len() - 1).to_string()).env("_CLAP_IFS", "\n");
        let output = command.arg("--").args(words).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(offered(&url, &["tepui", "secur"]).trim(), "security-group");
    assert_eq!(offered(&url, &["tepui", "security-group", "show", "web"]).trim(), "web-servers");
    assert_eq!(offered(&url, &["tepui", "security-group", "show", "db"]), "");
    let started = std::time::Instant::now();
    assert_eq!(offered("http://127.0.0.1:9", &["tepui", "security-group", "show", "web"]), "");
    assert!(started.elapsed().as_secs() < 5, "a person waits");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_is_not_named_stays() {
    let cloud = Cloud::start().await;
    let mut wanted = cloud.tepui("quota show default --json").await.json();
    for (option, field) in [("--vcpus", "vcpus"), ("--volumes", "volumes"), ("--volume-gib", "volume_gib")] {
        let after = cloud.tepui(&format!("quota set default {option} 3 --json")).await.json();
        wanted[field] = json!(3);
        assert_eq!(after, wanted);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_is_not_there_leaves_nothing_behind() {
    let cloud = Cloud::start().await;
    let ran = cloud.tepui("instance run debian-12").await;
    assert_eq!(ran.exit, Exit::NotFound, "{ran:?}");
    assert!(ran.err.contains("try:   tepui image list"), "{ran:?}");
    assert_eq!(cloud.tepui("key-pair list").await.out, "");
    assert!(!cloud.dir.path().join("home").exists());
}

/// Removes the image that a refused upload left, as its failure says.
async fn removed(cloud: &Cloud, failure: &str) {
    let line = failure.lines().find_map(|line| Some(line.split_once("tepui image delete ")?.1));
    let Some(line) = line else { panic!("{failure}") };
    let ran = cloud.tepui(&format!("image delete {line}")).await;
    assert_eq!(ran.exit, Exit::Ok, "{ran:?}");
}

/// A raw disk without a boot sector.
fn disk(cloud: &Cloud, name: &str) -> String {
    let path = cloud.dir.path().join(name);
    std::fs::write(&path, vec![3; 4096]).unwrap();
    path.to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_is_refused_keeps_what_was_uploaded_and_says_how_to_go_on_or_remove_it() {
    let cloud = Cloud::start().await;
    let file = disk(&cloud, "data.raw");
    let ran = cloud.tepui(&format!("snapshot upload {file}")).await;
    assert_eq!(ran.exit, Exit::NoCapacity, "this cloud has no pool: {ran:?}");
    assert!(ran.err.contains("what was uploaded is kept as an image"), "{ran:?}");
    assert!(ran.err.contains("docs:  tepui help snapshot upload"), "{ran:?}");
    assert!(ran.err.contains("tepui snapshot upload ") && ran.err.contains(" --resume "), "{ran:?}");
    assert!(cloud.tepui("image list").await.out.contains("snapshot-upload-"));
    removed(&cloud, &ran.err).await;
    let imports = cloud.tepui("image imports --json").await.json();
    assert_eq!((&imports[0]["state"], &imports[0]["source"]), (&json!("completed"), &json!("data.raw")));
    assert_eq!(cloud.tepui("image list").await.out, "");
    assert_eq!(cloud.tepui("snapshot list").await.out, "");

    let early = cloud.tepui(&format!("snapshot upload {file} --pool fast")).await;
    assert_eq!(early.exit, Exit::NotFound, "{early:?}");
    let imports = cloud.tepui("image imports --json").await.json();
    assert_eq!(imports.as_array().unwrap().len(), 1, "it is refused before a byte went up");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_refused_as_a_snapshot_says_why_and_leaves_nothing() {
    let cloud = Cloud::start().await;
    let vmdk = cloud.dir.path().join("old.img");
    std::fs::write(&vmdk, [&b"KDMV"[..], &[0; 4092]].concat()).unwrap();
    let ran = cloud.tepui(&format!("snapshot upload {}", vmdk.display())).await;
    assert_eq!(ran.exit, Exit::Failed, "{ran:?}");
    assert!(ran.err.contains("error: 'old.img' was not imported\nwhy:   the file is a VMDK disk"), "{ran:?}");
    assert_eq!(cloud.tepui("image list").await.out, "");
    let missing = cloud.tepui("snapshot upload /nonexistent/data.raw").await;
    assert_eq!(missing.exit, Exit::Failed, "{missing:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_became_an_import_is_gone_on_with_by_the_same_command() {
    let cloud = Cloud::start().await;
    let file = disk(&cloud, "data.img");
    let line = format!("snapshot upload {file} --timeout 0s");
    let ran = cloud.tepui(&line).await;
    let go_on =
        ran.err.lines().find_map(|line| line.split_once("tepui snapshot upload ")).map(|(_, rest)| rest);
    let Some(go_on) = go_on else { panic!("{ran:?}") };
    assert_eq!(ran.exit, Exit::TimedOut, "{ran:?}");
    assert!(ran.err.contains("tepui image delete snapshot-upload-"), "{ran:?}");
    let ran = cloud.tepui(&format!("snapshot upload {go_on}")).await;
    assert_eq!(ran.exit, Exit::NoCapacity, "{ran:?}");
    let imports = cloud.tepui("image imports --json").await.json();
    assert_eq!(imports.as_array().unwrap().len(), 1, "the bytes went up once");
    // Once more, with another option: the image is still there.
    let ran = cloud.tepui(&format!("snapshot upload {go_on} --description again")).await;
    assert_eq!(ran.exit, Exit::NoCapacity, "{ran:?}");
    removed(&cloud, &ran.err).await;
    assert_eq!(cloud.tepui("image list").await.out, "");
    let ran = cloud.tepui(&format!("snapshot upload {go_on}")).await;
    assert_eq!(ran.exit, Exit::NotFound, "{ran:?}");
    assert!(ran.err.contains("nothing of the upload is left in the cloud"), "{ran:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn raw_access_answers_json_and_shows_its_request() {
    let cloud = Cloud::start().await;
    let ran = cloud.tepui("api GET /v1/key-pairs --show-request").await;
    assert_eq!(ran.json(), json!({"items": []}));
    assert!(ran.err.starts_with("GET http://127.0.0.1:") && ran.err.contains("/v1/key-pairs"), "{ran:?}");
    assert!(!ran.err.contains(&cloud.token));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_list_says_what_to_do_to_a_person_and_nothing_to_a_script() {
    let cloud = Cloud::start().await;
    let person = cloud.person("", "instance list").await;
    assert_eq!((person.out.as_str(), person.exit), ("", Exit::Ok));
    assert!(person.err.contains("tepui instance run debian-12"), "{person:?}");
    let script = cloud.tepui("instance list").await;
    assert_eq!((script.out.as_str(), script.err.as_str()), ("", ""));
    assert_eq!(cloud.tepui("instance list --json").await.json(), json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_finds_a_new_cloud_well() {
    let cloud = Cloud::start().await;
    let ran = cloud.tepui("doctor").await;
    assert_eq!(ran.exit, Exit::Ok, "{ran:?}");
    assert!(ran.out.starts_with("PASS  cloud: http://"), "{ran:?}");
    let fixed = cloud.tepui("doctor --fix").await;
    assert_eq!((fixed.exit, &fixed.out), (Exit::Ok, &ran.out), "there is nothing to put right");
    let json = cloud.tepui("doctor --fix --json").await;
    let report: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(report["fixed"], serde_json::json!([]));
    assert!(report["checks"].as_array().unwrap().iter().all(|check| check["fixable"] == false), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_ends_with_130() {
    let cloud = Cloud::start().await;
    let (out, err) = (Kept::default(), Kept::default());
    let streams = Streams {
        out: Box::new(out.clone()),
        err: Box::new(err.clone()),
        input: Box::new(Cursor::new(Vec::new())),
    };
    let words = ["tepui", "whoami"].map(Into::into).to_vec();
    let world = World { url: Some("http://127.0.0.1:9".into()), ..cloud.world("a.b", false) };
    let finish = tepui_cli::run(words, world, streams, std::future::ready(())).await;
    assert_eq!(finish, Finish::Exit(Exit::Cancelled));
    assert_eq!((out.text().as_str(), err.text().as_str()), ("", "\ncancelled\n"));
}
