//! URLs reach what they may and nothing else.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::time::Duration;

use tepui_marketplace::fetch::{AddressPolicy, FetchError, Retries, Source, download};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Serves `answer` for every request on loopback; `{port}` in it is the server's own.
async fn serve(answer: &'static str) -> SocketAddr {
    rustls::crypto::ring::default_provider().install_default().ok();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            assert_ne!(stream.read(&mut request).await.unwrap(), 0);
            let answer = answer.replace("{port}", &address.port().to_string());
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    address
}

async fn fetch(url: &str, policy: AddressPolicy, max_bytes: u64) -> Result<Vec<u8>, FetchError> {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("file");
    let retries = Retries { most: 0, pause: Duration::ZERO };
    let stop = CancellationToken::new();
    download(&Source { url, policy, max_bytes, retries, stop: &stop }, &target, |_| ()).await?;
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left");
    Ok(std::fs::read(target).unwrap())
}

#[tokio::test]
async fn a_file_arrives_when_inner_addresses_are_allowed_and_only_then() {
    let address = serve("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello").await;
    let url = format!("http://user:secret@{address}/image.qcow2?signature=1");
    assert_eq!(fetch(&url, AddressPolicy::Any, 5).await.unwrap(), b"hello");
    let error = fetch(&url, AddressPolicy::PublicOnly, 5).await.unwrap_err();
    assert!(matches!(error, FetchError::PrivateAddress(host) if host == "127.0.0.1"));
}

#[tokio::test]
async fn names_of_inner_addresses_and_odd_spellings_are_refused() {
    rustls::crypto::ring::default_provider().install_default().ok();
    for url in ["http://localhost:1/", "http://0x7f.1/", "http://2130706433/", "http://[::ffff:127.0.0.1]/"] {
        let error = fetch(url, AddressPolicy::PublicOnly, 5).await.unwrap_err();
        assert!(matches!(error, FetchError::PrivateAddress(_)), "{url}: {error}");
    }
    for url in ["file:///etc/passwd", "ftp://1.1.1.1/"] {
        assert!(matches!(fetch(url, AddressPolicy::Any, 5).await, Err(FetchError::Scheme(_))), "{url}");
    }
    assert!(matches!(fetch("no url", AddressPolicy::Any, 5).await, Err(FetchError::NotAUrl(_))));
}

#[tokio::test]
async fn each_redirect_is_judged_and_a_loop_ends() {
    let address =
        serve("HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\nConnection: close\r\n\r\n").await;
    let error = fetch(&format!("http://{address}/"), AddressPolicy::Any, 5).await.unwrap_err();
    assert!(matches!(error, FetchError::Scheme(_)));
    let address = serve("HTTP/1.1 302 Found\r\nLocation: /again\r\nConnection: close\r\n\r\n").await;
    let error = fetch(&format!("http://{address}/"), AddressPolicy::Any, 5).await.unwrap_err();
    assert!(matches!(error, FetchError::TooManyRedirects));
}

#[tokio::test]
async fn refusals_and_broken_or_oversized_answers_are_named() {
    let address = serve("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
    let url = format!("http://user:secret@{address}/x");
    let error = fetch(&url, AddressPolicy::Any, 5).await.unwrap_err();
    assert_eq!(error.to_string(), format!("http://{address}/x answered 404 Not Found"));
    let address = serve("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello world").await;
    let error = fetch(&format!("http://{address}/"), AddressPolicy::Any, 5).await.unwrap_err();
    assert!(matches!(error, FetchError::TooLarge(5)));
    let address = serve("HTTP/1.1 200 OK\r\nContent-Length: 50\r\nConnection: close\r\n\r\nhello").await;
    let error = fetch(&format!("http://{address}/"), AddressPolicy::Any, 99).await.unwrap_err();
    assert!(matches!(error, FetchError::Http { .. }));
}
