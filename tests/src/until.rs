//! Waits for conditions, with a deadline; never for time alone.

use std::thread;
use std::time::{Duration, Instant};

/// Between two looks.
const PERIOD: Duration = Duration::from_millis(200);

/// Looks until `condition` gives a value.
///
/// # Panics
/// When it gave none within `seconds`; the message holds `what`.
#[track_caller]
pub fn until<T>(what: &str, seconds: u64, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "not within {seconds} s: {what}");
        thread::sleep(PERIOD);
    }
}
