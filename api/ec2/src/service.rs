//! The entry: one HTTP request in, one HTTP reply out.

use std::sync::Arc;

use async_trait::async_trait;
use tepui_core::{Caller, Cloud, Tags};
use tepui_db::TokenUse;
use tepui_db::model::ImportTask;

use crate::body::Body;
use crate::error::ApiError;
use crate::generated::{dispatch, is_known};
use crate::handlers::Fragments;
use crate::mechanism::PageRequest;
use crate::operation::{Call, Context, Parameters, Service};
use crate::sigv4::{self, KeyCache, Signature, SignatureError};
use crate::wire::{Params, Text, Xml, decode, printable};

/// Largest body: a form of 10,000 parameters with room to spare.
const MAX_BODY: usize = 1 << 20;
/// Largest query string, as of common HTTP servers' request lines.
const MAX_QUERY: usize = 16 << 10;

/// The parts of an HTTP request, as they came in.
#[derive(Debug, Clone, Default)]
pub struct Request<'a> {
    /// `GET` or `POST`.
    pub method: &'a str,
    /// The path, still encoded.
    pub path: &'a str,
    /// The query string without `?`, still encoded; empty when there is none.
    pub query: &'a str,
    /// The headers in their order, names in any case.
    pub headers: Vec<(&'a str, &'a [u8])>,
    /// The whole body.
    pub body: &'a [u8],
    /// Names the request in the reply, in logs and in audit records.
    pub request_id: &'a str,
}

/// The parts of an HTTP reply.
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// Among them the content type, the request id and, where it is known, the length.
    pub headers: Vec<(&'static str, String)>,
    /// XML.
    pub body: Body,
    /// The error's code, for metrics; `None` for a success.
    pub error_code: Option<String>,
    /// The action, where it is one of those implemented, for metrics.
    pub action: Option<String>,
}

/// Starts imports; the part of `ImportImage` that moves bytes.
#[async_trait]
pub trait ImageImports: Send + Sync {
    /// Opens an import task and starts it in the background; a repeat with the same token gives the
    /// task that is there. Does nothing but check when the caller only rehearses.
    ///
    /// # Errors
    /// Those of the domain, `InvalidInput` for a URL that may not be fetched, `DryRunOk`.
    async fn import_url(&self, caller: &Caller, import: UrlImport) -> Result<ImportTask, tepui_core::Error>;
}

/// What `ImportImage` asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UrlImport {
    /// Where the image is; it may carry credentials.
    pub url: String,
    /// For people.
    pub description: String,
    /// Tags of the task.
    pub tags: Tags,
    /// The idempotency token with the digest of everything else.
    pub token: Option<TokenUse>,
}

/// What the protocol needs besides the domain.
pub struct Ec2Config {
    /// The URL that clients reach this endpoint under, which `DescribeRegions` shows; without scheme,
    /// as on AWS.
    pub endpoint: String,
    /// Starts imports.
    pub imports: Arc<dyn ImageImports>,
}

/// The EC2 and STS endpoint.
pub struct Ec2 {
    cloud: Arc<Cloud>,
    config: Arc<Ec2Config>,
    fragments: Arc<Fragments>,
    keys: KeyCache,
}

impl<'a> Request<'a> {
    /// The values of a header.
    pub(crate) fn header_values(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.headers
            .iter()
            .filter(move |(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| *value)
    }
}

/// Why a request did not come as far as its handler, or its handler not to an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unhandled {
    /// The body did not come in time.
    TooSlow,
    /// The body broke off or is not framed as HTTP says.
    BrokenOff,
    /// No room for the body now.
    Busy,
    /// A fault of this cloud, which was logged where it happened.
    Fault,
}

/// What went wrong with a request, and how its client reads errors.
struct Refusal {
    service: Service,
    error: ApiError,
}

impl Ec2 {
    /// An endpoint of `cloud`.
    pub fn new(cloud: Arc<Cloud>, config: Ec2Config) -> Self {
        Self { cloud, config: Arc::new(config), fragments: Arc::default(), keys: KeyCache::default() }
    }

    /// Answers one request. Every outcome, also a malformed request's, is a reply.
    pub async fn handle(&self, request: &Request<'_>) -> Response {
        let mut action = None;
        let reply = self.answer(request, &mut action).await;
        response(reply, action, request.request_id)
    }

    /// Answers a request that was not handled, in the form of the service it was signed for; its body
    /// is not looked at.
    pub fn refuse(&self, request: &Request<'_>, why: Unhandled) -> Response {
        let named = Signature::read(request).ok().and_then(|signature| service_of(signature.service()));
        let refusal = Refusal { service: named.unwrap_or(Service::Ec2), error: unhandled(why) };
        response(Err(refusal), None, request.request_id)
    }

    async fn answer(&self, request: &Request<'_>, action: &mut Option<String>) -> Result<Body, Refusal> {
        // A client reads errors in the form of the service it signed for.
        let signature = Signature::read(request);
        let named = signature.as_ref().ok().and_then(|signature| service_of(signature.service()));
        let service = named.unwrap_or(Service::Ec2);
        let refuse = |error| Refusal { service, error };
        check_limits(request).map_err(refuse)?;
        let signature = signature.map_err(|error| refuse(signature_error(service, &error)))?;
        let caller = self.authenticate(request, service, &signature).await.map_err(refuse)?;
        if named.is_none() {
            return Err(refuse(no_such_service(signature.service())));
        }
        let _admission = self.cloud.admit(&caller).await.map_err(|error| refuse(error.into()))?;
        let (name, parameters) = parameters(request, service).map_err(refuse)?;
        let unreadable = parameters.as_ref().err().cloned();
        let call = Call { parameters, context: self.context(caller) };
        match dispatch(service, &name, call).await {
            Some(reply) => {
                *action = Some(name);
                reply.map_err(refuse)
            }
            None => Err(refuse(unreadable.unwrap_or_else(|| not_implemented(service, &name)))),
        }
    }

    async fn authenticate(
        &self,
        request: &Request<'_>,
        service: Service,
        signature: &Signature<'_>,
    ) -> Result<Caller, ApiError> {
        let key = self.cloud.authenticate_key(signature.key_id()).await?;
        let secret = key.as_ref().map(|key| key.secret.as_str());
        let verified = sigv4::verify(request, signature, secret, &self.keys, self.cloud.now());
        match (verified, key) {
            (Ok(()), Some(key)) => Ok(key.caller(request.request_id)),
            (Err(SignatureError::Mismatch) | Ok(()), None) => Err(unknown_key(service)),
            (Err(error), _) => Err(signature_error(service, &error)),
        }
    }

    fn context(&self, caller: Caller) -> Context {
        Context {
            cloud: Arc::clone(&self.cloud),
            config: Arc::clone(&self.config),
            fragments: Arc::clone(&self.fragments),
            caller,
            filters: Vec::new(),
            page: PageRequest::default(),
            token: None,
        }
    }
}

/// The action that a request names, with its parameters or the reason why they cannot be read. Without
/// an action there is no call.
fn parameters(
    request: &Request<'_>,
    service: Service,
) -> Result<(String, Result<Parameters, ApiError>), ApiError> {
    let read = || -> Result<(String, Params), ApiError> {
        let mut pairs = decode([request.query, body_text(request)?])?;
        pairs.retain(|(name, _)| !is_signature_field(name));
        let mut params = Params::new(pairs)?;
        let action: Text = params.optional("Action")?.ok_or_else(|| ApiError::missing("Action"))?;
        Ok((action.into(), params))
    };
    match read() {
        Ok((action, mut params)) => {
            let version = version(&mut params, service);
            Ok((action, version.map(|version| Parameters { params, version })))
        }
        Err(error) => match named_action(request) {
            Some(action) => Ok((action, Err(error))),
            None => Err(error),
        },
    }
}

/// The action of a request that is no proper query or form.
fn named_action(request: &Request<'_>) -> Option<String> {
    let body = String::from_utf8_lossy(request.body);
    let mut pieces = request.query.split('&').chain(body.split('&'));
    pieces.find_map(|piece| piece.strip_prefix("Action=")).map(str::to_owned)
}

fn response(reply: Result<Body, Refusal>, action: Option<String>, request_id: &str) -> Response {
    let (status, body, error_code) = match reply {
        Ok(body) => (200, body, None),
        Err(Refusal { service, error }) => {
            let body = error_document(service, &error, request_id);
            (error.status, Body::Whole(body), Some(error.code.into_owned()))
        }
    };
    let mut headers =
        vec![("content-type", "text/xml;charset=UTF-8".into()), ("x-amzn-requestid", request_id.into())];
    headers.extend(body.bytes().map(|bytes| ("content-length", bytes.to_string())));
    Response { status, headers, body, error_code, action }
}

fn unhandled(why: Unhandled) -> ApiError {
    match why {
        Unhandled::TooSlow => ApiError::with_status(408, "RequestTimeout", "The body did not come in time."),
        Unhandled::BrokenOff => ApiError::new("IncompleteBody", "The body broke off."),
        Unhandled::Busy => tepui_core::Error::Busy.into(),
        Unhandled::Fault => ApiError::internal(),
    }
}

fn check_limits(request: &Request<'_>) -> Result<(), ApiError> {
    if !matches!(request.method, "GET" | "POST") {
        return Err(ApiError::new(
            "InvalidAction",
            format!("The method {} is not used here.", request.method),
        ));
    }
    if request.body.len() > MAX_BODY {
        return Err(ApiError::with_status(413, "RequestEntityTooLarge", "The body is larger than 1 MiB."));
    }
    if request.query.len() > MAX_QUERY {
        return Err(ApiError::with_status(
            414,
            "RequestUriTooLong",
            "The query string is longer than 16 KiB.",
        ));
    }
    Ok(())
}

fn body_text<'a>(request: &Request<'a>) -> Result<&'a str, ApiError> {
    std::str::from_utf8(request.body)
        .map_err(|_| ApiError::new("MalformedQueryString", "The body is not UTF-8."))
}

fn is_signature_field(name: &str) -> bool {
    const FIELDS: [&str; 6] = ["Algorithm", "Credential", "Date", "Expires", "Signature", "SignedHeaders"];
    name.strip_prefix("X-Amz-").is_some_and(|field| FIELDS.contains(&field))
}

fn service_of(name: &str) -> Option<Service> {
    match name {
        "ec2" => Some(Service::Ec2),
        "sts" => Some(Service::Sts),
        _ => None,
    }
}

/// The API version, which replies echo. EC2 clients of all ages name theirs; the shapes are those of
/// 2016-11-15 for each of them.
fn version(params: &mut Params, service: Service) -> Result<String, ApiError> {
    let default = match service {
        Service::Ec2 => "2016-11-15",
        Service::Sts => "2011-06-15",
    };
    let version: Option<Text> = params.optional("Version")?;
    let version = version.map_or_else(|| default.to_owned(), String::from);
    let is_date = version.len() == 10 && version.parse::<jiff::civil::Date>().is_ok();
    if is_date && (service == Service::Ec2 || version == default) {
        return Ok(version);
    }
    let message = format!("The API version {} does not exist.", printable(&version));
    Err(ApiError::new("NoSuchVersion", message))
}

fn not_implemented(service: Service, action: &str) -> ApiError {
    if is_known(service, action) {
        return ApiError::unsupported(format!("The action {action} is not supported by this cloud."));
    }
    ApiError::new(
        "InvalidAction",
        format!("The action {} is not valid for this web service.", printable(action)),
    )
}

fn no_such_service(name: &str) -> ApiError {
    let message =
        format!("Credential should be scoped to the service ec2 or sts, not '{}'.", printable(name));
    ApiError::with_status(403, "SignatureDoesNotMatch", message)
}

fn unknown_key(service: Service) -> ApiError {
    match service {
        Service::Ec2 => auth_failure(),
        Service::Sts => ApiError::with_status(
            403,
            "InvalidClientTokenId",
            "The security token included in the request is invalid.",
        ),
    }
}

/// EC2 gives one answer to an unknown key and to a wrong secret.
fn auth_failure() -> ApiError {
    let message = "AWS was not able to validate the provided access credentials";
    ApiError::with_status(401, "AuthFailure", message)
}

fn signature_error(service: Service, error: &SignatureError) -> ApiError {
    match (error, service) {
        (SignatureError::Missing, _) => {
            let message = "The request must contain a signature by a valid access key.";
            ApiError::with_status(403, "MissingAuthenticationToken", message)
        }
        (SignatureError::Incomplete(_), Service::Ec2) => {
            ApiError::with_status(401, "AuthFailure", error.to_string())
        }
        (SignatureError::Incomplete(_), Service::Sts) => {
            ApiError::with_status(400, "IncompleteSignature", error.to_string())
        }
        (SignatureError::Expired { .. }, _) => ApiError::new("RequestExpired", error.to_string()),
        (SignatureError::Mismatch, Service::Ec2) => auth_failure(),
        (SignatureError::Mismatch, Service::Sts) => ApiError::with_status(
            403,
            "SignatureDoesNotMatch",
            "The request signature we calculated does not match the signature you provided.",
        ),
    }
}

/// The two forms differ in every name: EC2's is older than the other services'.
fn error_document(service: Service, error: &ApiError, request_id: &str) -> String {
    let mut xml = Xml::document();
    match service {
        Service::Ec2 => xml.element("Response", |to| {
            to.element("Errors", |to| {
                to.element("Error", |to| {
                    to.field("Code", &error.code);
                    to.field("Message", &error.message);
                });
            });
            to.field("RequestID", request_id);
        }),
        Service::Sts => xml.root("ErrorResponse", "https://sts.amazonaws.com/doc/2011-06-15/", |to| {
            to.element("Error", |to| {
                to.field("Type", if error.status < 500 { "Sender" } else { "Receiver" });
                to.field("Code", &error.code);
                to.field("Message", &error.message);
            });
            to.field("RequestId", request_id);
        }),
    }
    xml.finish()
}
