//! Clients launch, stop, start, reboot and terminate instances, and repeat what was not answered.

use rand::Rng;
use rand::seq::{IndexedRandom, IteratorRandom};
use tepui_core::{Caller, Cloud, Error, RunInstances};
use tepui_types::InstanceId;

use super::{Day, Stop};
use crate::events::{Event, Moment};
use crate::promises::{Desire, Promise};

/// Mean time between two calls.
const EVERY_MS: u64 = 40_000;
/// Of a thousand calls.
const LOST: u32 = 20;
const CONTROL_DIES: u32 = 10;
/// Instances that each tenant keeps, more or less.
const LIVE: usize = 25;

/// What a client wants done.
#[derive(Debug, Clone)]
enum Operation {
    Run { count: u32, token: String },
    Start(InstanceId),
    Stop { id: InstanceId, force: bool },
    Reboot(InstanceId),
    Terminate(InstanceId),
}

impl Operation {
    /// In the lists of fail points.
    fn name(&self) -> &'static str {
        match self {
            Self::Run { .. } => "run",
            Self::Start(_) => "start",
            Self::Stop { .. } => "stop",
            Self::Reboot(_) => "reboot",
            Self::Terminate(_) => "terminate",
        }
    }

    fn instance(&self) -> Option<InstanceId> {
        match self {
            Self::Run { .. } => None,
            Self::Start(id) | Self::Stop { id, .. } | Self::Reboot(id) | Self::Terminate(id) => Some(*id),
        }
    }

    fn desire(&self) -> Option<Desire> {
        match self {
            Self::Run { .. } | Self::Start(_) => Some(Desire::Running),
            Self::Stop { .. } => Some(Desire::Stopped),
            Self::Terminate(_) => Some(Desire::Terminated),
            Self::Reboot(_) => None,
        }
    }
}

/// A call that is repeated until it is answered.
#[derive(Debug)]
pub(super) struct Call {
    tenant: usize,
    operation: Operation,
    asked: Moment,
    over: bool,
}

impl Call {
    pub(super) fn is_over(&self) -> bool {
        self.over
    }
}

/// What a call that was answered made.
type Answer = Result<Vec<InstanceId>, Error>;

impl Day {
    pub(super) async fn client(&mut self) -> Result<(), Stop> {
        let next = self.soon(EVERY_MS);
        self.queue.add(next, Event::Client);
        if self.calm {
            return Ok(());
        }
        let tenant = self.random.random_range(0..self.tenants.len());
        let operation = self.choose(tenant);
        if let Some(promise) = operation.instance().and_then(|id| self.promises.get_mut(&id)) {
            promise.busy = true;
            if let Some(desire) = operation.desire() {
                promise.ask(desire);
            }
        }
        self.calls.push(Call { tenant, operation, asked: self.now, over: false });
        self.attempt(self.calls.len() - 1).await
    }

    fn choose(&mut self, tenant: usize) -> Operation {
        let of_tenant =
            |promise: &Promise| promise.tenant == tenant && promise.desire() != Desire::Terminated;
        let live = self.promises.values().filter(|promise| of_tenant(promise)).count();
        let free = self.promises.iter().filter(|(_, promise)| of_tenant(promise) && !promise.busy);
        let one = free.map(|(id, promise)| (*id, promise.desire())).choose(&mut self.random);
        let grows = self.random.random_range(0..2 * LIVE) >= live;
        match one {
            Some((id, _)) if !grows && self.random.random_bool(0.5) => Operation::Terminate(id),
            Some((id, desire)) if self.random.random_bool(0.6) => {
                let force = self.random.random_bool(0.3);
                let choices = [Operation::Start(id), Operation::Stop { id, force }, Operation::Reboot(id)];
                match (desire, choices.choose(&mut self.random)) {
                    (Desire::Stopped, _) | (_, None) => Operation::Start(id),
                    (Desire::Running | Desire::Terminated, Some(choice)) => choice.clone(),
                }
            }
            Some(_) | None => {
                let count = self.random.random_range(1..=4);
                Operation::Run { count, token: format!("call-{}", self.random.random::<u64>()) }
            }
        }
    }

    /// Sends a call, for the first time or again.
    pub(super) async fn attempt(&mut self, number: usize) -> Result<(), Stop> {
        let Some(call) = self.calls.get(number).filter(|call| !call.over) else { return Ok(()) };
        let (tenant, operation) = (call.tenant, call.operation.clone());
        let Some(cloud) = self.control.cloud() else {
            self.again(number);
            return Ok(());
        };
        if self.happens(LOST) {
            self.again(number);
            return Ok(());
        }
        let dies = self.happens(CONTROL_DIES);
        let point = dies.then(|| self.control_point(operation.name()));
        let tenant = &self.tenants[tenant];
        let answer = perform(&cloud, &tenant.caller, tenant.image, &operation).await;
        if !matches!(&answer, Err(error) if is_refusal(error)) {
            self.sent(&operation);
        }
        drop(cloud);
        if point.is_some_and(super::faults::disarm) {
            self.again(number);
            return self.control_dies().await;
        }
        if self.happens(LOST) || matches!(answer, Err(Error::Busy | Error::Unavailable { .. })) {
            self.again(number);
            return Ok(());
        }
        self.answered(number, answer)
    }

    /// The order may have been taken, whether the client hears of it or not.
    fn sent(&mut self, operation: &Operation) {
        let promise = operation.instance().and_then(|id| self.promises.get_mut(&id));
        match (operation, promise) {
            (Operation::Start(_), Some(promise)) => promise.start_sent = self.now,
            (Operation::Reboot(_), Some(promise)) => promise.reboot_sent = Some(self.now),
            _ => {}
        }
    }

    fn again(&mut self, number: usize) {
        self.summary.messages += 1;
        let at = self.soon(20_000);
        self.queue.add(at, Event::Retry(number));
    }

    fn answered(&mut self, number: usize, answer: Answer) -> Result<(), Stop> {
        let call = &mut self.calls[number];
        call.over = true;
        let (tenant, asked, operation) = (call.tenant, call.asked, call.operation.clone());
        let promise = operation.instance().and_then(|id| self.promises.get_mut(&id));
        match answer {
            Ok(made) => {
                self.summary.acknowledged += 1;
                if let Some(promise) = promise {
                    promise.acknowledge(self.now);
                }
                for id in made {
                    self.trace(id.bits() as u64);
                    self.promises.insert(id, Promise::launched(tenant, asked, self.now));
                }
                Ok(())
            }
            Err(error) if is_refusal(&error) => {
                self.summary.refused += 1;
                if let Some(promise) = promise {
                    promise.refuse();
                }
                Ok(())
            }
            Err(error) => Err(Stop::Broken(format!("{operation:?} was answered with {error:?}"))),
        }
    }
}

async fn perform(
    cloud: &Cloud,
    caller: &Caller,
    image: tepui_types::ImageId,
    operation: &Operation,
) -> Answer {
    match operation {
        Operation::Run { count, token } => {
            let request = RunInstances {
                min_count: 1,
                max_count: *count,
                client_token: Some(token.clone()),
                ..RunInstances::new(image, "t3.nano")
            };
            let made = cloud.run_instances(caller, request).await?;
            Ok(made.instances.iter().map(|view| view.record.instance.id).collect())
        }
        Operation::Start(id) => cloud.start_instances(caller, &[*id]).await.map(|_| Vec::new()),
        Operation::Stop { id, force } => {
            cloud.stop_instances(caller, &[*id], *force).await.map(|_| Vec::new())
        }
        Operation::Reboot(id) => cloud.reboot_instances(caller, &[*id]).await.map(|()| Vec::new()),
        Operation::Terminate(id) => cloud.terminate_instances(caller, &[*id]).await.map(|_| Vec::new()),
    }
}

/// Answers that an honest client can get.
fn is_refusal(error: &Error) -> bool {
    matches!(
        error,
        Error::WrongState { .. } | Error::NoCapacity { .. } | Error::NodeFull { .. } | Error::NotFound { .. }
    )
}
