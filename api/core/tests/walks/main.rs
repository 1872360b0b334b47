//! Walks through the states of nodes and of imports, as `tests/simulation` walks through those of instances:
//! from every state, everything that can be asked or fail, one at a time. Each ends as the tables of
//! `api/db/src/model/lifecycle.rs` say, and can be removed without a trace.

#![expect(clippy::unwrap_used, reason = "the helpers of a test stop at the first surprise, as the tests do")]

#[path = "../cloud/harness.rs"]
#[expect(dead_code, reason = "the other test binary uses the rest")]
mod harness;
mod imports;
mod nodes;

use tepui_core::Error;
use tepui_core::failpoint::STEPS;
use tepui_types::failpoint::{self, Effect};
use tokio::sync::Mutex;

/// Fail points are the process's, so that one walk is walked at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// How a call goes.
#[derive(Debug, Clone, Copy)]
enum Way {
    Answered,
    /// The client repeats it.
    AnswerLost,
    /// The control plane is killed at this point, and the client repeats its call.
    KilledAt(&'static str),
}

impl Way {
    fn all(operation: &str) -> Vec<Self> {
        [Self::Answered, Self::AnswerLost].into_iter().chain(points(operation).map(Self::KilledAt)).collect()
    }
}

fn points(operation: &str) -> impl Iterator<Item = &'static str> {
    let of = STEPS.iter().filter(move |(name, _)| *name == operation);
    of.flat_map(|(_, steps)| steps.iter().copied())
}

/// Cuts a call off; whether it came to the point.
async fn cut_off<T>(point: &'static str, call: impl Future<Output = Result<T, Error>>) -> bool {
    failpoint::arm(point, Effect::Error);
    let answer = call.await;
    let trips = failpoint::trips(point);
    failpoint::disarm(point);
    assert!(trips == 0 || answer.is_err(), "{point} cuts nothing off");
    trips > 0
}
