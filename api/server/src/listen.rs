//! Serves HTTP/1.1 on a socket, with bounds on what a client may hold.

mod places;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use nix::sys::socket::{setsockopt, sockopt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use tower::util::Oneshot;

use crate::agents::Peer;
use crate::pki::PeerNode;
use places::Places;
pub(crate) use places::{Kept, Place};

/// Time for a client to send a request's head, which is also how long a connection may idle, and for
/// the TLS handshake.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes that were sent but are not taken for so long end the connection (`TCP_USER_TIMEOUT`): a
/// client that reads nothing cannot hold a reply for ever.
const UNREAD_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes of a request's head, URL included. A query with a signature and 16 KiB of user data in
/// base64 has less than half of it.
const HEAD_BYTES: usize = 64 * 1024;
/// Header fields of a request.
const HEADERS: usize = 64;
/// Time for running requests to end at a shutdown.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause after an accept that failed for want of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where and how a router is served.
pub(crate) struct Listener {
    /// For logs.
    pub(crate) name: &'static str,
    pub(crate) socket: TcpListener,
    pub(crate) tls: Option<TlsAcceptor>,
    /// Connections at once; see [`places`] for what becomes of more.
    pub(crate) connections: usize,
    pub(crate) head_timeout: Duration,
    pub(crate) drain_timeout: Duration,
}

impl Listener {
    pub(crate) fn new(name: &'static str, socket: TcpListener, connections: usize) -> Self {
        Self {
            name,
            socket,
            tls: None,
            connections,
            head_timeout: HEAD_TIMEOUT,
            drain_timeout: DRAIN_TIMEOUT,
        }
    }

    pub(crate) fn with_tls(self, tls: TlsAcceptor) -> Self {
        Self { tls: Some(tls), ..self }
    }

    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Serves until `stop`, then lets running requests end, for a while; afterwards no connection is
    /// left.
    pub(crate) async fn serve(self, router: Router, stop: CancellationToken) {
        let (open, cut) = (GracefulShutdown::new(), CancellationToken::new());
        let places = Places::new(self.connections, cut.clone());
        let this = Arc::new(self);
        while let Some((place, stream)) = this.next(&places, &stop).await {
            let (this, router, watcher) = (Arc::clone(&this), router.clone(), open.watcher());
            tokio::spawn(async move {
                let cut = place.cut.clone();
                let connection =
                    this.connection(stream, router, place, |connection| watcher.watch(connection));
                cut.run_until_cancelled(connection).await;
            });
        }
        let name = this.name;
        if tokio::time::timeout(this.drain_timeout, open.shutdown()).await.is_err() {
            tracing::warn!(listener = name, "requests still running are cut off");
        }
        cut.cancel();
    }

    async fn next(&self, places: &Arc<Places>, stop: &CancellationToken) -> Option<(Arc<Place>, TcpStream)> {
        tokio::select! {
            () = stop.cancelled() => None,
            next = async {
                let stream = self.accept().await;
                Some((places.take().await?, stream))
            } => next,
        }
    }

    async fn accept(&self) -> TcpStream {
        loop {
            match self.socket.accept().await {
                Ok((stream, _)) => return stream,
                Err(error) => {
                    tracing::warn!(listener = self.name, %error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn connection<W, F>(&self, stream: TcpStream, router: Router, place: Arc<Place>, watch: W)
    where
        W: FnOnce(Connection) -> F,
        F: Future<Output = hyper::Result<()>>,
    {
        bound(&stream, self.name);
        let (io, peer): (Box<dyn Stream>, _) = match &self.tls {
            None => (Box::new(stream), None),
            Some(tls) => match tokio::time::timeout(self.head_timeout, tls.accept(stream)).await {
                Ok(Ok(stream)) => {
                    let peer = peer_node(stream.get_ref().1);
                    (Box::new(stream), peer)
                }
                Ok(Err(error)) => {
                    return tracing::debug!(listener = self.name, %error, "TLS handshake failed");
                }
                Err(_) => return tracing::debug!(listener = self.name, "TLS handshake took too long"),
            },
        };
        // A host is known from its handshake on.
        let _kept = peer.as_ref().map(|_| place.keep());
        let connection = self.http(io, Service { router, peer, place });
        if let Err(error) = watch(connection).await {
            tracing::debug!(listener = self.name, %error, "connection ended");
        }
    }

    fn http(&self, io: Box<dyn Stream>, service: Service) -> Connection {
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.head_timeout)
            .max_buf_size(HEAD_BYTES)
            .max_headers(HEADERS)
            .serve_connection(TokioIo::new(io), service)
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

type Connection = http1::Connection<TokioIo<Box<dyn Stream>>, Service>;

/// The router, with who is at the other end.
struct Service {
    router: Router,
    peer: Option<Arc<Peer>>,
    place: Arc<Place>,
}

impl hyper::service::Service<Request<Incoming>> for Service {
    type Response = axum::response::Response;
    type Error = std::convert::Infallible;
    type Future = Oneshot<Router, Request>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(Arc::clone(&self.place));
        if let Some(peer) = &self.peer {
            request.extensions_mut().insert(Arc::clone(peer));
        }
        self.router.clone().oneshot(request)
    }
}

fn bound(stream: &TcpStream, listener: &'static str) {
    let unread = u32::try_from(UNREAD_TIMEOUT.as_millis()).unwrap_or(u32::MAX);
    let bounded = setsockopt(stream, sockopt::TcpUserTimeout, &unread).map_err(io::Error::from);
    if let Err(error) = bounded.and_then(|()| stream.set_nodelay(true)) {
        tracing::debug!(listener, %error, "cannot bound a connection");
    }
}

fn peer_node(session: &rustls::ServerConnection) -> Option<Arc<Peer>> {
    let certificate = PeerNode::of(session.peer_certificates()?.first()?)?;
    Some(Arc::new(Peer::new(certificate)))
}

#[cfg(test)]
mod tests;
