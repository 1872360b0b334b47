//! The public listener: EC2 at `/`, REST at `/v1`, health.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use tepui_ec2::Request as Ec2Request;

use crate::app::App;
use crate::body;
use crate::failure::Failure;
use crate::metrics::{Action, Code, measure};
use crate::openapi;
use crate::request_id::{RequestId, assign};
use crate::rest::{self, request_id};

/// Everything on the public listener.
pub(crate) fn router(app: Arc<App>) -> Router {
    let (metrics, entropy) = (Arc::clone(&app.metrics), Arc::clone(&app.entropy));
    Router::new()
        .route("/", any(ec2))
        .route("/healthz", get(health))
        .route("/v1/identity-certificate", get(identity_certificate))
        .route("/v1/openapi.json", get(openapi))
        .with_state(Arc::clone(&app))
        .merge(rest::router(app))
        .fallback(no_route)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state((metrics, "public"), measure))
        .layer(from_fn_with_state(entropy, assign))
}

/// In a task of its own: a client that hangs up must not cut a change in half.
async fn ec2(State(app): State<Arc<App>>, request: Request) -> Response {
    let id = request_id(&request);
    let (parts, body) = request.into_parts();
    // One byte more than allowed, so that the protocol itself can refuse it in its own form.
    let bytes = match body::read_beginning(body, body::MAX_BYTES + 1).await {
        Ok(bytes) => bytes,
        Err(failure) => return failure.response(&id),
    };
    let changes = app.changes.clone();
    let answer = changes.spawn(async move {
        let request_id = id.to_string();
        let request = Ec2Request {
            method: parts.method.as_str(),
            path: parts.uri.path(),
            query: parts.uri.query().unwrap_or_default(),
            headers: parts.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect(),
            body: &bytes,
            request_id: &request_id,
        };
        app.ec2.handle(&request).await
    });
    match answer.await {
        Ok(reply) => ec2_response(reply),
        Err(error) => Failure::internal("EC2", &error).response(&RequestId::default()),
    }
}

fn ec2_response(reply: tepui_ec2::Response) -> Response {
    let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut builder = Response::builder().status(status);
    for (name, value) in reply.headers {
        builder = builder.header(name, value);
    }
    let mut response = builder
        .body(Body::from(reply.body))
        .unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response());
    let extensions = response.extensions_mut();
    extensions.insert(Action(reply.action.map_or("unknown".into(), Into::into)));
    if let Some(code) = reply.error_code {
        extensions.insert(Code(code.into()));
    }
    response
}

/// Whether the store answers.
async fn health(State(app): State<Arc<App>>) -> Response {
    match app.epoch().await {
        Ok(_) => (StatusCode::OK, "ok\n").into_response(),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response(),
    }
}

/// Public, as its purpose is that guests' partners check documents with it.
async fn identity_certificate(State(app): State<Arc<App>>) -> Response {
    ([(header::CONTENT_TYPE, "application/x-pem-file")], app.identity_pem.clone()).into_response()
}

async fn openapi() -> Response {
    axum::Json(openapi::document()).into_response()
}

pub(crate) async fn no_route(request: Request) -> Response {
    Failure::NoRoute(request.uri().path().to_owned()).response(&request_id(&request))
}

pub(crate) async fn wrong_method(request: Request) -> Response {
    let (method, path) = (request.method().to_string(), request.uri().path().to_owned());
    Failure::WrongMethod { method, path }.response(&request_id(&request))
}
