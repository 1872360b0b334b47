//! Paths on the agents' listener. Every one but [`ENROL_PATH`] needs a node's certificate.

macro_rules! paths {
    ($($(#[$doc:meta])* $name:ident = $path:literal;)+) => {
        $($(#[$doc])* pub const $name: &str = $path;)+

        /// Every one of them.
        pub const AGENT_PATHS: &[&str] = &[$($name),+];
    };
}

paths! {
    /// `POST` [`EnrolRequest`](super::EnrolRequest): a join token for a certificate.
    ENROL_PATH = "/agent/v1/enrol";
    /// `POST` [`RenewRequest`](super::RenewRequest): a new certificate for the same node.
    RENEW_PATH = "/agent/v1/renew";
    /// `POST` [`PollRequest`](super::PollRequest): waits for desired state.
    POLL_PATH = "/agent/v1/poll";
    /// `POST` [`Report`](super::Report): tells observed state.
    REPORT_PATH = "/agent/v1/report";
    /// `PUT` raw bytes: the end of a placement's serial console, at most 64 KiB.
    CONSOLE_PATH = "/agent/v1/consoles/{placement}";
    /// `GET` raw bytes of an image by its digest; sparse runs travel as zeros. Answers ranges.
    IMAGE_PATH = "/agent/v1/images/{digest}";
    /// `GET` the [`frames`](crate::frames) of another host's snapshot of which this node is to make a copy.
    CONTENT_PATH = "/agent/v1/snapshots/{snapshot}/content";
    /// `POST` the [`frames`](crate::frames) of a [`WantedSending`](super::WantedSending), with the size of the whole in
    /// [`RAW_SIZE_HEADER`](crate::frames::RAW_SIZE_HEADER); `DELETE`: it cannot be sent.
    SENDING_PATH = "/agent/v1/sendings/{sending}";
}
