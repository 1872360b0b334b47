//! Looks now and then, as `tepui-node doctor` does, at what is really served and kept, and has it reported: the control
//! plane knows of its own orders alone, and of what this agent did about them.

use std::sync::{Arc, PoisonError};

use super::Context;
use crate::doctor::{self, Premises};

pub(super) async fn run(context: Arc<Context>) {
    let shared = &context.shared;
    let premises = Premises {
        data_dir: &context.data_dir,
        hypervisor: shared.executor.hypervisor.as_ref(),
        servers: context.servers.as_ref(),
    };
    let tell = |found| {
        let mut findings = shared.findings.lock().unwrap_or_else(PoisonError::into_inner);
        if *findings != found {
            *findings = found;
            shared.wake.notify_one();
        }
    };
    doctor::make_rounds(premises, tell).await;
}
