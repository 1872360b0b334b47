//! Every request has an id: in its answer, its log lines, its audit record.

use std::fmt;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::middleware::Next;
use axum::response::Response;
use tepui_core::Entropy;
use tracing::Instrument;

/// The header of an answer that carries the id.
pub(crate) const HEADER: &str = "x-request-id";

/// Names one request; a UUID, as EC2 clients expect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RequestId(Arc<str>);

impl RequestId {
    pub(crate) fn new(entropy: &dyn Entropy) -> Self {
        let bytes = entropy.random().to_le_bytes();
        Self(uuid::Builder::from_random_bytes(bytes).into_uuid().to_string().into())
    }
}

impl Default for RequestId {
    /// Of a request that passed no middleware.
    fn default() -> Self {
        Self("none".into())
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Middleware: gives the request its id, and puts it into logs and answer.
pub(crate) async fn assign(
    State(entropy): State<Arc<dyn Entropy>>,
    mut request: Request,
    next: Next,
) -> Response {
    let id = RequestId::new(entropy.as_ref());
    let span =
        tracing::info_span!("request", id = %id, method = %request.method(), path = request.uri().path());
    request.extensions_mut().insert(id.clone());
    let mut response = next.run(request).instrument(span).await;
    if let Ok(value) = HeaderValue::from_str(&id.0) {
        response.headers_mut().insert(HEADER, value);
    }
    response
}
