//! Looks now and then, as `tepui-node doctor` does, at what is really served and kept, and has it reported: the control
//! plane knows of its own orders alone, and of what this agent did about them.

use std::sync::{Arc, PoisonError};

use super::Context;
use crate::doctor::{self, Books, Witnesses};

pub(super) async fn run(context: Arc<Context>) {
    let shared = &context.shared;
    let hypervisor = shared.executor.hypervisor.as_ref();
    let witnesses = Witnesses { hypervisor, servers: context.servers.as_ref(), filers: false };
    let books = || {
        let ledger = shared.ledger();
        Books { wanted: ledger.wanted(), progress: ledger.progress().clone(), ..Books::default() }
    };
    let tell = |found| {
        let mut findings = shared.findings.lock().unwrap_or_else(PoisonError::into_inner);
        if *findings != found {
            *findings = found;
            shared.wake.notify_one();
        }
    };
    doctor::make_rounds(witnesses, books, tell).await;
}
