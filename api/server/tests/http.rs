//! What a listener does with requests that are not what it takes.
#![expect(clippy::unwrap_used, reason = "helpers of tests may")]

mod kit;

use std::time::Duration;

use kit::Kit;
use tepui_server::Server;
use tepui_types::endpoint::CreateImageUpload;
use tepui_types::rest::{CreateImageUploadRequest, UploadImageRequest};
use tepui_types::{ErrorBody, ErrorCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

/// Sends raw bytes and returns the answer's head and body.
async fn exchange(kit: &Kit, request: &[u8]) -> (String, String) {
    let mut stream = TcpStream::connect(kit.server.public_addr).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    (head.to_lowercase(), body.to_owned())
}

fn request(kit: &Kit, line: &str, body: &str) -> Vec<u8> {
    format!(
        "{line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {}\r\ncontent-length: {}\r\n\r\n{body}",
        kit.first.token,
        body.len()
    )
    .into_bytes()
}

#[tokio::test]
async fn every_answer_carries_its_request_id_in_header_and_body() {
    let kit = Kit::start().await;
    let (head, body) = exchange(&kit, &request(&kit, "GET /v1/nothing", "")).await;
    let error: ErrorBody = serde_json::from_str(&body).unwrap();
    assert!(head.starts_with("http/1.1 404"), "{head}");
    assert!(head.contains(&format!("x-request-id: {}", error.request_id)), "{head}");
    let (head, _) = exchange(&kit, &request(&kit, "GET /healthz", "")).await;
    assert!(head.starts_with("http/1.1 200") && head.contains("x-request-id: "), "{head}");
}

#[tokio::test]
async fn a_method_that_a_path_does_not_have_is_refused() {
    let kit = Kit::start().await;
    let (head, body) = exchange(&kit, &request(&kit, "PUT /v1/instances", "")).await;
    assert!(head.starts_with("http/1.1 405"), "{head}");
    let error: ErrorBody = serde_json::from_str(&body).unwrap();
    assert_eq!(error.message, "the method PUT is not for /v1/instances");
}

#[tokio::test]
async fn a_body_larger_than_a_mebibyte_is_refused() {
    let kit = Kit::start().await;
    let large = format!("{{\"name\":\"{}\"}}", "x".repeat(1 << 20));
    let (head, body) = exchange(&kit, &request(&kit, "POST /v1/users", &large)).await;
    assert!(head.starts_with("http/1.1 413"), "{head}");
    assert_eq!(serde_json::from_str::<ErrorBody>(&body).unwrap().code, ErrorCode::InvalidInput);
}

#[tokio::test]
async fn unknown_fields_wrong_types_and_no_json_are_refused_with_their_place() {
    let kit = Kit::start().await;
    for (body, told) in [
        (r#"{"name":"a","colour":1}"#, "unknown field `colour`"),
        (r#"{"name":7}"#, "invalid type: integer `7`, expected a string"),
        ("{", "EOF while parsing"),
        ("", "EOF while parsing"),
    ] {
        let (head, answer) = exchange(&kit, &request(&kit, "POST /v1/users", body)).await;
        assert!(head.starts_with("http/1.1 400"), "{head}");
        assert!(serde_json::from_str::<ErrorBody>(&answer).unwrap().message.contains(told), "{answer}");
    }
    let (head, answer) = exchange(&kit, &request(&kit, "GET /v1/instances?terminated=perhaps", "")).await;
    assert!(head.starts_with("http/1.1 400"), "{head}");
    assert!(answer.contains("terminated"), "{answer}");
    let (head, answer) = exchange(&kit, &request(&kit, "GET /v1/instances?colour=red", "")).await;
    assert!(head.starts_with("http/1.1 400") && answer.contains("unknown field"), "{answer}");
}

#[tokio::test]
async fn a_head_without_end_is_refused() {
    let kit = Kit::start().await;
    let endless = format!("GET / HTTP/1.1\r\nhost: x\r\nx-long: {}", "x".repeat(128 * 1024));
    let mut stream = TcpStream::connect(kit.server.public_addr).await.unwrap();
    // The server may close before everything is sent.
    let _ = stream.write_all(endless.as_bytes()).await;
    let mut answer = Vec::new();
    // For its length, not because a head has half a minute to come.
    let end = tokio::time::timeout(Duration::from_secs(15), stream.read_to_end(&mut answer)).await;
    let _reset_or_closed = end.expect("the server ends the connection");
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    let (head, _) = exchange(&kit, &request(&kit, "GET /healthz", "")).await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
}

#[tokio::test]
async fn an_unsigned_ec2_request_is_refused_in_ec2s_own_form() {
    let kit = Kit::start().await;
    let unsigned = "POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 24\r\n\r\nAction=DescribeInstances";
    let (head, body) = exchange(&kit, unsigned.as_bytes()).await;
    assert!(head.starts_with("http/1.1 403") && head.contains("text/xml"), "{head}");
    assert!(body.contains("<Code>MissingAuthenticationToken</Code>"), "{body}");
}

#[tokio::test]
async fn metrics_count_requests_by_action_and_outcome() {
    let kit = Kit::start().await;
    exchange(&kit, &request(&kit, "GET /v1/instances", "")).await;
    exchange(&kit, &request(&kit, "GET /v1/images/none", "")).await;
    let mut stream = TcpStream::connect(kit.server.metrics_addr).await.unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    for line in [
        r#"tepui_requests_total{surface="public",action="ListInstances",code="ok"} 1"#,
        r#"tepui_requests_total{surface="public",action="ShowImage",code="not_found"} 1"#,
        "tepui_build_info{version=",
        "tepui_db_commits_total ",
        "# EOF",
    ] {
        assert!(text.contains(line), "{line} is missing in\n{text}");
    }
}

#[tokio::test]
async fn a_second_server_on_the_same_data_is_refused_and_after_a_shutdown_it_starts() {
    let kit = Kit::start().await;
    let refused = Server::start(&kit.config).await.err().expect("the database is in use");
    assert!(refused.to_string().contains("db.sqlite3"), "{refused}");
    kit.server.shutdown().await;
    let again = Server::start(&kit.config).await.unwrap();
    again.shutdown().await;
}

#[tokio::test]
async fn an_ec2_request_that_breaks_off_is_refused_in_ec2s_own_form() {
    let kit = Kit::start().await;
    let broken =
        "POST / HTTP/1.1\r\nhost: x\r\nauthorization: x\r\ntransfer-encoding: chunked\r\n\r\nno length\r\n";
    let (head, body) = exchange(&kit, broken.as_bytes()).await;
    assert!(head.starts_with("http/1.1 400") && head.contains("text/xml"), "{head}");
    let id = head.lines().find_map(|line| line.strip_prefix("x-request-id: ")).unwrap();
    assert!(body.contains("<Code>IncompleteBody</Code>"), "{body}");
    assert!(body.contains(&format!("<RequestID>{id}</RequestID>")), "{body}");
}

#[tokio::test]
async fn the_large_body_of_an_unsigned_ec2_request_is_not_waited_for() {
    let kit = Kit::start().await;
    let mut stream = TcpStream::connect(kit.server.public_addr).await.unwrap();
    let head = "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&[b'x'; 64 << 10]).await.unwrap();
    let mut answer = [0; 12];
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read_exact(&mut answer)).await;
    read.expect("the rest of the body is not waited for").unwrap();
    assert_eq!(&answer, b"HTTP/1.1 403");
}

#[tokio::test]
async fn a_shutdown_waits_neither_for_an_upload_nor_for_an_operator() {
    let kit = Kit::start().await;
    let admin = kit.admin();
    let image = UploadImageRequest { name: "slow".into(), ..UploadImageRequest::default() };
    let new = CreateImageUploadRequest { size_bytes: 1000, image };
    let upload = admin.call::<CreateImageUpload>(&[], &new).await.unwrap();
    let line = format!("PUT /v1/image-uploads/{}?offset=0", upload.id);
    let mut sending = TcpStream::connect(kit.server.public_addr).await.unwrap();
    let start = String::from_utf8(request(&kit, &line, "begun")).unwrap();
    sending.write_all(start.replace("content-length: 5", "content-length: 1000").as_bytes()).await.unwrap();
    // Nobody else may append as long as it is being written to.
    kit::until(|| async {
        let (head, _) = exchange(&kit, &request(&kit, &line, "")).await;
        head.starts_with("http/1.1 409").then_some(())
    })
    .await;
    let _operator = UnixStream::connect(kit.config.layout().admin_socket()).await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(30), kit.server.shutdown()).await;
    ended.expect("a shutdown ends");
}
