//! One connection to the control plane, with one host's certificate.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// For opening a connection, as the agent has it.
const OPENING: Duration = Duration::from_secs(20);

/// Connects and shakes hands.
pub(crate) async fn open(address: &str, config: &Arc<ClientConfig>) -> anyhow::Result<TlsStream<TcpStream>> {
    timeout(OPENING, shake_hands(address, config)).await.context("opening a connection took too long")?
}

async fn shake_hands(address: &str, config: &Arc<ClientConfig>) -> anyhow::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let name = ServerName::try_from(host.to_owned())?;
    let mut stream = TlsConnector::from(Arc::clone(config)).connect(name, stream).await?;
    // The handshake's last flight, which the server may still refuse.
    tokio::io::AsyncWriteExt::flush(&mut stream).await?;
    Ok(stream)
}

/// Waits until the other end closes.
pub(crate) async fn hold(mut stream: TlsStream<TcpStream>) -> anyhow::Result<()> {
    let mut buffer = [0; 64];
    while stream.read(&mut buffer).await? > 0 {}
    Ok(())
}

/// Requests, one after the other.
pub(crate) struct Line {
    sender: SendRequest<Full<Bytes>>,
    host: String,
}

impl Line {
    /// Opens a connection for requests.
    pub(crate) async fn open(address: &str, config: &Arc<ClientConfig>) -> anyhow::Result<Self> {
        let stream = open(address, config).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // It ends with the sender, and a failure is told to whoever waits for an answer.
        tokio::spawn(connection);
        Ok(Self { sender, host: address.to_owned() })
    }

    /// Sends one request and reads the whole answer.
    pub(crate) async fn post<Q: Serialize, A: DeserializeOwned>(
        &mut self,
        path: &str,
        request: &Q,
    ) -> anyhow::Result<A> {
        let body = Full::new(Bytes::from(serde_json::to_vec(request)?));
        let request = Request::builder().method(Method::POST).uri(path).header(HOST, &self.host);
        let request = request.header(CONTENT_TYPE, "application/json").body(body)?;
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        let status = response.status();
        let bytes = response.into_body().collect().await?.to_bytes();
        ensure!(status.is_success(), "{path} answered {status}: {}", String::from_utf8_lossy(&bytes));
        Ok(serde_json::from_slice(&bytes)?)
    }
}
