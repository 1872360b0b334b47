//! A refusal as EC2 clients know it.

use std::borrow::Cow;

use tepui_core::Refused;

/// An error of the protocol: code, message and HTTP status as in the EC2 API reference, "Error codes".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub(crate) struct ApiError {
    /// For programs, for example `InvalidInstanceID.NotFound`.
    pub(crate) code: Cow<'static, str>,
    /// For people.
    pub(crate) message: String,
    /// The HTTP status.
    pub(crate) status: u16,
    /// What the audit record of a refused change says.
    pub(crate) refused: Refused,
}

impl From<&ApiError> for Refused {
    fn from(error: &ApiError) -> Self {
        error.refused.clone()
    }
}

impl ApiError {
    /// A client's fault: status 400.
    pub(crate) fn new(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self::with_status(400, code, message)
    }

    pub(crate) fn with_status(
        status: u16,
        code: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) -> Self {
        let refused = Refused { outcome: "invalid_input", resource: String::new() };
        Self { code: code.into(), message: message.into(), status, refused }
    }

    /// A parameter whose value is not allowed.
    pub(crate) fn invalid_value(parameter: &str, value: &str, rule: &str) -> Self {
        let value: String = value.chars().take(128).collect();
        Self::new(
            "InvalidParameterValue",
            format!("Value ({value}) for parameter {parameter} is invalid. {rule}"),
        )
    }

    pub(crate) fn missing(parameter: &str) -> Self {
        Self::new("MissingParameter", format!("The request must contain the parameter {parameter}"))
    }

    pub(crate) fn combination(message: impl Into<String>) -> Self {
        Self::new("InvalidParameterCombination", message)
    }

    /// A feature that AWS has and this cloud has not.
    pub(crate) fn unsupported(message: impl Into<String>) -> Self {
        Self::new("UnsupportedOperation", message)
    }

    /// The answer to a rehearsal that would have been carried out.
    pub(crate) fn dry_run() -> Self {
        Self::with_status(412, "DryRunOperation", "Request would have succeeded, but DryRun flag is set.")
    }

    pub(crate) fn internal() -> Self {
        Self::with_status(500, "InternalError", "An internal error has occurred")
    }
}
