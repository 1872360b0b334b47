//! How many requests are worked on at once, so that a crowd neither fills the memory nor keeps the
//! cloud's operators out.
//!
//! ```text
//!   of one key no more than KEY ──▶ (lane: members | administrators) ──▶ worked on ──▶ left
//!                 │ more                     │ not within PATIENCE
//!                 └───────── Busy ◀──────────┘
//! ```

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tepui_db::model::Role;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{Caller, Cloud, Error};

/// Requests of one access key that wait or are worked on. A key that has more takes no other's turn: the
/// other half of its lane is never its.
const KEY: usize = LANE / 2;
/// Requests of one lane that are worked on. Each holds a reader or waits for the writer, whose commit
/// they share.
const LANE: usize = 128;
/// Longer than the store waits for a lock.
const PATIENCE: Duration = Duration::from_secs(10);

/// All requests under way.
pub(crate) struct Admissions {
    keys: Mutex<HashMap<String, usize>>,
    members: Arc<Semaphore>,
    administrators: Arc<Semaphore>,
    patience: Duration,
}

impl Default for Admissions {
    fn default() -> Self {
        let lane = || Arc::new(Semaphore::new(LANE));
        Self { keys: Mutex::default(), members: lane(), administrators: lane(), patience: PATIENCE }
    }
}

/// The right to be worked on, until it is dropped.
pub struct Admission {
    _counted: Counted,
    turn: Turn,
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.turn.leave();
    }
}

/// A request's place in its lane, while it is worked on. The caller carries it.
#[derive(Debug, Clone, Default)]
pub struct Turn(Arc<Mutex<Option<OwnedSemaphorePermit>>>);

impl Turn {
    fn take(&self, place: OwnedSemaphorePermit) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(place);
    }

    /// Leaves the place to others: what is left of the request is waiting, and no work.
    pub(crate) fn leave(&self) {
        drop(self.0.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

/// Two callers are the same whatever their requests' places are.
impl PartialEq for Turn {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Turn {}

/// One request of a key.
struct Counted {
    admissions: Arc<Admissions>,
    key: String,
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut keys = self.admissions.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(count) = keys.get_mut(&self.key) else { return };
        *count -= 1;
        if *count == 0 {
            keys.remove(&self.key);
        }
    }
}

impl Admissions {
    fn count(self: &Arc<Self>, key: &str) -> Result<Counted, Error> {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        match keys.get_mut(key) {
            Some(count) if *count >= KEY => return Err(Error::Busy),
            Some(count) => *count += 1,
            None => drop(keys.insert(key.to_owned(), 1)),
        }
        Ok(Counted { admissions: Arc::clone(self), key: key.to_owned() })
    }

    async fn admit(self: &Arc<Self>, caller: &Caller) -> Result<Admission, Error> {
        let counted = self.count(&caller.access_key_id)?;
        let lane = match caller.role {
            Role::Administrator => &self.administrators,
            Role::Member => &self.members,
        };
        let turn = tokio::time::timeout(self.patience, Arc::clone(lane).acquire_owned()).await;
        let lane = turn.map_err(|_| Error::Busy)?.map_err(Error::internal)?;
        caller.turn.take(lane);
        Ok(Admission { _counted: counted, turn: caller.turn.clone() })
    }
}

impl Cloud {
    /// Lets a request of this caller in, when it is its turn. Each protocol asks once its caller is
    /// known and the whole request is there.
    ///
    /// # Errors
    /// `Busy`.
    pub async fn admit(&self, caller: &Caller) -> Result<Admission, Error> {
        self.admissions.admit(caller).await
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use tepui_types::{ProjectId, UserId};

    use super::*;

    fn caller(role: Role, key: &str) -> Caller {
        Caller {
            user_id: UserId::from_random(1),
            user_name: "u".into(),
            role,
            project: ProjectId::from_random(1),
            access_key_id: key.into(),
            request_id: "r".into(),
            dry_run: false,
            turn: Turn::default(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_crowd_of_members_waits_in_turn_and_keeps_no_administrator_out() {
        let admissions = Arc::new(Admissions::default());
        let member = |number: usize| caller(Role::Member, &format!("key-{number}"));
        let mut inside = Vec::new();
        for number in 0..LANE {
            inside.push(admissions.admit(&member(number)).await.unwrap());
        }
        let one_more = member(LANE);
        let mut waiting = Box::pin(admissions.admit(&one_more));
        assert!((&mut waiting).now_or_never().is_none());
        assert!(admissions.admit(&caller(Role::Administrator, "a")).await.is_ok());
        inside.pop();
        assert!(waiting.await.is_ok());
        let late = admissions.admit(&one_more).await;
        assert!(late.is_ok(), "one has left");
        assert!(matches!(admissions.admit(&one_more).await, Err(Error::Busy)), "nobody leaves for a while");
        drop((inside, late));
        assert!(admissions.keys.lock().unwrap().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_only_waits_leaves_its_place_once() {
        let admissions = Arc::new(Admissions::default());
        let crowd: Vec<_> = (0..LANE).map(|n| caller(Role::Member, &format!("key-{n}"))).collect();
        let mut inside = Vec::new();
        for one in &crowd {
            inside.push(admissions.admit(one).await.unwrap());
        }
        crowd[0].turn.leave();
        let late = caller(Role::Member, "late");
        inside.push(admissions.admit(&late).await.unwrap());
        drop(inside);
        assert_eq!(admissions.members.available_permits(), LANE);
    }

    #[tokio::test(start_paused = true)]
    async fn one_key_has_so_many_requests_and_another_its_own() {
        let admissions = Arc::new(Admissions::default());
        let (greedy, modest) = (caller(Role::Member, "greedy"), caller(Role::Member, "modest"));
        let mut crowd = Vec::new();
        for _ in 0..KEY {
            let request = caller(Role::Member, "greedy");
            crowd.push(admissions.admit(&request).await.unwrap());
        }
        assert!(matches!(admissions.admit(&greedy).await, Err(Error::Busy)));
        assert_eq!(admissions.members.available_permits(), LANE / 2);
        assert!(admissions.admit(&modest).await.is_ok());
        drop(crowd);
        assert!(admissions.admit(&greedy).await.is_ok());
    }
}
