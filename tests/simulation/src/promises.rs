//! What clients asked for, and what they were told.

use std::collections::BTreeMap;

use tepui_types::InstanceId;

use crate::events::Moment;

/// What is wanted of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Desire {
    Running,
    Stopped,
    Terminated,
}

/// A call that changes what is wanted.
#[derive(Debug, Clone, Copy)]
struct Wish {
    desire: Desire,
    /// When it was acknowledged; until then the one before may hold as well.
    acknowledged: Option<Moment>,
}

/// One instance that somebody was told of.
#[derive(Debug)]
pub(crate) struct Promise {
    pub(crate) tenant: usize,
    /// A call is under way.
    pub(crate) busy: bool,
    /// When a client last sent an order to start that was not refused.
    pub(crate) start_sent: Moment,
    /// When a client last sent an order to reboot that was not refused.
    pub(crate) reboot_sent: Option<Moment>,
    wishes: Vec<Wish>,
}

impl Promise {
    /// Launched and acknowledged.
    pub(crate) fn launched(tenant: usize, asked: Moment, now: Moment) -> Self {
        Self {
            tenant,
            busy: false,
            start_sent: asked,
            reboot_sent: None,
            wishes: vec![Wish { desire: Desire::Running, acknowledged: Some(now) }],
        }
    }

    /// A client sends a call.
    pub(crate) fn ask(&mut self, desire: Desire) {
        self.busy = true;
        self.wishes.push(Wish { desire, acknowledged: None });
    }

    /// The last call was acknowledged.
    pub(crate) fn acknowledge(&mut self, now: Moment) {
        self.busy = false;
        if let Some(last) = self.wishes.last_mut() {
            last.acknowledged.get_or_insert(now);
        }
    }

    /// The last call was refused: nothing was changed.
    pub(crate) fn refuse(&mut self) {
        self.busy = false;
        self.wishes.pop_if(|wish| wish.acknowledged.is_none());
    }

    /// What is wanted now.
    pub(crate) fn desire(&self) -> Desire {
        self.wishes.last().map_or(Desire::Terminated, |wish| wish.desire)
    }

    /// Whether `desire` may be what a host knows that heard of everything before `since`.
    pub(crate) fn may_be(&self, desire: Desire, since: Moment) -> bool {
        let settled = self.wishes.iter().rposition(|wish| wish.acknowledged.is_some_and(|at| at <= since));
        self.wishes.iter().skip(settled.unwrap_or(0)).any(|wish| wish.desire == desire)
    }
}

/// All of them.
pub(crate) type Promises = BTreeMap<InstanceId, Promise>;
