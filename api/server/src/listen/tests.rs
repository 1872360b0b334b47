use axum::Extension;
use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Semaphore;

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
async fn above_the_cap_whoever_is_idle_for_longest_is_put_out() {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, listener) = (socket.local_addr().unwrap(), Listener::new("test", socket, 3));
    let router = Router::new().route("/", get(async || "answered"));
    tokio::spawn(listener.serve(router, CancellationToken::new()));
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    let mut last = TcpStream::connect(address).await.unwrap();
    last.write_all(GET).await.unwrap();
    let mut answer = [0; 12];
    last.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    for stream in silent.into_iter().take(17) {
        assert_eq!(everything(stream).await, "");
    }
}

#[tokio::test]
async fn above_the_cap_a_client_waits_while_every_place_is_kept() {
    let (asked, go_on) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let (tell, wait) = (Arc::clone(&asked), Arc::clone(&go_on));
    let kept = move |Extension(place): Extension<Arc<Place>>| {
        let (tell, wait) = (Arc::clone(&tell), Arc::clone(&wait));
        async move {
            let _kept = place.keep();
            tell.add_permits(1);
            wait.acquire().await.unwrap().forget();
            "answered"
        }
    };
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, listener) = (socket.local_addr().unwrap(), Listener::new("test", socket, 1));
    tokio::spawn(listener.serve(Router::new().route("/", get(kept)), CancellationToken::new()));
    let mut first = TcpStream::connect(address).await.unwrap();
    first.write_all(GET).await.unwrap();
    asked.acquire().await.unwrap().forget();
    let mut second = TcpStream::connect(address).await.unwrap();
    second.write_all(GET).await.unwrap();
    assert!(asked.try_acquire().is_err(), "the second is not served yet");
    go_on.add_permits(2);
    let mut answer = [0; 12];
    first.read_exact(&mut answer).await.unwrap();
    second.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
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
