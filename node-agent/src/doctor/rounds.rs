//! The looks that an agent takes by itself, so that the control plane's doctor can tell of them.

use std::time::Duration;

use tepui_types::agent::HostFinding;

use super::{Books, Finding, Inventory, Premises, Severity, of_volumes};
use crate::agent::StartError;

/// Between two looks while all is well.
const EVERY: Duration = Duration::from_secs(60);
/// While something is found: what was mended is soon forgotten.
const AGAIN: Duration = Duration::from_secs(10);
/// So many are told, each with so many characters; a report stays small, whatever strangers call themselves.
const MOST: usize = 32;
const LONGEST: usize = 1000;

/// Looks for ever at volumes, passwords and what serves them, and tells what was found by two looks one after the
/// other: an order that is being carried out is no finding, also where it takes long.
pub(crate) async fn make_rounds(premises: Premises<'_>, tell: impl Fn(Vec<HostFinding>)) {
    let mut before = Vec::new();
    loop {
        tokio::time::sleep(if before.is_empty() { EVERY } else { AGAIN }).await;
        match look(premises).await {
            Ok(found) => {
                tell(told(found.iter().filter(|one| before.iter().any(|other| one.is_of_the_same(other)))));
                before = found;
            }
            Err(error) => tracing::warn!(message = crate::chain(&error), "cannot compare what is served"),
        }
    }
}

async fn look(premises: Premises<'_>) -> Result<Vec<Finding>, StartError> {
    let books = Books::read(premises.data_dir)?;
    // That libvirt is silent is told by others.
    let domains = premises.hypervisor.domains().await.ok();
    let domains = domains.map(|all| all.iter().map(|domain| (domain.id, domain.state)).collect());
    let mut inventory = Inventory { domains, ..Inventory::default() };
    of_volumes(premises, &books, &mut inventory).await
}

fn told<'a>(found: impl Iterator<Item = &'a Finding>) -> Vec<HostFinding> {
    let short = |text: &str| text.chars().take(LONGEST).collect();
    let mut told: Vec<_> = found
        .map(|one| HostFinding {
            is_failure: one.severity == Severity::Failure,
            object: short(&one.object),
            what: short(&one.what),
            cure: short(&one.cure),
        })
        .collect();
    if told.len() > MOST {
        let more = told.split_off(MOST);
        told.push(HostFinding {
            is_failure: more.iter().any(|one| one.is_failure),
            object: "doctor".to_owned(),
            what: format!("found {} things more", more.len()),
            cure: "tepui-node doctor --problems".to_owned(),
        });
    }
    told
}
