//! Errors as they travel over REST.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What went wrong, for programs. The CLI's exit codes follow from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// A field is missing, malformed or out of range.
    InvalidInput,
    /// No such object, or not one of this project's.
    NotFound,
    /// No valid credential.
    Unauthenticated,
    /// The credential may not do this.
    Forbidden,
    /// The project's quota is used up.
    QuotaExceeded,
    /// The object's state does not allow this now.
    Conflict,
    /// The name or the idempotency token stands for something else already.
    AlreadyExists,
    /// No node can hold it now.
    NoCapacity,
    /// Too much work at once; try again later.
    Busy,
    /// A part of the cloud does not answer; try again later.
    Unavailable,
    /// A fault of the cloud's.
    Internal,
}

/// The body of every REST answer that is not a success: what the CLI prints as its five parts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ErrorBody {
    /// For programs.
    pub code: ErrorCode,
    /// What failed, with object, field and value.
    pub message: String,
    /// The facts behind it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub why: Vec<String>,
    /// Commands or changes that help.
    #[serde(default, skip_serializing_if = "Vec::is_empty", rename = "try")]
    pub try_: Vec<String>,
    /// Names this request in the logs.
    pub request_id: String,
}
