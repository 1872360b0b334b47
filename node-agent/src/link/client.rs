//! Calls to the control plane.

use std::sync::{Mutex, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use jiff::fmt::rfc2822::DateTimeParser;
use reqwest::header::{DATE, RANGE};
use reqwest::{Body, Client, ClientBuilder, Method, RequestBuilder, Response, StatusCode, Url};
use rustls::ClientConfig;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tepui_types::agent::{
    CONSOLE_PATH, CONTENT_PATH, ENROL_PATH, EnrolReply, EnrolRequest, IMAGE_PATH, POLL_PATH, PollReply,
    PollRequest, RENEW_PATH, REPORT_PATH, RenewReply, RenewRequest, Report, ReportReply, SENDING_PATH,
};
use tepui_types::frames::RAW_SIZE_HEADER;
use tepui_types::{Digest, PlacementId, SendingId, SnapshotId, Timestamp};
use tokio::time::Instant;

use crate::identity::Identity;
use crate::images::ImageSource;
use crate::storage::{ContentSource, RemoteContent};

/// For everything but polls and downloads.
const PATIENCE: Duration = Duration::from_secs(20);
/// A download whose peer sends nothing for this long has failed.
const SILENCE: Duration = Duration::from_secs(60);
/// An unused connection is closed before the control plane would close it, so that no call meets the end
/// of its connection.
const IDLE: Duration = Duration::from_secs(15);
/// How often a silent peer is asked for a sign of life: one that lost power ends no poll by itself.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// Of an error's text, this much is shown.
const LONGEST_MESSAGE: usize = 500;

/// Why a call did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// No answer, or one that cannot be understood.
    #[error("no answer from {call}")]
    Transport {
        /// The call's path.
        call: &'static str,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// The control plane refused.
    #[error("{call} answered {status}: {message}")]
    Refused {
        /// The call's path.
        call: &'static str,
        /// The status.
        status: StatusCode,
        /// The start of the answer.
        message: String,
    },
    /// The answer does not tell how large the content is.
    #[error("{CONTENT_PATH} does not tell the size")]
    Unsized,
    /// A download went on at another place than asked for.
    #[error("{IMAGE_PATH} did not go on at byte {0}")]
    Range(u64),
    /// The identity cannot be used.
    #[error("the node's certificate or key cannot be used")]
    Identity(#[source] rustls::Error),
    /// The address in the configuration cannot be used.
    #[error("api_url cannot be joined with {0}")]
    Address(String),
}

impl LinkError {
    /// Whether the control plane knows nothing of what was asked for.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status: StatusCode::NOT_FOUND, .. })
    }
}

/// The control plane, reached with the node's certificate.
pub struct ControlPlane {
    base: Url,
    clients: RwLock<Clients>,
    /// What its clock said last, and when.
    heard: Mutex<Option<(Timestamp, Instant)>>,
}

/// Connections with one certificate.
struct Clients {
    calls: Client,
    /// For requests that take as long as the bytes they bring: the answer to them comes last.
    sendings: Client,
}

impl Clients {
    fn new(identity: &Identity) -> Result<Self, LinkError> {
        let config = || super::client_config(identity).map_err(LinkError::Identity);
        let sendings = builder(config()?).tcp_user_timeout(SILENCE);
        Ok(Self { calls: client(config()?)?, sendings: built(sendings)? })
    }
}

impl ControlPlane {
    /// Reaches `base` as `identity`. Opens no connection yet.
    pub fn new(base: Url, identity: &Identity) -> Result<Self, LinkError> {
        Ok(Self { base, clients: RwLock::new(Clients::new(identity)?), heard: Mutex::default() })
    }

    /// From now on shows another certificate.
    pub fn renewed(&self, identity: &Identity) -> Result<(), LinkError> {
        *self.clients.write().unwrap_or_else(PoisonError::into_inner) = Clients::new(identity)?;
        Ok(())
    }

    /// The control plane's time, which tells whether a certificate holds: this host's own clock may be days
    /// off. `None` before its first answer.
    pub fn now(&self) -> Option<Timestamp> {
        let heard = *self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.and_then(|(then, at)| then.checked_add(at.elapsed()).ok())
    }

    /// Waits for desired state.
    pub async fn poll(&self, request: &PollRequest) -> Result<PollReply, LinkError> {
        let patience = PATIENCE + Duration::from_millis(request.wait_ms);
        self.post(POLL_PATH, request, patience).await
    }

    /// Tells observed state.
    pub async fn report(&self, report: &Report) -> Result<ReportReply, LinkError> {
        self.post(REPORT_PATH, report, PATIENCE).await
    }

    /// A certificate for a new key.
    pub async fn renew(&self, request: &RenewRequest) -> Result<RenewReply, LinkError> {
        self.post(RENEW_PATH, request, PATIENCE).await
    }

    /// Uploads the end of a console.
    pub async fn put_console(&self, placement: PlacementId, text: Vec<u8>) -> Result<(), LinkError> {
        let path = CONSOLE_PATH.replace("{placement}", &placement.to_string());
        let request = self.request(Method::PUT, &path)?.timeout(PATIENCE).body(text);
        self.send(CONSOLE_PATH, request).await.map(drop)
    }

    /// Brings content that was asked for, of a disk of so many bytes in all.
    pub async fn bring_content(
        &self,
        id: SendingId,
        raw_bytes: u64,
        frames: impl Stream<Item = std::io::Result<Bytes>> + Send + 'static,
    ) -> Result<(), LinkError> {
        let url = join(&self.base, &SENDING_PATH.replace("{sending}", &id.to_string()))?;
        let client = self.clients.read().unwrap_or_else(PoisonError::into_inner).sendings.clone();
        let request = client.post(url).header(RAW_SIZE_HEADER, raw_bytes).body(Body::wrap_stream(frames));
        self.send(SENDING_PATH, request).await.map(drop)
    }

    /// Says that content that was asked for cannot be brought.
    pub async fn refuse_content(&self, id: SendingId) -> Result<(), LinkError> {
        let path = SENDING_PATH.replace("{sending}", &id.to_string());
        let request = self.request(Method::DELETE, &path)?.timeout(PATIENCE);
        self.send(SENDING_PATH, request).await.map(drop)
    }

    async fn post<Q: Serialize + Sync, A: DeserializeOwned>(
        &self,
        path: &'static str,
        request: &Q,
        patience: Duration,
    ) -> Result<A, LinkError> {
        let request = self.request(Method::POST, path)?.timeout(patience).json(request);
        read(path, self.send(path, request).await?).await
    }

    async fn send(&self, call: &'static str, request: RequestBuilder) -> Result<Response, LinkError> {
        let response = answer(call, request).await?;
        let date = response.headers().get(DATE).and_then(|date| date.to_str().ok());
        if let Some(then) = date.and_then(|date| DateTimeParser::new().parse_timestamp(date).ok()) {
            *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Some((then, Instant::now()));
        }
        accepted(call, response).await
    }

    fn request(&self, method: Method, path: &str) -> Result<RequestBuilder, LinkError> {
        let url = join(&self.base, path)?;
        Ok(self.clients.read().unwrap_or_else(PoisonError::into_inner).calls.request(method, url))
    }
}

#[async_trait]
impl ImageSource for ControlPlane {
    async fn open(
        &self,
        digest: Digest,
        from: u64,
    ) -> Result<BoxStream<'static, Result<Bytes, LinkError>>, LinkError> {
        let path = IMAGE_PATH.replace("{digest}", &digest.to_string());
        let request = self.request(Method::GET, &path)?;
        let request = if from > 0 { request.header(RANGE, format!("bytes={from}-")) } else { request };
        let response = self.send(IMAGE_PATH, request).await?;
        if from > 0 && response.status() != StatusCode::PARTIAL_CONTENT {
            return Err(LinkError::Range(from));
        }
        let failed = |source| LinkError::Transport { call: IMAGE_PATH, source };
        Ok(response.bytes_stream().map(move |chunk| chunk.map_err(failed)).boxed())
    }
}

#[async_trait]
impl ContentSource for ControlPlane {
    async fn content(&self, of: SnapshotId) -> Result<RemoteContent, LinkError> {
        let request = self.request(Method::GET, &CONTENT_PATH.replace("{snapshot}", &of.to_string()))?;
        let response = self.send(CONTENT_PATH, request).await?;
        let told = response.headers().get(RAW_SIZE_HEADER).and_then(|size| size.to_str().ok()?.parse().ok());
        let bytes = told.ok_or(LinkError::Unsized)?;
        let failed = |source| LinkError::Transport { call: CONTENT_PATH, source };
        Ok((bytes, response.bytes_stream().map(move |portion| portion.map_err(failed)).boxed()))
    }
}

/// Trades a join token for a certificate, over a connection that trusts only the token's CA.
pub async fn enrol(
    base: &Url,
    config: ClientConfig,
    request: &EnrolRequest,
) -> Result<EnrolReply, LinkError> {
    let request = client(config)?.post(join(base, ENROL_PATH)?).timeout(PATIENCE).json(request);
    read(ENROL_PATH, accepted(ENROL_PATH, answer(ENROL_PATH, request).await?).await?).await
}

fn client(config: ClientConfig) -> Result<Client, LinkError> {
    built(builder(config).read_timeout(SILENCE * 2).tcp_user_timeout(PATIENCE))
}

fn builder(config: ClientConfig) -> ClientBuilder {
    let builder = Client::builder().tls_backend_preconfigured(config);
    let builder = builder.no_proxy().redirect(reqwest::redirect::Policy::none());
    let builder = builder.connect_timeout(PATIENCE).pool_max_idle_per_host(2).pool_idle_timeout(IDLE);
    builder.tcp_keepalive(KEEP_ALIVE).tcp_keepalive_interval(KEEP_ALIVE)
}

fn built(builder: ClientBuilder) -> Result<Client, LinkError> {
    builder.build().map_err(|source| LinkError::Transport { call: "the TLS client", source })
}

fn join(base: &Url, path: &str) -> Result<Url, LinkError> {
    base.join(path).map_err(|_| LinkError::Address(path.to_owned()))
}

async fn answer(call: &'static str, request: RequestBuilder) -> Result<Response, LinkError> {
    request.send().await.map_err(|source| LinkError::Transport { call, source })
}

async fn read<A: DeserializeOwned>(call: &'static str, response: Response) -> Result<A, LinkError> {
    response.json().await.map_err(|source| LinkError::Transport { call, source })
}

async fn accepted(call: &'static str, response: Response) -> Result<Response, LinkError> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let text = response.text().await.unwrap_or_default();
    let message = text.chars().take(LONGEST_MESSAGE).collect();
    Err(LinkError::Refused { call, status, message })
}
