//! A download that broke off goes on where it was, if the file is still the same.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tepui_marketplace::fetch::{AddressPolicy, FetchError, Retries, Source, download};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// One answer of a server: what it says and how many bytes of its body come before it hangs up.
#[derive(Clone)]
struct Answer {
    head: String,
    body: Vec<u8>,
}

fn whole(body: &[u8], sent: usize, more: &str) -> Answer {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n{more}", body.len());
    Answer { head, body: body[..sent].to_vec() }
}

fn rest(body: &[u8], from: usize, sent: usize, more: &str) -> Answer {
    let (total, length) = (body.len(), body.len() - from);
    let head = format!(
        "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {from}-{}/{total}\r\nContent-Length: {length}\r\n{more}",
        total - 1
    );
    Answer { head, body: body[from..from + sent].to_vec() }
}

fn status(text: &str) -> Answer {
    Answer { head: format!("HTTP/1.1 {text}\r\nContent-Length: 0\r\n"), body: Vec::new() }
}

/// Gives these answers in turn, and keeps the requests.
struct Server {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn new(answers: Vec<Answer>) -> Self {
        rustls::crypto::ring::default_provider().install_default().ok();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, requests) = (listener.local_addr().unwrap(), Arc::<Mutex<Vec<String>>>::default());
        let kept = Arc::clone(&requests);
        tokio::spawn(async move {
            for answer in answers {
                let (stream, _) = listener.accept().await.unwrap();
                let request = reply(stream, answer).await;
                kept.lock().unwrap().push(request);
            }
        });
        Self { address, requests }
    }

    /// The values of `Range` and `If-Range` in the requests so far.
    fn ranges(&self) -> Vec<(Option<String>, Option<String>)> {
        let requests = self.requests.lock().unwrap();
        let header = |request: &str, name: &str| {
            let line = request.lines().find(|line| line.to_ascii_lowercase().starts_with(name));
            line.map(|line| line[name.len()..].trim().to_owned())
        };
        requests.iter().map(|request| (header(request, "range:"), header(request, "if-range:"))).collect()
    }

    async fn fetch(&self, target: &Path, most: usize) -> Result<Vec<u8>, FetchError> {
        let url = format!("http://{}/image", self.address);
        let retries = Retries { most, pause: Duration::from_millis(1) };
        let (policy, stop) = (AddressPolicy::Any, CancellationToken::new());
        let source = Source { url: &url, policy, max_bytes: 1000, retries, stop: &stop };
        let received = download(&source, target, |_| ()).await?;
        let bytes = std::fs::read(target).unwrap();
        assert_eq!(received, bytes.len() as u64);
        assert!(!target.with_extension("part").exists());
        Ok(bytes)
    }
}

async fn reply(mut stream: TcpStream, answer: Answer) -> String {
    let mut request = vec![0; 4096];
    let length = stream.read(&mut request).await.unwrap();
    let head = format!("{}Connection: close\r\n\r\n", answer.head);
    stream.write_all(&[head.as_bytes(), &answer.body].concat()).await.unwrap();
    stream.shutdown().await.unwrap();
    String::from_utf8_lossy(&request[..length]).into_owned()
}

const OLD: &[u8] = b"the first version of the file";
const NEW: &[u8] = b"another version, just as good";
const TAG: &str = "ETag: \"v1\"\r\n";

fn asked(from: usize, validator: &str) -> (Option<String>, Option<String>) {
    (Some(format!("bytes={from}-")), Some(validator.to_owned()))
}

#[tokio::test]
async fn a_broken_connection_is_gone_on_with_from_where_it_broke() {
    let folder = tempfile::tempdir().unwrap();
    let answers = vec![whole(OLD, 10, TAG), rest(OLD, 10, 5, TAG), rest(OLD, 15, 14, TAG)];
    let server = Server::new(answers).await;
    assert_eq!(server.fetch(&folder.path().join("file"), 5).await.unwrap(), OLD);
    assert_eq!(server.ranges(), [(None, None), asked(10, "\"v1\""), asked(15, "\"v1\"")]);
}

#[tokio::test]
async fn another_call_goes_on_where_a_dead_one_left_its_file() {
    let (folder, date) = (tempfile::tempdir().unwrap(), "Tue, 03 Mar 2026 04:05:06 GMT");
    let target = folder.path().join("file");
    let modified = format!("Last-Modified: {date}\r\nDate: Tue, 03 Mar 2026 04:06:06 GMT\r\n");
    let server = Server::new(vec![whole(OLD, 10, &modified), rest(OLD, 10, 19, &modified)]).await;
    let error = server.fetch(&target, 0).await.unwrap_err();
    assert!(matches!(error, FetchError::Http { .. }), "{error}");
    // What came after the last durable byte may be anything.
    let mut torn = std::fs::read(&target).unwrap();
    torn.extend([0; 7]);
    std::fs::write(&target, torn).unwrap();
    assert_eq!(server.fetch(&target, 0).await.unwrap(), OLD);
    assert_eq!(server.ranges(), [(None, None), asked(10, date)]);
}

#[tokio::test]
async fn a_file_that_changed_or_has_no_version_or_a_server_without_ranges_begins_again() {
    let weak = "ETag: W/\"v1\"\r\n";
    let dated = "Last-Modified: Tue, 03 Mar 2026 04:05:06 GMT\r\n";
    let just_now = format!("{dated}Date: Tue, 03 Mar 2026 04:06:05 GMT\r\n");
    for (first, range) in [
        (TAG, asked(10, "\"v1\"")),
        ("", (None, None)),
        (weak, (None, None)),
        (dated, (None, None)),
        (just_now.as_str(), (None, None)),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::new(vec![whole(OLD, 10, first), whole(NEW, NEW.len(), "")]).await;
        assert_eq!(server.fetch(&folder.path().join("file"), 1).await.unwrap(), NEW, "{first}");
        assert_eq!(server.ranges(), [(None, None), range]);
    }
}

#[tokio::test]
async fn an_answer_that_is_not_the_rest_is_not_appended() {
    for wrong in [
        rest(NEW, 12, 17, TAG),
        rest(&NEW[..20], 10, 10, TAG),
        // As long, from a server that does not know If-Range.
        rest(NEW, 10, 19, "ETag: \"v2\"\r\n"),
        rest(NEW, 10, 19, "ETag: W/\"v1\"\r\n"),
        rest(NEW, 10, 19, ""),
        status("416 Range Not Satisfiable"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::new(vec![whole(OLD, 10, TAG), wrong, whole(NEW, NEW.len(), TAG)]).await;
        assert_eq!(server.fetch(&folder.path().join("file"), 1).await.unwrap(), NEW);
        assert_eq!(server.ranges()[2], (None, None), "asked for all of it");
    }
}

#[tokio::test]
async fn a_torn_note_costs_what_came_and_never_the_file() {
    let note = |validator: &str, durable: u64| {
        format!(r#"{{"version":{{"validator":{validator},"total":29}},"durable":{durable}}}"#)
    };
    for (torn, left) in [
        (String::new(), OLD),
        (note("\"\\\"v1\\\"\"", 10)[..20].to_owned(), OLD),
        ("null".to_owned(), OLD),
        ("{}".to_owned(), OLD),
        ("\0".repeat(80), OLD),
        (note("\"a\\nb\"", 10), &OLD[..10]),
        (note("null", 10), &OLD[..10]),
        (note("\"\\\"v1\\\"\"", 0), OLD),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("file");
        std::fs::write(&target, left).unwrap();
        std::fs::write(target.with_extension("part"), &torn).unwrap();
        std::fs::write(target.with_extension("part.new"), "half of a n").unwrap();
        let server = Server::new(vec![whole(NEW, NEW.len(), TAG)]).await;
        assert_eq!(server.fetch(&target, 0).await.unwrap(), NEW, "{torn}");
        assert_eq!(server.ranges(), [(None, None)], "{torn}");
    }
    // More promised than is there: what is there is a beginning of it.
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("file");
    std::fs::write(&target, &OLD[..10]).unwrap();
    std::fs::write(target.with_extension("part"), note("\"\\\"v1\\\"\"", 20)).unwrap();
    let server = Server::new(vec![rest(OLD, 10, 19, TAG)]).await;
    assert_eq!(server.fetch(&target, 0).await.unwrap(), OLD);
}

#[tokio::test]
async fn a_whole_file_is_not_asked_for_again() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("file");
    let server = Server::new(vec![whole(OLD, 28, TAG)]).await;
    server.fetch(&target, 0).await.unwrap_err();
    let note = std::fs::read_to_string(target.with_extension("part")).unwrap();
    std::fs::write(&target, OLD).unwrap();
    std::fs::write(target.with_extension("part"), note.replace("28", "29")).unwrap();
    assert_eq!(server.fetch(&target, 0).await.unwrap(), OLD);
    assert_eq!(server.ranges().len(), 1);
}

#[tokio::test]
async fn tries_are_bounded_and_a_refusal_is_final() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("file");
    let server = Server::new(vec![status("503 Service Unavailable"); 9]).await;
    let error = server.fetch(&target, 2).await.unwrap_err();
    assert!(matches!(error, FetchError::Status { .. }), "{error}");
    assert_eq!(server.ranges().len(), 3);
    let server = Server::new(vec![status("404 Not Found"); 9]).await;
    server.fetch(&target, 2).await.unwrap_err();
    assert_eq!(server.ranges().len(), 1);
}
