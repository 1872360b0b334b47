//! What a call sends, and which calls are tried again.
#![expect(clippy::unwrap_used, reason = "helpers of tests may")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tepui_client::{Client, ClientError};
use tepui_types::ErrorCode;
use tepui_types::endpoint::{DeleteImage, ListInstances, RebootInstance, RunInstances, ShowInstance};
use tepui_types::rest::{Empty, List, ListInstancesRequest, RunInstancesRequest};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Answers one request a connection with the next of `answers`, then with the last one for ever.
async fn server(answers: &'static [(u16, &'static str)]) -> (Client, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = Client::new(&format!("http://{}", listener.local_addr().unwrap()), "token", None).unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&count);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let (status, body) = answers[seen.fetch_add(1, Ordering::SeqCst).min(answers.len() - 1)];
            let length = body.len();
            let answer =
                format!("HTTP/1.1 {status} x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}");
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    (client, count)
}

const BUSY: &str = r#"{"code":"busy","message":"the cloud is busy","request_id":"1"}"#;
const MISSING: &str = r#"{"code":"not_found","message":"the image 'x' does not exist","request_id":"1"}"#;

#[tokio::test]
async fn an_idempotent_call_is_tried_again_while_the_cloud_is_busy() {
    let (client, count) = server(&[(429, BUSY), (503, BUSY), (200, r#"{"items":[]}"#)]).await;
    let listed = client.call::<ListInstances>(&[], &ListInstancesRequest::default()).await.unwrap();
    assert_eq!(listed, List { items: Vec::new() });
    assert_eq!(count.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_call_that_is_not_idempotent_is_made_once() {
    let (client, count) = server(&[(503, BUSY)]).await;
    let outcome = client.call::<RunInstances>(&[], &RunInstancesRequest::default()).await;
    assert!(matches!(outcome, Err(ClientError::Refused { status: 503, .. })), "{outcome:?}");
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_refusal_is_final_and_carries_the_clouds_reason() {
    let (client, count) = server(&[(404, MISSING)]).await;
    let Err(ClientError::Refused { status, body }) = client.call::<DeleteImage>(&["x"], &Empty {}).await
    else {
        panic!("not refused");
    };
    assert_eq!((status, body.code), (404, ErrorCode::NotFound));
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_answer_that_is_not_the_clouds_is_told_apart() {
    let (client, _) = server(&[(404, "<html>")]).await;
    let outcome = client.call::<ShowInstance>(&["x"], &Empty {}).await;
    assert!(matches!(outcome, Err(ClientError::BadReply { status: 404, .. })), "{outcome:?}");
}

#[test]
fn names_in_a_path_are_encoded_and_counted() {
    let client = Client::new("http://127.0.0.1:8773", "token", None).unwrap();
    let prepared = client.prepare::<RebootInstance>(&["a/b ?"], &Empty {}).unwrap();
    assert_eq!(prepared.method(), "POST");
    assert_eq!(prepared.url(), "http://127.0.0.1:8773/v1/instances/a%2Fb%20%3F/reboot");
    assert_eq!(prepared.json_body(), Some("{}"));
    let wrong = client.prepare::<RebootInstance>(&[], &Empty {});
    assert!(matches!(wrong, Err(ClientError::PathParameters { wanted: 1, given: 0, .. })));
}

#[test]
fn raw_access_stays_at_the_cloud() {
    let client = Client::new("http://127.0.0.1:8773", "token", None).unwrap();
    let method = tepui_types::endpoint::Method::Get;
    assert!(client.prepare_raw(method, "/v1/whoami", None).is_ok());
    assert!(matches!(client.prepare_raw(method, "http://elsewhere/", None), Err(ClientError::BadUrl { .. })));
    assert!(Client::new("ftp://cloud", "token", None).is_err());
}

#[tokio::test]
async fn a_redirect_takes_the_token_nowhere() {
    let elsewhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = Client::new(&format!("http://{}", listener.local_addr().unwrap()), "token", None).unwrap();
    let address = elsewhere.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            let answer = format!(
                "HTTP/1.1 307 x\r\nlocation: http://{address}/\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
            );
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    let outcome = client.call::<RunInstances>(&[], &RunInstancesRequest::default()).await;
    assert!(matches!(outcome, Err(ClientError::BadReply { status: 307, .. })), "{outcome:?}");
    assert!(elsewhere.accept().is_err(), "nobody called there");
}
