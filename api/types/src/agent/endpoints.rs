//! Paths on the agents' listener. Every one but [`ENROL_PATH`] needs a node's certificate.

/// `POST` [`EnrolRequest`](super::EnrolRequest): a join token for a certificate.
pub const ENROL_PATH: &str = "/agent/v1/enrol";
/// `POST` [`RenewRequest`](super::RenewRequest): a new certificate for the same node.
pub const RENEW_PATH: &str = "/agent/v1/renew";
/// `POST` [`PollRequest`](super::PollRequest): waits for desired state.
pub const POLL_PATH: &str = "/agent/v1/poll";
/// `POST` [`Report`](super::Report): tells observed state.
pub const REPORT_PATH: &str = "/agent/v1/report";
/// `PUT` raw bytes: the end of a placement's serial console, at most 64 KiB.
pub const CONSOLE_PATH: &str = "/agent/v1/consoles/{placement}";
/// `GET` raw bytes of an image by its digest; sparse runs travel as zeros. Answers ranges.
pub const IMAGE_PATH: &str = "/agent/v1/images/{digest}";
