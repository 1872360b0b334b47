//! The one place where refusals become HTTP: status, code, words, advice.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tepui_core::{BearerError, Error, Kind, Refused};
use tepui_types::{ErrorBody, ErrorCode};

use crate::metrics::Code;
use crate::request_id::RequestId;

/// Seconds. Whatever keeps the cloud busy is over sooner or later; clients add their own back-off.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// Why a request of the REST or the agents' surface is not carried out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The domain refused.
    #[error(transparent)]
    Domain(#[from] Error),
    /// No credential came, or none of this cloud's.
    #[error("{0}")]
    Unauthenticated(&'static str),
    /// A text fits several objects.
    #[error("'{text}' fits {} {noun}s", candidates.len())]
    Ambiguous {
        /// What was looked for.
        noun: &'static str,
        /// As given.
        text: String,
        /// What it fits.
        candidates: Vec<String>,
    },
    /// The request is not what the endpoint takes.
    #[error("{0}")]
    Malformed(String),
    /// The body is larger than allowed.
    #[error("the request's body is larger than {limit} bytes")]
    TooLarge {
        /// What is allowed.
        limit: u64,
    },
    /// The body did not come in time.
    #[error("the request's body did not come in time")]
    TooSlow,
    /// No such path.
    #[error("there is nothing at {0}")]
    NoRoute(String),
    /// The path is there, but not for this method.
    #[error("the method {method} is not for {path}")]
    WrongMethod {
        /// As sent.
        method: String,
        /// As sent.
        path: String,
    },
    /// Something to append to is elsewhere, finished, or being written to already.
    #[error("{0}")]
    Conflict(String),
    /// The store of uploads is full, or the project has too many.
    #[error("{0}")]
    Full(String),
    /// The disk of uploads and images has no room.
    #[error("{wanted} bytes more are wanted and the cloud's disk of images has room for {spare}")]
    NoSpace {
        /// Bytes asked for.
        wanted: u64,
        /// Bytes that may still be written.
        spare: u64,
    },
    /// A fault of ours that was logged where it happened.
    #[error("internal error")]
    Internal,
    /// The process is about to end.
    #[error("the control plane is shutting down")]
    ShuttingDown,
}

impl Failure {
    /// A fault of ours; writes the one log line it gets.
    pub(crate) fn internal(what: &str, error: &dyn std::error::Error) -> Self {
        tracing::error!(what, %error, "internal error");
        Self::Internal
    }

    pub(crate) fn invalid(field: &'static str, value: impl ToString, rule: impl Into<String>) -> Self {
        Error::invalid(field, value, rule).into()
    }

    /// The answer to a request with this id.
    pub(crate) fn response(&self, request_id: &RequestId) -> Response {
        if let Failure::Domain(Error::DryRunOk) = self {
            return StatusCode::NO_CONTENT.into_response();
        }
        let code = self.code();
        let body = ErrorBody {
            code,
            message: self.to_string(),
            why: self.why(),
            try_: self.advice(),
            request_id: request_id.to_string(),
        };
        let mut response = (self.status(code), axum::Json(body)).into_response();
        if matches!(code, ErrorCode::Busy | ErrorCode::Unavailable) {
            response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        response.extensions_mut().insert(Code(self.name().into()));
        response
    }

    /// For metrics and logs.
    fn name(&self) -> &'static str {
        match self {
            Failure::Domain(error) => error.name(),
            Failure::Unauthenticated(_) => "unauthenticated",
            Failure::Ambiguous { .. } => "ambiguous",
            Failure::Malformed(_) => "malformed",
            Failure::TooLarge { .. } => "too_large",
            Failure::TooSlow => "too_slow",
            Failure::NoRoute(_) => "no_route",
            Failure::WrongMethod { .. } => "wrong_method",
            Failure::Conflict(_) => "conflict",
            Failure::Full(_) => "full",
            Failure::NoSpace { .. } => "no_space",
            Failure::Internal => "internal",
            Failure::ShuttingDown => "shutting_down",
        }
    }

    /// For programs.
    fn code(&self) -> ErrorCode {
        match self {
            Failure::Domain(error) => domain_code(error),
            Failure::Unauthenticated(_) => ErrorCode::Unauthenticated,
            Failure::NoRoute(_) => ErrorCode::NotFound,
            Failure::Ambiguous { .. }
            | Failure::Malformed(_)
            | Failure::TooLarge { .. }
            | Failure::TooSlow
            | Failure::WrongMethod { .. } => ErrorCode::InvalidInput,
            Failure::Conflict(_) => ErrorCode::Conflict,
            Failure::Full(_) => ErrorCode::QuotaExceeded,
            Failure::NoSpace { .. } => ErrorCode::NoCapacity,
            Failure::Internal => ErrorCode::Internal,
            Failure::ShuttingDown => ErrorCode::Unavailable,
        }
    }

    fn status(&self, code: ErrorCode) -> StatusCode {
        match self {
            Failure::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Failure::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Failure::WrongMethod { .. } => StatusCode::METHOD_NOT_ALLOWED,
            _ => status_of(code),
        }
    }

    fn why(&self) -> Vec<String> {
        match self {
            Failure::Domain(Error::NoCapacity { why, .. }) => {
                why.iter().map(|rejection| format!("{}: {}", rejection.node, rejection.rule)).collect()
            }
            Failure::Ambiguous { candidates, .. } => candidates.clone(),
            _ => Vec::new(),
        }
    }

    fn advice(&self) -> Vec<String> {
        let advice = match self {
            Failure::Ambiguous { .. } => "give the whole id",
            Failure::Domain(Error::NoCapacity { .. }) => "tepui type list",
            Failure::Domain(Error::QuotaExceeded { .. }) => "tepui whoami",
            Failure::Domain(Error::PoolsFull { .. }) => {
                "ask an operator, who sees why with `tepui pool list`"
            }
            Failure::Domain(Error::NotFound { kind, .. }) => return listing(*kind),
            Failure::Domain(Error::Protected { .. }) => {
                "switch the attribute off with `tepui instance set`, then repeat"
            }
            Failure::Domain(Error::TokenMismatch { .. }) => "take a new client token for other parameters",
            Failure::Domain(
                Error::Busy
                | Error::Moving { .. }
                | Error::HoldsStill { .. }
                | Error::Unavailable { .. }
                | Error::Unreadable { .. },
            )
            | Failure::ShuttingDown => "repeat in a moment",
            _ => return Vec::new(),
        };
        vec![advice.to_owned()]
    }
}

impl From<&Failure> for Refused {
    fn from(failure: &Failure) -> Self {
        match failure {
            Failure::Domain(error) => error.into(),
            other => Self { outcome: other.name(), resource: String::new() },
        }
    }
}

impl From<BearerError> for Failure {
    fn from(error: BearerError) -> Self {
        match error {
            BearerError::Invalid => Failure::Unauthenticated("the token is not valid"),
            BearerError::Unchecked(error) => error.into(),
        }
    }
}

/// What shows the names that there are, where the client does not look for similar ones itself.
fn listing(kind: Kind) -> Vec<String> {
    let command = match kind {
        Kind::Volume => "tepui volume list",
        Kind::Snapshot => "tepui snapshot list",
        Kind::SnapshotSchedule => "tepui snapshot schedule list",
        Kind::Pool => "tepui pool list",
        Kind::PoolClass => "leave the class out, or ask an operator which there are",
        Kind::Node => "tepui node list",
        Kind::Project => "tepui project list",
        Kind::User => "tepui user list",
        _ => return Vec::new(),
    };
    vec![command.to_owned()]
}

fn domain_code(error: &Error) -> ErrorCode {
    match error {
        // Answered without a body before anybody asks for a code.
        Error::DryRunOk => ErrorCode::Internal,
        Error::InvalidInput { .. } | Error::Malformed { .. } => ErrorCode::InvalidInput,
        Error::NotFound { .. } | Error::RuleNotFound { .. } => ErrorCode::NotFound,
        Error::WrongState { .. }
        | Error::NotAttached { .. }
        | Error::Modifying { .. }
        | Error::Protected { .. }
        | Error::RootDisk { .. }
        | Error::InUse { .. }
        | Error::CannotDelete { .. }
        | Error::InstancesTerminated { .. }
        | Error::AddressInUse { .. } => ErrorCode::Conflict,
        Error::NoCapacity { .. }
        | Error::NodeFull { .. }
        | Error::PoolsFull { .. }
        | Error::PoolExhausted
        | Error::SubnetFull { .. } => ErrorCode::NoCapacity,
        Error::QuotaExceeded { .. } | Error::LimitExceeded { .. } => ErrorCode::QuotaExceeded,
        Error::AlreadyExists { .. } | Error::DuplicateRule { .. } | Error::TokenMismatch { .. } => {
            ErrorCode::AlreadyExists
        }
        Error::Forbidden { .. } | Error::JoinRefused { .. } => ErrorCode::Forbidden,
        Error::Busy => ErrorCode::Busy,
        Error::Moving { .. }
        | Error::HoldsStill { .. }
        | Error::Unavailable { .. }
        | Error::Unreadable { .. } => ErrorCode::Unavailable,
        Error::Internal { .. } => ErrorCode::Internal,
    }
}

/// A quota is a matter of rights (403), a lack of room one of now (503, as EC2's
/// InsufficientInstanceCapacity).
fn status_of(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::InvalidInput => StatusCode::BAD_REQUEST,
        ErrorCode::NotFound => StatusCode::NOT_FOUND,
        ErrorCode::Unauthenticated => StatusCode::UNAUTHORIZED,
        ErrorCode::Forbidden | ErrorCode::QuotaExceeded => StatusCode::FORBIDDEN,
        ErrorCode::Conflict | ErrorCode::AlreadyExists => StatusCode::CONFLICT,
        ErrorCode::NoCapacity | ErrorCode::Unavailable | ErrorCode::Busy => StatusCode::SERVICE_UNAVAILABLE,
        ErrorCode::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
