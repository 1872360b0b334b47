//! Puts right what risks neither a guest nor data.

use std::time::Duration;

use super::{Examination, Finding, Fix, Site, network};
use crate::agent::{self, Layout, StartError};
use crate::durable;
use crate::identity::check_home;
use crate::network::WantedNetwork;

/// A running agent looks at its network twice in this time.
const AGENT_MENDS_WITHIN: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Puts right what can be; says what was done, in a line each. What fails is logged, and found again by the
/// next examination.
///
/// # Errors
/// The identity is another host's: the ledger beside it is that host's too, and what it says would take over
/// the addresses of guests that run there.
pub async fn fix(site: Site<'_>, examination: &Examination) -> Result<Vec<String>, StartError> {
    check_home(&Layout(site.data_dir).identity(), site.underlay_address)?;
    let mut done = Vec::new();
    let mut fixes: Vec<&Fix> = Vec::new();
    for fix in examination.findings.iter().filter_map(|finding: &Finding| finding.fix.as_ref()) {
        if !fixes.contains(&fix) {
            fixes.push(fix);
        }
    }
    for fix in fixes {
        let result = match fix {
            Fix::Remove(path) => durable::remove(path)
                .map(|()| format!("removed {}", path.display()))
                .map_err(|error| format!("could not remove {}: {error}", path.display())),
            Fix::Network => mend_network(site, examination).await,
        };
        match result {
            Ok(told) => done.push(told),
            Err(message) => tracing::error!(message, "not fixed"),
        }
    }
    Ok(done)
}

/// Two would be in each other's way, so a running agent does it.
async fn mend_network(site: Site<'_>, examination: &Examination) -> Result<String, String> {
    let wanted = network::wanted(&examination.books, &examination.inventory);
    let wanted = wanted.ok_or("it cannot be said what is wanted")?;
    match agent::lock(site.data_dir) {
        Ok(_lock) => {
            site.network.apply(&wanted).await.map_err(|error| crate::chain(&error))?;
            Ok("made the network as the ledger has it".to_owned())
        }
        Err(StartError::InUse(_)) => wait_for_agent(site, &wanted).await,
        Err(error) => Err(crate::chain(&error)),
    }
}

async fn wait_for_agent(site: Site<'_>, wanted: &WantedNetwork) -> Result<String, String> {
    let waited = tokio::time::timeout(AGENT_MENDS_WITHIN, async {
        loop {
            match site.network.faults(wanted).await {
                Ok(faults) if faults.is_empty() => return,
                Ok(_) | Err(_) => tokio::time::sleep(LOOK_AGAIN).await,
            }
        }
    });
    let gave_up = |_| format!("the agent runs and did not mend its network within {AGENT_MENDS_WITHIN:?}");
    waited.await.map(|()| "waited for the agent, which mended the network".to_owned()).map_err(gave_up)
}
