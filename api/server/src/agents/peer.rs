//! Whose certificate is it, and is it still good?

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use tepui_types::NodeId;
use tokio::sync::Mutex;

use crate::app::App;
use crate::failure::Failure;
use crate::metrics::Action;
use crate::pki::PeerNode;
use crate::rest::request_id;

/// A certificate that was replaced or whose node was given up is refused within this time, also on a
/// connection that is open already.
const CONFIRMED_FOR: Duration = Duration::from_secs(30);

/// The other end of one connection.
#[derive(Debug)]
pub(crate) struct Peer {
    certificate: PeerNode,
    confirmed_at: Mutex<Option<Instant>>,
}

impl Peer {
    pub(crate) fn new(certificate: PeerNode) -> Self {
        Self { certificate, confirmed_at: Mutex::default() }
    }

    async fn confirm(&self, app: &App) -> Result<NodeId, Failure> {
        let mut confirmed_at = self.confirmed_at.lock().await;
        if confirmed_at.is_some_and(|at| at.elapsed() < CONFIRMED_FOR) {
            return Ok(self.certificate.id);
        }
        let PeerNode { id, sha256 } = &self.certificate;
        if !app.cloud.confirm_certificate(*id, sha256).await? {
            let why = "the certificate is no longer this node's: it was replaced or the node was given up";
            return Err(Failure::Unauthenticated(why));
        }
        *confirmed_at = Some(Instant::now());
        Ok(*id)
    }
}

/// Middleware: lets only nodes pass, and tells the handler which.
pub(super) async fn require(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let id = request_id(&request);
    let peer = request.extensions().get::<Arc<Peer>>().cloned();
    let Some(peer) = peer else {
        let why = "a client certificate of a node is required; join with `tepui-node join`";
        return Failure::Unauthenticated(why).response(&id);
    };
    match peer.confirm(&app).await {
        Ok(node) => {
            request.extensions_mut().insert(node);
            next.run(request).await
        }
        Err(failure) => failure.response(&id),
    }
}

/// Middleware: names the action for metrics by its path.
pub(super) async fn name_action(path: Option<MatchedPath>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    if let Some(path) = path {
        let name = path.as_str().trim_start_matches("/agent/v1/").split('/').next().unwrap_or_default();
        response.extensions_mut().insert(Action(name.to_owned().into()));
    }
    response
}
