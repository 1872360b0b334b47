//! More clients than the control plane works for at once, and clients that say nothing, or say it
//! slowly, or say too much.
#![expect(clippy::unwrap_used, reason = "helpers of tests may")]

mod kit;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::join_all;
use kit::process::{Locked, Process};
use kit::signer::Signer;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tepui_client::Client;
use tepui_types::ErrorBody;
use tepui_types::ErrorCode;
use tepui_types::endpoint::{CreateAccessKey, CreateKeyPair, CreateProject, CreateUser, ListUsers, Whoami};
use tepui_types::rest::{
    CreateAccessKeyRequest, CreateKeyPairRequest, CreateProjectRequest, CreateUserRequest, CreatedAccessKey,
    Empty,
};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// Each end of a connection is a file, and both processes have the same limit.
fn raise_file_limit() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
}

/// The token of a member.
async fn member(process: &Process) -> String {
    members(process, 1).await.remove(0).token
}

/// Access keys of a member.
async fn members(process: &Process, count: usize) -> Vec<CreatedAccessKey> {
    let admin = process.client();
    let project = CreateProjectRequest { name: "crowd".into(), quota: None };
    admin.call::<CreateProject>(&[], &project).await.unwrap();
    let user = CreateUserRequest { name: "m".into(), ..CreateUserRequest::default() };
    admin.call::<CreateUser>(&[], &user).await.unwrap();
    let key = CreateAccessKeyRequest { user: Some("m".into()), project: Some("crowd".into()) };
    let mut keys = Vec::new();
    for _ in 0..count {
        keys.push(admin.call::<CreateAccessKey>(&[], &key).await.unwrap());
    }
    keys
}

/// The largest memory that the process ever had.
fn peak_mib(process: &Process) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.pid())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

/// One change by a client that repeats nothing.
async fn change(http: &reqwest::Client, url: &str, token: &str, number: usize) -> (u16, Option<ErrorCode>) {
    let key = CreateKeyPairRequest { name: format!("key-{number}"), ..CreateKeyPairRequest::default() };
    let response = http.post(url).bearer_auth(token).json(&key).send().await.unwrap();
    let (status, is_advised) = (response.status().as_u16(), response.headers().contains_key("retry-after"));
    let code = response.json::<ErrorBody>().await.ok().map(|body| body.code);
    assert_eq!(is_advised, status == 503, "{status}");
    (status, code)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_is_answered_in_turn_or_refused_at_once_and_keeps_no_administrator_out() {
    raise_file_limit();
    let process = Process::start().await;
    let token = member(&process).await;
    let (http, url) = (reqwest::Client::new(), format!("http://{}/v1/key-pairs", process.public));
    for clients in [64, 1000] {
        let locked = Locked::by_another_process(&process);
        let refused = Arc::new(AtomicUsize::new(0));
        let crowd = (0..clients).map(|number| {
            let (http, url, token, refused) =
                (http.clone(), url.clone(), token.clone(), Arc::clone(&refused));
            tokio::spawn(async move {
                let answer = change(&http, &url, &token, number).await;
                refused.fetch_add(usize::from(answer.0 == 503), Ordering::SeqCst);
                answer
            })
        });
        let crowd: Vec<_> = crowd.collect();
        // One key has 64 at once; whoever is more is told so while the others wait.
        let admin = process.client();
        kit::until(|| async {
            admin.call::<ListUsers>(&[], &Empty {}).await.unwrap();
            (refused.load(Ordering::SeqCst) >= clients.saturating_sub(64)).then_some(())
        })
        .await;
        drop(locked);
        for answer in join_all(crowd).await {
            let (status, code) = answer.unwrap();
            let is_honest = status == 503 && code == Some(ErrorCode::Busy);
            // The second crowd finds the keys of the first.
            assert!(is_honest || status == 200 || status == 409, "{status} {code:?}");
        }
        let after = Client::new(&format!("http://{}", process.public), &token, None).unwrap();
        let key =
            CreateKeyPairRequest { name: format!("after-{clients}"), ..CreateKeyPairRequest::default() };
        after.call::<CreateKeyPair>(&[], &key).await.unwrap();
    }
}

/// The calls that came past the door: of them alone there are audit records.
fn admitted(process: &Process) -> usize {
    let is_record = |line: &&str| line.contains(" audit:") && line.contains("CreateKeyPair");
    process.said().lines().filter(is_record).count()
}

/// The form of a change that no other of the crowd makes.
fn form(number: usize) -> String {
    format!("Action=CreateKeyPair&Version=2016-11-15&KeyType=ed25519&KeyName=key-{number}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_of_ec2_clients_is_answered_or_told_the_limit_and_keeps_no_administrator_out() {
    raise_file_limit();
    let process = Process::start().await;
    let (http, url) = (reqwest::Client::new(), format!("http://{}/", process.public));
    let signer = |id: &str, secret: &str| Signer::new(&http, url.clone(), id, secret);
    let admin = signer(process.word("access_key_id"), process.word("secret_access_key"));
    let keys = members(&process, 10).await;
    let members = keys.iter().map(|key| signer(&key.access_key.id, &key.secret_access_key));
    let members: Vec<_> = members.collect();
    // One key and more than it may have, and so many keys that they fill their lane.
    for (round, (clients, keys)) in [(64, 1), (1000, 1), (1000, 10)].into_iter().enumerate() {
        let (before, locked) = (admitted(&process), Locked::by_another_process(&process));
        let refused = Arc::new(AtomicUsize::new(0));
        let crowd = (0..clients).map(|number| {
            let (member, refused) = (members[number % keys].clone(), Arc::clone(&refused));
            tokio::spawn(async move {
                let answer = member.call(&form(10_000 * round + number)).await;
                refused.fetch_add(usize::from(answer.0 == 503), Ordering::SeqCst);
                answer
            })
        });
        let crowd: Vec<_> = crowd.collect();
        kit::until(|| async {
            let (status, body) = admin.call("Action=DescribeKeyPairs&Version=2016-11-15").await;
            assert_eq!(status, 200, "{body}");
            (refused.load(Ordering::SeqCst) >= clients.saturating_sub(64 * keys)).then_some(())
        })
        .await;
        drop(locked);
        for answer in join_all(crowd).await {
            let (status, body) = answer.unwrap();
            let is_honest = status == 503 && body.contains("<Code>RequestLimitExceeded</Code>");
            assert!(is_honest || status == 200, "{status} {body}");
        }
        let admitted = admitted(&process) - before;
        assert_eq!(admitted == clients, clients == 64 * keys, "{admitted} of {clients}");
        let (status, body) = members[0].call(&form(10_000 * round + clients)).await;
        assert_eq!(status, 200, "{body}");
    }
    let mib = peak_mib(&process);
    assert!(mib < 200, "{mib} MiB");
}

/// A connection on which a client has said this and then says nothing more.
async fn stuck(process: &Process, beginning: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(process.public).await.unwrap();
    // It may be put out meanwhile.
    let _ = stream.write_all(beginning).await;
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_connections_keeps_nobody_out() {
    raise_file_limit();
    let process = Process::start().await;
    let begun = [
        b"".to_vec(),
        b"GET /v1/instances HTTP/1.1\r\nhost: x\r\n".to_vec(),
        b"POST / HTTP/1.1\r\nhost: x\r\nauthorization: x\r\ncontent-length: 9000\r\n\r\nAction=".to_vec(),
        b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5\r\nActio\r\n".to_vec(),
    ];
    flood(&process, &begun).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_with_the_token_of_a_member_keeps_nobody_out() {
    raise_file_limit();
    let process = Process::start().await;
    let token = member(&process).await;
    let head = format!("host: x\r\nauthorization: Bearer {token}\r\ncontent-length: 9000\r\n\r\n{{");
    let begun = ["/v1/key-pairs", "/v1/instances"].map(|path| format!("POST {path} HTTP/1.1\r\n{head}"));
    flood(&process, &begun.map(String::into_bytes)).await;
}

/// More connections than the listener has places, of clients that all begin in one of these ways.
async fn flood(process: &Process, begun: &[Vec<u8>]) {
    let mut flood = Vec::new();
    for number in 0..4400_usize {
        flood.push(stuck(process, &begun[number % begun.len()]).await);
        if number % 1100 == 1099 {
            process.client().call::<Whoami>(&[], &Empty {}).await.unwrap();
            assert_eq!(process.ec2("Action=DescribeInstances&Version=2016-11-15").0, 200);
            let agents = reqwest::Client::builder().danger_accept_invalid_certs(true).build().unwrap();
            let poll = agents.post(format!("https://{}/agent/v1/poll", process.agents)).send().await.unwrap();
            assert_eq!(poll.status(), 401, "the agents' listener answers");
        }
    }
    drop(flood);
    process.client().call::<Whoami>(&[], &Empty {}).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn huge_bodies_of_many_take_a_bounded_memory() {
    raise_file_limit();
    let process = Process::start().await;
    let head = "POST / HTTP/1.1\r\nhost: x\r\nauthorization: x\r\ncontent-length: 1000000\r\n\r\n";
    let body = [head.as_bytes(), &vec![b'x'; 999_000]].concat();
    let mut flood = Vec::new();
    for _ in 0..10 {
        // 800 MB in all.
        flood.extend(join_all((0..80).map(|_| stuck(&process, &body))).await);
    }
    process.client().call::<Whoami>(&[], &Empty {}).await.unwrap();
    let mib = peak_mib(&process);
    assert!(mib < 600, "{mib} MiB");
    drop(flood);
    let answered = tokio::time::timeout(Duration::from_secs(60), async {
        process.client().call::<ListUsers>(&[], &Empty {}).await
    });
    answered.await.expect("it answers").unwrap();
}
