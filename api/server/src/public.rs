//! The public listener: EC2 at `/`, REST at `/v1`, health.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use tepui_core::Error;
use tepui_ec2::{Request as Ec2Request, Unhandled};

use crate::app::App;
use crate::body::{self, Beginning};
use crate::failure::Failure;
use crate::listen::Place;
use crate::metrics::{Action, Code, measure};
use crate::openapi;
use crate::request_id::assign;
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

async fn ec2(State(app): State<Arc<App>>, request: Request) -> Response {
    let id = request_id(&request).to_string();
    let (head, body) = request.into_parts();
    // One byte more than allowed, so that the protocol itself can refuse it in its own form. Nobody
    // reads the body of a request that is not signed.
    let limit = if is_signed(&head) { body::MAX_BYTES + 1 } else { body::FREE_BYTES };
    let head = Arc::new(head);
    let reply = match app.room.beginning(body, limit).await {
        Ok(body) => {
            let _whole = Place::of(&head.extensions).map(Place::keep);
            handled(&app, Arc::clone(&head), body, id.clone()).await
        }
        Err(failure) => Err(unhandled(&failure)),
    };
    ec2_response(reply.unwrap_or_else(|why| app.ec2.refuse(&ec2_request(&head, &[], &id), why)))
}

/// In a task of its own: a client that hangs up must not cut a change in half.
async fn handled(
    app: &Arc<App>,
    head: Arc<Parts>,
    body: Beginning,
    id: String,
) -> Result<tepui_ec2::Response, Unhandled> {
    let task = Arc::clone(app);
    let answer =
        app.changes.spawn(async move { task.ec2.handle(&ec2_request(&head, &body.bytes, &id)).await });
    answer.await.map_err(|error| unhandled(&Failure::internal("EC2", &error)))
}

fn unhandled(failure: &Failure) -> Unhandled {
    match failure {
        Failure::TooSlow => Unhandled::TooSlow,
        Failure::Domain(Error::Busy) => Unhandled::Busy,
        Failure::Malformed(_) => Unhandled::BrokenOff,
        _ => Unhandled::Fault,
    }
}

/// Whether a signature came, good or not; it is in the header or in the query.
fn is_signed(head: &Parts) -> bool {
    let query = head.uri.query().unwrap_or_default();
    head.headers.contains_key(header::AUTHORIZATION) || query.contains("X-Amz-Signature")
}

fn ec2_request<'a>(head: &'a Parts, body: &'a [u8], request_id: &'a str) -> Ec2Request<'a> {
    Ec2Request {
        method: head.method.as_str(),
        path: head.uri.path(),
        query: head.uri.query().unwrap_or_default(),
        headers: head.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect(),
        body,
        request_id,
    }
}

fn ec2_response(reply: tepui_ec2::Response) -> Response {
    let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut builder = Response::builder().status(status);
    for (name, value) in reply.headers {
        builder = builder.header(name, value);
    }
    let mut response = builder
        .body(ec2_body(reply.body))
        .unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response());
    let extensions = response.extensions_mut();
    extensions.insert(Action(reply.action.map_or("unknown".into(), Into::into)));
    if let Some(code) = reply.error_code {
        extensions.insert(Code(code.into()));
    }
    response
}

fn ec2_body(body: tepui_ec2::Body) -> Body {
    match body {
        tepui_ec2::Body::Whole(text) => Body::from(text),
        tepui_ec2::Body::Parts(parts, _) => {
            Body::from_stream(futures::stream::iter(parts.map(Ok::<_, std::convert::Infallible>)))
        }
    }
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
