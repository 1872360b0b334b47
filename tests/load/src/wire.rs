//! One kept connection.

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::sign::{FORM, Signer};

/// A connection that sends one signed request after the other.
pub(crate) struct Wire {
    host: String,
    signer: Signer,
    sender: SendRequest<Full<Bytes>>,
}

impl Wire {
    /// Connects to `host`, an address with its port.
    pub(crate) async fn connect(host: &str, signer: Signer) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(host).await.with_context(|| format!("cannot connect to {host}"))?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self { host: host.into(), signer, sender })
    }

    /// Sends a form and reads the whole reply.
    pub(crate) async fn post(&mut self, form: String) -> anyhow::Result<(StatusCode, Bytes)> {
        let (date, authorization) = self.signer.sign(&form, crate::now())?;
        let request = Request::builder()
            .method(Method::POST)
            .uri("/")
            .header(HOST, &self.host)
            .header(CONTENT_TYPE, FORM)
            .header("x-amz-date", date)
            .header(AUTHORIZATION, authorization)
            .body(Full::new(Bytes::from(form)))?;
        self.sender.ready().await?;
        let reply = self.sender.send_request(request).await?;
        let status = reply.status();
        Ok((status, reply.into_body().collect().await?.to_bytes()))
    }
}
