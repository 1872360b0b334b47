//! Pulls the desired state: polls, writes what is news into the ledger, wakes the reconciler.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tepui_types::PlacementId;
use tepui_types::agent::{PollReply, PollRequest};
use tokio::time::Instant;

use super::{Context, sending};
use crate::ledger::{LedgerError, Taken};
use crate::link::Pauses;

/// How long the control plane may hold a poll.
const WAIT: Duration = Duration::from_secs(50);
/// An answer without news that comes sooner means that something is wrong, and asking again at once
/// would make it worse.
const SUSPICIOUSLY_SOON: Duration = Duration::from_millis(100);
/// How long a poll waits for a report that the control plane asked for.
const REPORT_FIRST: Duration = Duration::from_secs(5);

pub(super) async fn run(context: Arc<Context>) {
    let mut pauses = Pauses::new(context.run);
    loop {
        let asked = Instant::now();
        match poll(&context).await {
            Ok(true) => pauses.over(),
            Ok(false) if asked.elapsed() >= SUSPICIOUSLY_SOON => pauses.over(),
            Ok(false) => pauses.next().await,
            Err(message) => {
                tracing::warn!(%message, "poll failed; going on with what the ledger holds");
                pauses.next().await;
            }
        }
    }
}

/// One poll; whether it brought something that could be used.
async fn poll(context: &Arc<Context>) -> Result<bool, String> {
    tidy(context).await.map_err(|error| crate::chain(&error))?;
    let reply = context.control_plane.poll(&request(context)).await;
    let reply = reply.map_err(|error| crate::chain(&error))?;
    let asked = !reply.wanted_consoles.is_empty() || !reply.wanted_sendings.is_empty();
    // Nobody waits for them: a slow upload must not hold up what is wanted of the host. Each is asked for
    // once and ends with its request.
    for id in &reply.wanted_consoles {
        tokio::spawn(send_console(Arc::clone(context), *id));
    }
    for order in &reply.wanted_sendings {
        tokio::spawn(sending::send(Arc::clone(context), *order));
    }
    let news = take_up(context, &reply).await?;
    if reply.wants_report {
        report_first(context).await;
    }
    Ok(news || asked || reply.wants_report)
}

/// The report takes the connection that the poll has left: a node whose control plane comes back opens
/// one, not two.
async fn report_first(context: &Context) {
    let mut reported = context.reported.subscribe();
    context.report_wanted.notify_one();
    // Without one in time the next poll is told again.
    let _late = tokio::time::timeout(REPORT_FIRST, reported.changed()).await;
}

/// Drops what the control plane knows is gone; here, where no poll is under way.
async fn tidy(context: &Arc<Context>) -> Result<(), LedgerError> {
    let shared = Arc::clone(&context.shared);
    let acknowledged =
        std::mem::take(&mut *shared.acknowledged.lock().unwrap_or_else(PoisonError::into_inner));
    let drop_absent = move || shared.ledger().drop_absent(&acknowledged);
    tokio::task::spawn_blocking(drop_absent).await.unwrap_or(Ok(()))
}

/// Takes the reply's parts, and wakes the reconciler when there is news.
async fn take_up(context: &Arc<Context>, reply: &PollReply) -> Result<bool, String> {
    let taken = take(context, reply).await.map_err(|error| crate::chain(&error))?;
    let news = taken.changed;
    note_refused(context, taken);
    if news {
        context.shared.storage.wake.notify_one();
        context.shared.volumes.wake.notify_one();
        context.shared.freezes.wake.notify_one();
        context.shared.wake.notify_one();
    }
    Ok(news)
}

fn request(context: &Context) -> PollRequest {
    let ledger = context.shared.ledger();
    PollRequest {
        epoch: ledger.epoch(),
        agent_run: context.run,
        have: ledger.have(),
        reported: *context.reported.borrow(),
        wait_ms: u64::try_from(WAIT.as_millis()).unwrap_or(u64::MAX),
    }
}

async fn take(context: &Arc<Context>, reply: &PollReply) -> Result<Taken, LedgerError> {
    if reply.parts.is_empty() {
        return Ok(Taken::default());
    }
    let shared = Arc::clone(&context.shared);
    let (epoch, parts) = (reply.epoch, reply.parts.clone());
    let write = move || shared.ledger().take(shared.node_id, epoch, parts);
    tokio::task::spawn_blocking(write).await.unwrap_or_else(|_| Ok(Taken::default()))
}

/// Refusals stand until a reply comes without any.
fn note_refused(context: &Context, taken: Taken) {
    let mut refused = context.shared.refused.lock().unwrap_or_else(PoisonError::into_inner);
    if *refused != taken.refused {
        *refused = taken.refused;
        context.shared.wake.notify_one();
    }
}

async fn send_console(context: Arc<Context>, id: PlacementId) {
    let path = context.consoles.join(crate::console::file_name(id));
    let text = tokio::task::spawn_blocking(move || {
        crate::console::tail(&path).unwrap_or_else(|error| {
            tracing::warn!(path = %path.display(), %error, "cannot read a console");
            Vec::new()
        })
    });
    let text = text.await.unwrap_or_default();
    if let Err(error) = context.control_plane.put_console(id, text).await {
        tracing::warn!(placement = %id, message = crate::chain(&error), "cannot send a console");
    }
}
