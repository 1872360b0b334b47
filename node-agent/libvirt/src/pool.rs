//! A bounded set of connections to one libvirtd.
//!
//! libvirt's calls block and cannot be cancelled, so each connection has a thread of its own. A
//! caller waits until its deadline and no longer; the thread stays with the call until libvirt lets
//! it go. When all threads are overdue, callers are refused at once instead of each waiting in vain. A
//! domain whose QEMU hangs takes one thread and no more: further calls on it are refused at once, too.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tepui_types::PlacementId;
use tokio::sync::oneshot;
use virt::connect::Connect;
use virt::sys;

use crate::{Error, events};

/// libvirtd is asked for a sign of life this often, and given up after this many silent ones: a
/// connection to a hanging libvirtd ends, and its thread is free again, after 20 seconds.
const KEEP_ALIVE_SECONDS: i32 = 5;
const KEEP_ALIVE_COUNT: u32 = 3;

/// Names a call in errors.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call {
    pub(crate) name: &'static str,
    pub(crate) id: Option<PlacementId>,
    pub(crate) deadline: Duration,
}

/// The connections and the queue before them.
pub(crate) struct Pool {
    uri: Arc<str>,
    queue: Sender<Job>,
    slots: Vec<Arc<Slot>>,
}

struct Job {
    current: Current,
    claim: Arc<Claim>,
    work: Box<dyn FnOnce(&mut Connection) + Send>,
}

/// A call belongs to the thread that begins it, or to the caller who gave it up before.
#[derive(Default)]
struct Claim(AtomicBool);

impl Claim {
    /// Whether nobody was faster.
    fn take(&self) -> bool {
        !self.0.swap(true, Ordering::AcqRel)
    }
}

/// The call that a thread is in; none while it waits for one.
#[derive(Default)]
struct Slot(Mutex<Option<Current>>);

/// When a call should have ended, and on whose domain it is.
#[derive(Clone, Copy)]
struct Current {
    expires: Instant,
    id: Option<PlacementId>,
}

impl Pool {
    /// Starts the threads; each connects when its first call comes.
    pub(crate) fn start(uri: &str, connections: usize) -> Result<Self, Error> {
        let unavailable = |message| Error::Unavailable { uri: uri.into(), message };
        events::ensure_running().map_err(unavailable)?;
        let (queue, jobs) = channel();
        let jobs = Arc::new(Mutex::new(jobs));
        let uri: Arc<str> = uri.into();
        let slots = (0..connections.max(1))
            .map(|_| spawn_worker(Arc::clone(&uri), Arc::clone(&jobs)))
            .collect::<Result<_, _>>()
            .map_err(|error| unavailable(error.to_string()))?;
        Ok(Self { uri, queue, slots })
    }

    /// Runs `work` on one of the connections and waits for it until the call's deadline. A call that finds no
    /// connection free until then says nothing of its domain, which was never asked.
    pub(crate) async fn call<T, F>(&self, call: Call, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Connect) -> Result<T, virt::error::Error> + Send + 'static,
    {
        self.refuse_when_all_hang()?;
        self.refuse_when_it_hangs(call.id)?;
        let (reply, answer) = oneshot::channel();
        let work = Box::new(move |connection: &mut Connection| {
            // A caller that stopped waiting takes no answer.
            let _ = reply.send(connection.run(call, work));
        });
        let gone = || self.unavailable("the connections' threads ended");
        let current = Current { expires: Instant::now() + call.deadline, id: call.id };
        let claim = Arc::new(Claim::default());
        self.queue.send(Job { current, claim: Arc::clone(&claim), work }).map_err(|_| gone())?;
        match tokio::time::timeout(call.deadline, answer).await {
            Ok(Ok(outcome)) => outcome,
            _ if claim.take() => Err(self.unavailable("no connection was free in time")),
            Ok(Err(_)) => Err(gone()),
            Err(_) => Err(Error::Deadline { call: call.name, after: call.deadline }),
        }
    }

    fn refuse_when_all_hang(&self) -> Result<(), Error> {
        let now = Instant::now();
        if self.slots.iter().all(|slot| slot.overdue(now).is_some()) {
            return Err(self.unavailable("every connection waits for an answer that is overdue"));
        }
        Ok(())
    }

    fn refuse_when_it_hangs(&self, id: Option<PlacementId>) -> Result<(), Error> {
        let Some(id) = id else { return Ok(()) };
        let now = Instant::now();
        let hangs = self.slots.iter().any(|slot| slot.overdue(now).is_some_and(|call| call.id == Some(id)));
        if hangs { Err(Error::Silent { id }) } else { Ok(()) }
    }

    fn unavailable(&self, message: &str) -> Error {
        Error::Unavailable { uri: self.uri.to_string(), message: message.into() }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("uri", &self.uri).field("connections", &self.slots.len()).finish()
    }
}

impl Slot {
    fn set(&self, current: Option<Current>) {
        *lock(&self.0) = current;
    }

    fn overdue(&self, now: Instant) -> Option<Current> {
        lock(&self.0).filter(|current| current.expires < now)
    }
}

fn spawn_worker(uri: Arc<str>, jobs: Arc<Mutex<Receiver<Job>>>) -> std::io::Result<Arc<Slot>> {
    let slot = Arc::new(Slot::default());
    let seen = Arc::clone(&slot);
    thread::Builder::new()
        .name("libvirt-call".into())
        .spawn(move || serve(&jobs, &seen, &mut Connection { uri, open: None }))?;
    Ok(slot)
}

/// Works until the pool is dropped.
fn serve(jobs: &Mutex<Receiver<Job>>, slot: &Slot, connection: &mut Connection) {
    loop {
        // The lock is held while waiting: the threads take turns at the queue.
        let Ok(job) = lock(jobs).recv() else { return };
        // Nobody waits for it any more, and it must not change anything behind its caller's back.
        if job.current.expires < Instant::now() || !job.claim.take() {
            continue;
        }
        slot.set(Some(job.current));
        (job.work)(connection);
        slot.set(None);
    }
}

/// One connection, opened when it is needed and again when it broke.
struct Connection {
    uri: Arc<str>,
    open: Option<Connect>,
}

impl Connection {
    fn run<T>(
        &mut self,
        call: Call,
        work: impl FnOnce(&Connect) -> Result<T, virt::error::Error>,
    ) -> Result<T, Error> {
        let connect = self.ensure_open()?;
        let outcome = work(connect);
        let alive = is_alive(connect);
        if !alive {
            self.close();
        }
        outcome.map_err(|error| self.describe(call, alive, &error))
    }

    fn ensure_open(&mut self) -> Result<&Connect, Error> {
        if self.open.as_ref().is_some_and(|connect| !is_alive(connect)) {
            self.close();
        }
        match &mut self.open {
            Some(connect) => Ok(connect),
            none => Ok(none.insert(open(&self.uri)?)),
        }
    }

    fn close(&mut self) {
        if let Some(mut connect) = self.open.take()
            && let Err(error) = connect.close()
        {
            tracing::debug!(%error, "closing a connection to libvirt");
        }
    }

    fn describe(&self, call: Call, alive: bool, error: &virt::error::Error) -> Error {
        match (error.code().to_raw(), call.id) {
            _ if !alive => unavailable(&self.uri, error),
            (sys::VIR_ERR_NO_DOMAIN, Some(id)) => Error::NoSuchDomain { id },
            (code, _) => Error::Refused { call: call.name, code, message: error.message().into() },
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.close();
    }
}

fn open(uri: &str) -> Result<Connect, Error> {
    let connect = Connect::open(Some(uri)).map_err(|error| unavailable(uri, &error))?;
    // Drivers inside the process, as libvirt's test driver, have no keep-alive and need none.
    if let Err(error) = connect.set_keep_alive(KEEP_ALIVE_SECONDS, KEEP_ALIVE_COUNT) {
        tracing::debug!(%error, "no keep-alive on this connection");
    }
    Ok(connect)
}

fn is_alive(connect: &Connect) -> bool {
    connect.is_alive().unwrap_or(false)
}

fn unavailable(uri: &str, error: &virt::error::Error) -> Error {
    Error::Unavailable { uri: uri.into(), message: error.message().into() }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(id: u128, deadline: Duration) -> Call {
        Call { name: "wait", id: Some(PlacementId::from_random(id)), deadline }
    }

    #[tokio::test]
    async fn only_a_call_that_began_and_has_no_answer_is_a_domains_silence() {
        let pool = Pool::start("test:///default", 1).unwrap();
        let (release, released) = channel::<()>();
        let (begun, has_begun) = oneshot::channel();
        let hangs = pool.call(call(1, Duration::from_secs(3)), move |_| {
            begun.send(()).unwrap();
            let _ = released.recv();
            Ok(())
        });
        let (ran, has_run) = channel();
        let waits = async {
            has_begun.await.unwrap();
            pool.call(call(2, Duration::from_millis(50)), move |_| {
                ran.send(()).unwrap();
                Ok(())
            })
            .await
        };
        let (hanging, waiting) = tokio::join!(hangs, waits);
        let waiting = waiting.unwrap_err();
        assert!(
            matches!(&waiting, Error::Unavailable { message, .. } if message.contains("free")),
            "{waiting}"
        );
        assert!(!waiting.is_silence(), "its domain was never asked");
        let hanging = hanging.unwrap_err();
        assert!(matches!(hanging, Error::Deadline { .. }) && hanging.is_silence(), "{hanging}");
        drop(release);
        while pool.refuse_when_all_hang().is_err() {
            tokio::task::yield_now().await;
        }
        pool.call(call(3, Duration::from_secs(60)), |_| Ok(())).await.unwrap();
        assert!(has_run.recv().is_err(), "what was given up is not done later");
    }
}
