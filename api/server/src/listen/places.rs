//! The places of a listener, one a connection. When all are taken, a new connection gets the place of
//! the one that is idle for longest: a flood of clients that say nothing, or say it slowly, holds
//! nobody up. A connection is idle until its client is known and its request is there, and again from
//! the answer on.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::Extensions;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// Time for a connection that is put out to end, before another one is.
const PAUSE: Duration = Duration::from_millis(100);

/// All places of one listener.
pub(super) struct Places {
    free: Arc<Semaphore>,
    idle: Mutex<Idle>,
    became_idle: Notify,
    cut: CancellationToken,
}

/// Idle connections, the one that is idle for longest first.
#[derive(Default)]
struct Idle {
    connections: BTreeMap<u64, CancellationToken>,
    last: u64,
}

/// The place of one connection, until it is dropped.
pub(crate) struct Place {
    places: Arc<Places>,
    /// Ends the connection.
    pub(super) cut: CancellationToken,
    number: Mutex<u64>,
    _slot: OwnedSemaphorePermit,
}

/// Keeps a connection's place until it is dropped.
pub(crate) struct Kept(Arc<Place>);

impl Places {
    /// `cut` ends all connections.
    pub(super) fn new(count: usize, cut: CancellationToken) -> Arc<Self> {
        let free = Arc::new(Semaphore::new(count));
        Arc::new(Self { free, idle: Mutex::default(), became_idle: Notify::new(), cut })
    }

    /// A place for a new connection; waits only while no connection is idle.
    pub(super) async fn take(self: &Arc<Self>) -> Option<Arc<Place>> {
        loop {
            let became_idle = self.became_idle.notified();
            if let Ok(slot) = Arc::clone(&self.free).try_acquire_owned() {
                return Some(self.place(slot));
            }
            let is_put_out = self.put_out_longest_idle();
            tokio::select! {
                slot = Arc::clone(&self.free).acquire_owned() => return Some(self.place(slot.ok()?)),
                () = became_idle, if !is_put_out => {}
                // It may have become busy at the same moment.
                () = tokio::time::sleep(PAUSE), if is_put_out => {}
            }
        }
    }

    fn place(self: &Arc<Self>, slot: OwnedSemaphorePermit) -> Arc<Place> {
        let cut = self.cut.child_token();
        let number = Mutex::new(self.idle().add(cut.clone()));
        Arc::new(Place { places: Arc::clone(self), cut, number, _slot: slot })
    }

    /// Whether there was one.
    fn put_out_longest_idle(&self) -> bool {
        let longest = self.idle().connections.pop_first();
        longest.is_some_and(|(_, connection)| {
            connection.cancel();
            true
        })
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Idle {
    fn add(&mut self, connection: CancellationToken) -> u64 {
        self.last += 1;
        self.connections.insert(self.last, connection);
        self.last
    }
}

impl Place {
    /// The place of the connection that a request came by.
    pub(crate) fn of(extensions: &Extensions) -> Option<&Arc<Self>> {
        extensions.get()
    }

    /// Keeps the place: nobody else gets it as long as the answer is being made.
    pub(crate) fn keep(self: &Arc<Self>) -> Kept {
        self.leave_idle();
        Kept(Arc::clone(self))
    }

    fn number(&self) -> MutexGuard<'_, u64> {
        self.number.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn leave_idle(&self) {
        let number = *self.number();
        self.places.idle().connections.remove(&number);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.leave_idle();
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let place = &self.0;
        let number = place.places.idle().add(place.cut.clone());
        *place.number() = number;
        place.places.became_idle.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_new_connection_puts_one_out_however_many_become_idle_meanwhile() {
        let places = Places::new(3, CancellationToken::new());
        let mut there = Vec::new();
        for _ in 0..3 {
            there.push(places.take().await.unwrap());
        }
        let new = tokio::spawn({
            let places = Arc::clone(&places);
            async move { places.take().await }
        });
        for place in there.iter().skip(1).cycle().take(10) {
            tokio::task::yield_now().await;
            drop(place.keep());
        }
        tokio::task::yield_now().await;
        let put_out: Vec<_> = there.iter().map(|place| place.cut.is_cancelled()).collect();
        assert_eq!(put_out, [true, false, false]);
        there.remove(0);
        assert!(new.await.unwrap().is_some());
    }
}
