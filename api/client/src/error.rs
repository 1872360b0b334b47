//! Why a call gave no reply.

use std::path::PathBuf;

use tepui_types::ErrorBody;
use tepui_types::ErrorCode;
use tepui_types::frames::FrameError;

/// Why a call gave no reply.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The cloud answered, and refused.
    #[error("{}", body.message)]
    Refused {
        /// HTTP's status.
        status: u16,
        /// What the cloud said.
        body: Box<ErrorBody>,
    },
    /// No answer came.
    #[error("no answer from {url}")]
    Unreachable {
        /// Where the call went.
        url: String,
        /// What HTTP met.
        source: reqwest::Error,
    },
    /// Something answered that is not this cloud, or not in its language.
    #[error("{url} answered with status {status} what this client does not understand")]
    BadReply {
        /// Where the call went.
        url: String,
        /// HTTP's status.
        status: u16,
        /// Where the JSON ended to make sense.
        source: serde_json::Error,
    },
    /// The cloud's address is not one.
    #[error("'{url}' is not an http or https URL")]
    BadUrl {
        /// As given.
        url: String,
    },
    /// Client or request cannot be built of what was given: the CA file, the token, a parameter.
    #[error("cannot build the request")]
    Unbuildable(#[source] reqwest::Error),
    /// The endpoint has another number of path parameters.
    #[error("{path} takes {wanted} path parameters, not {given}")]
    PathParameters {
        /// The endpoint's path.
        path: &'static str,
        /// How many it takes.
        wanted: usize,
        /// How many were given.
        given: usize,
    },
    /// The file to upload cannot be read.
    #[error("cannot read {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file of a download cannot be written.
    #[error("cannot write {}", path.display())]
    Unwritable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Content broke off, again and again.
    #[error("the content broke off after {received} of {total} bytes")]
    BrokenOff {
        /// Bytes that came in whole pieces.
        received: u64,
        /// Bytes that there are.
        total: u64,
    },
    /// Content came that cannot be read.
    #[error(transparent)]
    Frames(#[from] FrameError),
    /// Content came that is not what was asked for.
    #[error("{url} sent wrong content: {why}")]
    WrongContent {
        /// Where the call went.
        url: String,
        /// In which way.
        why: &'static str,
    },
    /// The upload to resume is of a file of another size.
    #[error("upload {upload} is of a file of {expected} bytes, {} has {actual}", path.display())]
    OtherFile {
        /// The upload.
        upload: String,
        /// The file that was given.
        path: PathBuf,
        /// Bytes announced when the upload began.
        expected: u64,
        /// Bytes of the file.
        actual: u64,
    },
}

impl ClientError {
    /// Whether the cloud refused with this code.
    pub(crate) fn is_of_code(&self, code: ErrorCode) -> bool {
        matches!(self, ClientError::Refused { body, .. } if body.code == code)
    }

    /// Whether trying an idempotent call again may help: nothing answered, or the cloud said that it
    /// is busy or that a part of it is away.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            ClientError::Refused { status, .. } | ClientError::BadReply { status, .. } => {
                matches!(status, 429 | 502 | 503 | 504)
            }
            ClientError::Unreachable { .. }
            | ClientError::BrokenOff { .. }
            | ClientError::Frames(FrameError::Damaged(_)) => true,
            ClientError::BadUrl { .. }
            | ClientError::Unbuildable(_)
            | ClientError::PathParameters { .. }
            | ClientError::Frames(FrameError::TooLarge)
            | ClientError::WrongContent { .. }
            | ClientError::File { .. }
            | ClientError::Unwritable { .. }
            | ClientError::OtherFile { .. } => false,
        }
    }
}
