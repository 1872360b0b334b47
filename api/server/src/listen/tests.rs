use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

const SHORT: Duration = Duration::from_millis(100);
const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";

async fn listener(connections: usize) -> (SocketAddr, CancellationToken, tokio::task::JoinHandle<()>) {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let listener =
        Listener { head_timeout: SHORT, drain_timeout: SHORT, ..Listener::new("test", socket, connections) };
    let (address, stop) = (listener.address().unwrap(), CancellationToken::new());
    let router = Router::new()
        .route("/", get(async || "answered"))
        .route("/never", get(std::future::pending::<&'static str>));
    let serving = tokio::spawn(listener.serve(router, stop.clone()));
    (address, stop, serving)
}

async fn everything(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    // A reset is an end as good as any.
    let _ = tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut answer)).await.unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn clients_that_say_nothing_or_half_a_head_are_put_out() {
    let (address, ..) = listener(10).await;
    for beginning in ["", "GET / HTTP/1.1\r\nhost: x\r\n"] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(beginning.as_bytes()).await.unwrap();
        let answer = everything(stream).await;
        assert!(!answer.contains("answered"), "{answer}");
    }
}

#[tokio::test]
async fn a_connection_that_idles_after_its_answer_is_closed() {
    let (address, ..) = listener(10).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(GET).await.unwrap();
    assert!(everything(stream).await.ends_with("answered"));
}

#[tokio::test]
async fn above_the_cap_a_client_waits_until_another_leaves() {
    let (address, ..) = listener(1).await;
    let first = TcpStream::connect(address).await.unwrap();
    let mut second = TcpStream::connect(address).await.unwrap();
    second.write_all(GET).await.unwrap();
    drop(first);
    assert!(everything(second).await.ends_with("answered"));
}

#[tokio::test]
async fn at_a_shutdown_nothing_more_is_accepted() {
    let (address, stop, serving) = listener(10).await;
    stop.cancel();
    serving.await.unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_request_that_does_not_end_is_cut_off_at_a_shutdown() {
    let (address, stop, serving) = listener(10).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /never HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    // The answer to the second says that the first is being served.
    let mut second = TcpStream::connect(address).await.unwrap();
    second.write_all(GET).await.unwrap();
    assert!(everything(second).await.ends_with("answered"));
    stop.cancel();
    serving.await.unwrap();
    assert_eq!(everything(stream).await, "");
}
