//! Whole commands against a real control plane in this process. It has no hosts: what needs guests
//! is tested end to end elsewhere.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a helper that fails fails its test")]

use std::io::{Cursor, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};

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
    cloud.tepui("security-group revoke web --tcp 8000-8999 --from 203.0.113.0/24").await.done();
    let shown = cloud.person("", "security-group show web").await;
    assert!(!shown.out.contains("tcp"), "{shown:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_is_not_named_stays() {
    let cloud = Cloud::start().await;
    let before = cloud.tepui("quota show default --json").await.json();
    let after = cloud.tepui("quota set default --vcpus 3 --json").await.json();
    assert_eq!(
        after,
        json!({"vcpus": 3, "instances": before["instances"], "memory_mib": before["memory_mib"]})
    );
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
