//! The control plane, in a process of its own, while its store fails.
#![expect(clippy::unwrap_used, reason = "helpers of tests may")]

mod kit;

use std::path::Path;

use kit::code;
use kit::process::{How, Locked, Process, SmallDisk};
use reqwest::header::RETRY_AFTER;
use tepui_client::Client;
use tepui_db_sqlite::REPLACE_STEPS;
use tepui_server::IS_PREPARED;
use tepui_types::ErrorCode;
use tepui_types::endpoint::{CreateUser, ListUsers, Whoami};
use tepui_types::rest::{CreateUserRequest, Empty};

fn user(number: usize) -> CreateUserRequest {
    CreateUserRequest { name: format!("user-{number}"), ..CreateUserRequest::default() }
}

async fn users(client: &Client) -> Vec<String> {
    let users = client.call::<ListUsers>(&[], &Empty {}).await.unwrap().items;
    users.into_iter().map(|user| user.name).filter(|name| name.starts_with("user-")).collect()
}

/// Status and `Retry-After` of a change that nobody repeats; status 0 when the connection broke.
async fn create_user(process: &Process, number: usize) -> (u16, Option<String>) {
    let url = format!("http://{}/v1/users", process.public);
    let request = reqwest::Client::new().post(url).bearer_auth(process.word("token")).json(&user(number));
    let Ok(response) = request.send().await else { return (0, None) };
    let after = response.headers().get(RETRY_AFTER).map(|value| value.to_str().unwrap().to_owned());
    (response.status().as_u16(), after)
}

const CREATE_KEY: &str = "Action=CreateKeyPair&Version=2016-11-15&KeyName=k";
const LIST: &str = "Action=DescribeInstances&Version=2016-11-15";

#[tokio::test]
async fn a_full_disk_refuses_changes_with_503_answers_reads_and_needs_no_restart() {
    let folder = tempfile::tempdir().unwrap();
    let disk = SmallDisk::mount(folder.path(), "24m");
    let mut process = Process::in_folder(folder.path().join("data"));
    process.run(How::default()).await;
    assert_eq!(create_user(&process, 0).await.0, 200);
    disk.fill();
    // What the log's file still has room for is taken.
    let mut taken = 1;
    let refused = loop {
        match create_user(&process, taken).await {
            (200, _) => taken += 1,
            refused => break refused,
        }
    };
    assert_eq!(refused, (503, Some("1".into())));
    let (status, body) = process.ec2(CREATE_KEY);
    assert!(status == 503 && body.contains("<Code>Unavailable</Code>"), "{status} {body}");
    assert_eq!(process.ec2(LIST).0, 200);
    assert_eq!(users(&process.client()).await.len(), taken);
    disk.empty();
    assert_eq!(create_user(&process, taken).await.0, 200);
    assert_eq!(process.ec2(CREATE_KEY).0, 200);
    process.kill();
    process.run(How::default()).await;
    assert_eq!(users(&process.client()).await.len(), taken + 1);
    disk.fill();
    while create_user(&process, taken + 1).await.0 != 503 {
        taken += 1;
    }
    // The record of the refused call waits for room.
    let pid = i32::try_from(process.pid()).unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::SIGTERM).unwrap();
    assert!(process.ended().await.success());
    assert!(process.said().contains("audit records are not in the database"), "{}", process.said());
}

#[tokio::test]
async fn a_database_that_another_process_locks_is_waited_for_a_while_then_503() {
    let process = Process::start().await;
    let other = Locked::by_another_process(&process);
    let refused = futures::future::join_all((0..20).map(|number| create_user(&process, number))).await;
    assert_eq!(refused, vec![(503, Some("1".to_owned())); 20]);
    let (status, body) = process.ec2(CREATE_KEY);
    assert!(status == 503 && body.contains("<Code>RequestLimitExceeded</Code>"), "{status} {body}");
    assert!(users(&process.client()).await.is_empty());
    drop(other);
    assert_eq!(create_user(&process, 1).await.0, 200);
}

#[tokio::test]
async fn a_failed_fsync_ends_the_process_and_a_restart_has_all_that_was_acknowledged() {
    let mut process = Process::new();
    let trace = process.folder.path().join("trace");
    let trace = trace.to_str().unwrap().to_owned();
    let (mut acknowledged, mut served) = (Vec::new(), 0);
    for nth in [3, 6, 12, 24] {
        let inject = format!("inject=fsync,fdatasync:error=EIO:when={nth}");
        let under = ["strace", "-f", "-qq", "-o", &trace, "-e", &inject];
        // A start that meets the failure is refused.
        if process.try_run(How { under: &under, ..How::default() }).await {
            served += 1;
            while let (200, _) = create_user(&process, acknowledged.len()).await {
                acknowledged.push(format!("user-{}", acknowledged.len()));
            }
            assert_eq!(process.ended().await.code(), Some(70), "{}", process.said());
            assert!(process.said().contains("db.sqlite3: a commit failed"), "{}", process.said());
            let calls = std::fs::read_to_string(&trace).unwrap();
            // A call during which another thread calls has two lines.
            let is_sync = |line: &&str| line.contains("sync(") || line.contains("sync resumed>");
            let last = calls.lines().rfind(is_sync).unwrap();
            assert!(last.contains("EIO"), "tried again: {last}");
        }
        process.run(How::default()).await;
        let found = users(&process.client()).await;
        assert!(acknowledged.iter().all(|name| found.contains(name)), "{acknowledged:?}, {found:?}");
        acknowledged = (0..found.len()).map(|number| format!("user-{number}")).collect();
        process.kill();
    }
    assert!(served > 0, "the failures came at the start only");
}

#[tokio::test]
async fn a_second_control_plane_on_the_same_database_does_not_start_and_says_why() {
    let process = Process::start().await;
    let output = process.command(&[]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    assert!(told.contains("db.sqlite3.lock: another tepui-api has this database open"), "{told}");
    process.client().call::<Whoami>(&[], &Empty {}).await.unwrap();
}

#[tokio::test]
async fn a_damaged_database_ends_the_process_by_name_and_a_backup_is_the_way_back() {
    let mut process = Process::start().await;
    let epoch = process.client().call::<Whoami>(&[], &Empty {}).await.unwrap().epoch;
    let backup = backed_up(&mut process).await;
    let database = process.database();
    damage_pages(&database);
    // Where the start itself meets it, it is refused; else the process ends after it.
    process.spawn(How::default());
    assert!(!process.ended().await.success());
    let told = process.said();
    assert!(told.contains("db.sqlite3: ") && told.contains("the database is damaged"), "{told}");
    let damaged = database.display().to_string();
    assert!(!process.command(&["restore", &damaged]).status.success(), "as a backup neither");
    let restored = process.command(&["restore", &backup]);
    assert!(restored.status.success(), "{}", String::from_utf8_lossy(&restored.stderr));
    assert!(database.with_file_name("db.sqlite3.replaced").is_file(), "it is kept");
    process.run(How::default()).await;
    let client = process.client();
    assert_eq!(users(&client).await, ["user-0"]);
    assert!(client.call::<Whoami>(&[], &Empty {}).await.unwrap().epoch > epoch);
    assert_eq!(code(client.call::<CreateUser>(&[], &user(0)).await).1, ErrorCode::AlreadyExists);
}

#[tokio::test]
async fn a_restore_that_is_killed_at_any_step_can_be_repeated() {
    for step in [&[IS_PREPARED], REPLACE_STEPS.as_slice()].concat() {
        for harm in [|_: &Path| {}, damage_pages, cut_log] {
            let mut process = Process::start().await;
            let backup = backed_up(&mut process).await;
            harm(&process.database());
            let point = format!("{step}=exit");
            let killed = process.command_with(&["restore", &backup], &[("TEPUI_FAILPOINT", &point)]);
            assert_eq!(killed.status.code(), Some(86), "{step}");
            assert!(process.command(&["restore", &backup]).status.success(), "{step}");
            process.run(How::default()).await;
            assert_eq!(users(&process.client()).await, ["user-0"], "{step}");
        }
    }
}

#[tokio::test]
async fn a_restore_that_was_decided_is_finished_by_the_next_start() {
    for step in REPLACE_STEPS {
        let mut process = Process::start().await;
        let backup = backed_up(&mut process).await;
        let point = format!("{step}=exit");
        let killed = process.command_with(&["restore", &backup], &[("TEPUI_FAILPOINT", &point)]);
        assert_eq!(killed.status.code(), Some(86), "{step}");
        process.run(How::default()).await;
        assert_eq!(users(&process.client()).await, ["user-0"], "{step}");
        process.kill();
        let kept = process.database().with_file_name("db.sqlite3.replaced").display().to_string();
        // With its log: nothing that was acknowledged is missing from what was kept.
        let sql = "SELECT count(*) FROM user WHERE name LIKE 'user-%'";
        let found = std::process::Command::new("python3")
            .args([
                "-c",
                "import sqlite3, sys; print(*sqlite3.connect(sys.argv[1]).execute(sys.argv[2]).fetchone())",
            ])
            .args([&kept, sql])
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&found.stdout), "2\n", "{step}: {found:?}");
    }
}

#[tokio::test]
async fn a_restore_that_fails_leaves_a_refused_database_refused() {
    let mut process = Process::start().await;
    let backup = backed_up(&mut process).await;
    cut_log(&process.database());
    std::fs::write(process.folder.path().join("letter"), "no database").unwrap();
    for source in ["missing", "letter"] {
        let source = process.folder.path().join(source).display().to_string();
        assert!(!process.command(&["restore", &source]).status.success());
        let output = process.command(&[]);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && told.contains("the database is damaged (its log has"), "{told}");
    }
    assert!(process.command(&["restore", &backup]).status.success());
}

/// A backup with one user; another was added since, and the process was killed.
async fn backed_up(process: &mut Process) -> String {
    let client = process.client();
    client.call::<CreateUser>(&[], &user(0)).await.unwrap();
    let backup = process.folder.path().join("backup").display().to_string();
    assert!(process.command(&["backup", &backup]).status.success());
    client.call::<CreateUser>(&[], &user(1)).await.unwrap();
    process.kill();
    backup
}

/// Overwrites the beginnings of pages, but not the first.
fn damage_pages(database: &Path) {
    let mut bytes = std::fs::read(database).unwrap();
    for page in bytes.chunks_exact_mut(4096).skip(3) {
        page[..64].fill(0xff);
    }
    std::fs::write(database, bytes).unwrap();
}

/// Takes the end of the log away, and acknowledged commits with it.
fn cut_log(database: &Path) {
    let log = std::fs::File::options().write(true).open(database.with_file_name("db.sqlite3-wal")).unwrap();
    log.set_len(log.metadata().unwrap().len() - 3 * (4096 + 24)).unwrap();
}
