//! Watching work that goes on in the cloud, up to a deadline.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::exit::Exit;
use crate::failure::{Failure, Result};

/// Between two looks. The control plane answers a list from one local read, so a look is cheap.
const PAUSE: Duration = Duration::from_millis(300);

/// When watching ends. The work itself goes on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline {
    at: Instant,
    allowed: Duration,
}

impl Deadline {
    /// So long from now.
    pub(crate) fn after(allowed: Duration) -> Self {
        Self { at: Instant::now() + allowed, allowed }
    }

    /// Pauses before the next look.
    ///
    /// # Errors
    /// [`Exit::TimedOut`] once the deadline has passed; `what` is what was waited for and
    /// `go_on` the command that waits on.
    pub(crate) async fn pause(&self, what: &str, go_on: &str) -> Result<()> {
        if Instant::now() >= self.at {
            return Err(self.passed(what, go_on));
        }
        sleep_until(self.at.min(Instant::now() + PAUSE)).await;
        Ok(())
    }

    fn passed(&self, what: &str, go_on: &str) -> Failure {
        Failure::new(Exit::TimedOut, format!("waited {} s for {what}", self.allowed.as_secs()))
            .why("what was begun goes on; only the watching ended")
            .try_(go_on)
    }
}

/// Reads a duration such as `60s` or `5m`.
///
/// # Errors
/// The text is no duration, or a negative one.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let span: jiff::SignedDuration =
        text.parse().map_err(|_| String::from("a duration is written like 60s or 5m"))?;
    Duration::try_from(span).map_err(|_| "a duration is not negative".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_watch_ends_at_its_deadline_with_its_own_exit_code() {
        let deadline = Deadline::after(Duration::from_secs(60));
        let started = Instant::now();
        let failure = loop {
            if let Err(failure) = deadline.pause("'web' to be running", "tepui instance wait web").await {
                break failure;
            }
        };
        assert_eq!(failure.exit, Exit::TimedOut);
        assert_eq!(failure.try_, ["tepui instance wait web"]);
        assert_eq!(started.elapsed().as_secs(), 60);
    }

    #[test]
    fn durations_read_as_people_write_them() {
        assert_eq!(parse_duration("60s"), Ok(Duration::from_secs(60)));
        assert_eq!(parse_duration("5m"), Ok(Duration::from_secs(300)));
        assert!(
            parse_duration("60").is_err() && parse_duration("-1s").is_err() && parse_duration("").is_err()
        );
    }
}
