//! How long a volume lives.

use std::time::Duration;

use clap::Args;
use jiff::{Span, SpanRelativeTo};
use tepui_types::endpoint::SetVolumeTtl;
use tepui_types::rest::{SetVolumeTtlRequest, Volume};

use super::{when, word};
use crate::failure::Result;
use crate::session::Session;

/// The end of a volume to be changed. It is a call of its own.
#[derive(Debug, Clone, Copy, Args)]
pub struct Ttl {
    /// Delete it so long from now, after a warning: 1h to 3650d, for example 7d
    #[arg(long, value_name = "TIME", value_parser = parse_ttl, allow_hyphen_values = true, conflicts_with_all = ["no_ttl", "size", "iops", "throughput", "read_only"])]
    ttl: Option<Duration>,
    /// Keep it until somebody deletes it
    #[arg(long, conflicts_with_all = ["size", "iops", "throughput", "read_only"])]
    no_ttl: bool,
}

impl Ttl {
    /// Whether the end is what is to be changed.
    pub fn is_asked(self) -> bool {
        self.ttl.is_some() || self.no_ttl
    }

    /// Changes it.
    ///
    /// # Errors
    /// What the command met.
    pub async fn set(self, volume: &str, session: &mut Session) -> Result<()> {
        let request = SetVolumeTtlRequest { ttl_seconds: self.ttl.map(seconds) };
        let volume = session.call::<SetVolumeTtl>(&[volume], &request).await?;
        session.show(&volume)
    }
}

/// What is too long for the field is too long for the cloud, which says so.
pub(super) fn seconds(ttl: Duration) -> u32 {
    u32::try_from(ttl.as_secs()).unwrap_or(u32::MAX)
}

/// Reads a time such as `7d` or `12h`; a day is 24 hours.
///
/// # Errors
/// The text is no such time, or a negative one.
pub(super) fn parse_ttl(text: &str) -> Result<Duration, String> {
    let span: Span = text.parse().map_err(|_| String::from("a time is written like 7d or 12h"))?;
    let span = span.to_duration(SpanRelativeTo::days_are_24_hours());
    let span = span.map_err(|_| String::from("a time is in weeks, days or less"))?;
    Duration::try_from(span).map_err(|_| "a time is not negative".into())
}

/// The end of a volume in a cell, with its warning.
pub(super) fn ends(volume: &Volume) -> String {
    match &volume.end {
        Some(end) => format!("{} ({})", when(end.at), word(&end.state)),
        None => "-".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_days() {
        for (text, hours) in [("7d", 168), ("12h", 12), ("1w", 168), ("1d 2h", 26)] {
            assert_eq!(parse_ttl(text), Ok(Duration::from_secs(hours * 3600)), "{text}");
        }
        for (text, told) in [("7", "written like"), ("-1d", "not negative"), ("1mo", "weeks, days")] {
            assert!(parse_ttl(text).unwrap_err().contains(told), "{text}");
        }
    }
}
