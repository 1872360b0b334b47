//! The exit codes, which scripts may rely on. `tepui help exit-codes` documents them.

use tepui_types::ErrorCode;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// Refused or failed.
    Failed = 1,
    /// The command line is wrong; nothing was sent.
    Usage = 2,
    /// No such object, or not one of this project's.
    NotFound = 3,
    /// No valid credential.
    Unauthenticated = 4,
    /// The credential may not do this, or the quota is used up.
    Forbidden = 5,
    /// No node can hold it now.
    NoCapacity = 6,
    /// The wait ended at its deadline; the work goes on.
    TimedOut = 7,
    /// Cancelled by Ctrl-C (128 + SIGINT, as shells count).
    Cancelled = 130,
}

impl Exit {
    /// The number for the shell.
    pub const fn code(self) -> u8 {
        self as u8
    }
}

impl From<ErrorCode> for Exit {
    fn from(code: ErrorCode) -> Self {
        match code {
            ErrorCode::NotFound => Self::NotFound,
            ErrorCode::Unauthenticated => Self::Unauthenticated,
            ErrorCode::Forbidden | ErrorCode::QuotaExceeded => Self::Forbidden,
            ErrorCode::NoCapacity => Self::NoCapacity,
            ErrorCode::InvalidInput
            | ErrorCode::Conflict
            | ErrorCode::AlreadyExists
            | ErrorCode::Busy
            | ErrorCode::Unavailable
            | ErrorCode::Internal => Self::Failed,
        }
    }
}
