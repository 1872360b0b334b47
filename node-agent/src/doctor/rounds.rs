//! The looks that an agent takes by itself, so that the control plane's doctor can tell of them.

use std::collections::BTreeMap;
use std::time::Duration;

use tepui_types::agent::HostFinding;

use super::{Books, Finding, Inventory, Severity, Witnesses, look_at_volumes};

/// Between two looks while all is well.
const EVERY: Duration = Duration::from_secs(60);
/// While something is found. What the agent does by itself takes less, so that it is not found by two looks; and what was
/// mended is forgotten.
const AGAIN: Duration = Duration::from_secs(30);
/// So many are told, each with so many characters; a report stays small, whatever strangers call themselves.
const MOST: usize = 32;
const LONGEST: usize = 1000;

/// Looks for ever at volumes, passwords and what serves them, and tells what was found by two looks one after the other.
pub(crate) async fn make_rounds(
    witnesses: Witnesses<'_>,
    books: impl Fn() -> Books,
    tell: impl Fn(Vec<HostFinding>),
) {
    let mut before = Vec::new();
    loop {
        tokio::time::sleep(if before.is_empty() { EVERY } else { AGAIN }).await;
        let found = look(witnesses, &books()).await;
        tell(told(found.iter().filter(|one| before.iter().any(|other| one.is_of_the_same(other)))));
        before = found;
    }
}

async fn look(witnesses: Witnesses<'_>, books: &Books) -> Vec<Finding> {
    // That libvirt is silent is told by others, and which guests it has.
    let domains = witnesses.hypervisor.domains().await.ok().map(|_| BTreeMap::new());
    let mut inventory = Inventory { domains, ..Inventory::default() };
    look_at_volumes(witnesses, books, &mut inventory).await
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

#[cfg(test)]
mod tests {
    use super::super::{Subject, failure, warning};
    use super::*;

    #[test]
    fn a_host_that_is_full_of_strangers_makes_no_large_report() {
        let name = "x".repeat(4000);
        let mut found: Vec<_> = (0..39).map(|_| warning(Subject::Exports, &name, &name, &name)).collect();
        found.push(failure(Subject::Exports, "tgtd", "it does not run", "start the agent"));
        let told = told(found.iter());
        assert_eq!(told.len(), 33);
        assert!(
            told.iter()
                .all(|one| one.object.len() <= 1000 && one.what.len() <= 1000 && one.cure.len() <= 1000)
        );
        let last = &told[32];
        assert_eq!((last.is_failure, last.what.as_str()), (true, "found 8 things more"));
    }
}
