//! The listeners, one in the namespace of each VPC. A guest is hostile: connections and the time to
//! send a request are bounded.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue, SERVER};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use nix::sys::socket::{setsockopt, sockopt};
use percent_encoding::percent_decode_str;
use tepui_types::VpcId;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::{Answer, Directory, Question, Tokens, answer};

/// Connections at once from one VPC.
const CONNECTIONS: usize = 1024;
/// Connections at once from one guest, which needs few and short ones; more are closed.
pub(super) const CONNECTIONS_OF_GUEST: usize = 16;
/// Of a connection: a guest that does not read its replies gives way.
const LONGEST_CONNECTION: Duration = Duration::from_secs(30);
/// For the head of a request.
const PATIENCE: Duration = Duration::from_secs(5);
/// Linux's usual time to live.
const USUAL_HOPS: u8 = 64;
const TTL_HEADER: &str = "x-aws-ec2-metadata-token-ttl-seconds";

/// The metadata service of this host.
pub struct MetadataService {
    shared: Arc<Shared>,
    listeners: Mutex<BTreeMap<VpcId, AbortHandle>>,
}

struct Shared {
    directory: Directory,
    tokens: Tokens,
    started: Instant,
}

impl MetadataService {
    /// A service without listeners. `key` seals the tokens; nobody else may know it.
    pub fn new(key: &[u8; 32]) -> Self {
        let shared =
            Shared { directory: Directory::default(), tokens: Tokens::new(key), started: Instant::now() };
        Self { shared: Arc::new(shared), listeners: Mutex::default() }
    }

    /// Who is at which address.
    pub fn directory(&self) -> &Directory {
        &self.shared.directory
    }

    /// Whether the VPC is served already.
    pub fn serves(&self, vpc: VpcId) -> bool {
        let listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.get(&vpc).is_some_and(|task| !task.is_finished())
    }

    /// Serves a VPC's guests on `listener`.
    pub fn serve(&self, vpc: VpcId, listener: std::net::TcpListener) -> std::io::Result<()> {
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let task = tokio::spawn(accept(Arc::clone(&self.shared), vpc, listener)).abort_handle();
        let before = self.listeners.lock().unwrap_or_else(PoisonError::into_inner).insert(vpc, task);
        if let Some(before) = before {
            before.abort();
        }
        Ok(())
    }

    /// Ends the listeners of all VPCs but these.
    pub fn keep(&self, wanted: impl Fn(VpcId) -> bool) {
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.retain(|vpc, task| {
            let keep = wanted(*vpc);
            if !keep {
                task.abort();
            }
            keep
        });
    }
}

impl Drop for MetadataService {
    fn drop(&mut self) {
        self.keep(|_| false);
    }
}

async fn accept(shared: Arc<Shared>, vpc: VpcId, listener: TcpListener) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    let mut guests = HashMap::new();
    loop {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%vpc, %error, "metadata service cannot accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Some(of_guest) = admit(&mut guests, peer.ip()) else { continue };
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let served = connection(shared, vpc, stream, peer);
            if tokio::time::timeout(LONGEST_CONNECTION, served).await.is_err() {
                tracing::debug!(%vpc, %peer, "metadata connection took too long");
            }
            drop((permit, of_guest));
        });
    }
}

/// One of the guest's permits, if it has one left. Only guests with connections are kept.
fn admit(guests: &mut HashMap<IpAddr, Arc<Semaphore>>, guest: IpAddr) -> Option<OwnedSemaphorePermit> {
    guests.retain(|_, permits| permits.available_permits() < CONNECTIONS_OF_GUEST);
    let permits = guests.entry(guest).or_insert_with(|| Arc::new(Semaphore::new(CONNECTIONS_OF_GUEST)));
    Arc::clone(permits).try_acquire_owned().ok()
}

async fn connection(shared: Arc<Shared>, vpc: VpcId, stream: TcpStream, peer: SocketAddr) {
    let SocketAddr::V4(peer) = peer else { return };
    // hyper takes the stream; the second descriptor of the same socket sets its time to live.
    let Ok(socket) = stream.as_fd().try_clone_to_owned() else { return };
    let carrier = Carrier { socket, hops: AtomicU8::new(USUAL_HOPS) };
    let service = service_fn(|request| {
        let reply = respond(&shared, vpc, *peer.ip(), &carrier, &request);
        async move { Ok::<_, Infallible>(reply) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_buf_size(16 << 10)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%vpc, %peer, %error, "metadata connection ended");
    }
}

/// A connection's socket and how far its packets go.
struct Carrier {
    socket: OwnedFd,
    hops: AtomicU8,
}

impl Carrier {
    /// The limit of a connection never rises again: a token that did not get through is sent again by the
    /// kernel, with the limit of that time, and a request that follows it on the connection must not lift it.
    fn limit(&self, hops: u8) -> nix::Result<()> {
        let hops = self.hops.fetch_min(hops, Ordering::Relaxed).min(hops);
        setsockopt(&self.socket, sockopt::Ipv4Ttl, &hops.into())
    }
}

fn respond(
    shared: &Shared,
    vpc: VpcId,
    source: Ipv4Addr,
    carrier: &Carrier,
    request: &Request<Incoming>,
) -> Response<Full<Bytes>> {
    let guest = shared.directory.find(vpc, source);
    let Some((id, spec)) = guest.as_ref().and_then(|guest| guest.placement()) else {
        return reply(None);
    };
    let path = percent_decode_str(request.uri().path()).decode_utf8_lossy();
    let question = question(request, &path);
    let answer = answer(id, spec, &shared.tokens, &question, shared.started.elapsed());
    if let Err(error) = carrier.limit(answer.hop_limit.unwrap_or(USUAL_HOPS).max(1)) {
        tracing::warn!(%vpc, %source, %error, "cannot set the time to live of a reply");
        return reply(None);
    }
    reply(Some(answer))
}

fn question<'a>(request: &'a Request<Incoming>, path: &'a str) -> Question<'a> {
    let headers = request.headers();
    Question {
        method: request.method(),
        path,
        token: text(headers, "x-aws-ec2-metadata-token"),
        token_ttl: text(headers, TTL_HEADER),
        forwarded: headers.contains_key("x-forwarded-for"),
    }
}

/// A header that is not text counts as there and wrong.
fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap_or_default())
}

fn reply(answer: Option<Answer>) -> Response<Full<Bytes>> {
    let Some(answer) = answer else {
        let mut response = Response::new(Full::default());
        *response.status_mut() = StatusCode::NOT_FOUND;
        return response;
    };
    let mut response = Response::new(Full::new(Bytes::from(answer.body)));
    *response.status_mut() = answer.status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    headers.insert(SERVER, HeaderValue::from_static("EC2ws"));
    if let Some(ttl) = answer.token_ttl {
        headers.insert(TTL_HEADER, HeaderValue::from(ttl));
    }
    response
}
