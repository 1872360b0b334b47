//! What is looked at twice.

use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::testing::hypervisor;

/// A host whose libvirtd keeps the passwords of these exports: the first for ever, the second until the next look, and from
/// then on the third.
#[derive(Default)]
struct Kept(AtomicU32);

hypervisor!(Kept {
    async fn domains(&self) -> Result<Vec<DomainStatus>, HypervisorError> {
        Ok(Vec::new())
    }

    async fn secrets(&self) -> Result<BTreeMap<ExportId, Uuid>, HypervisorError> {
        let second = if self.0.fetch_add(1, Ordering::SeqCst) == 0 { 2 } else { 3 };
        Ok([1, second].map(|number| (ExportId::from_random(number), Uuid::from_u128(number))).into())
    }
});

#[tokio::test(start_paused = true)]
async fn what_differs_for_a_moment_is_no_finding_and_what_stays_is_one() {
    let dir = tempfile::tempdir().unwrap();
    write_ledger(dir.path());
    let (hypervisor, network) = (Kept::default(), SimulatedNetwork::new());
    let found = examine(site(dir.path(), &hypervisor, &network)).await.unwrap();
    assert_eq!(hypervisor.0.load(Ordering::SeqCst), 2);
    let told: Vec<_> = found.findings.iter().map(|found| (found.subject, found.object.clone())).collect();
    assert_eq!(told, [(Subject::Secrets, ExportId::from_random(1).to_string())]);
    let said = lines(&report(&found, vec![]));
    assert!(said.contains("WARN  export-00000000000000001: libvirtd keeps the password"), "{said}");
}
