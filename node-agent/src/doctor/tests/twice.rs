//! What is looked at twice, and again and again.

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

/// A host whose libvirtd keeps the password of an export at this look and those after it, up to that one.
struct KeptFrom(u32, u32, AtomicU32);

hypervisor!(KeptFrom {
    async fn domains(&self) -> Result<Vec<DomainStatus>, HypervisorError> {
        Ok(Vec::new())
    }

    async fn secrets(&self) -> Result<BTreeMap<ExportId, Uuid>, HypervisorError> {
        let look = self.2.fetch_add(1, Ordering::SeqCst);
        let kept = (self.0..=self.1).contains(&look).then(|| (ExportId::from_random(1), Uuid::from_u128(1)));
        Ok(kept.into_iter().collect())
    }
});

/// What the rounds tell of a host in its first `minutes`, and when: seconds, and how many things.
async fn told(hypervisor: &KeptFrom, minutes: u64) -> Vec<(u64, Vec<HostFinding>)> {
    let witnesses = Witnesses { hypervisor, servers: None, filers: false };
    let (start, all) = (tokio::time::Instant::now(), std::sync::Mutex::new(Vec::new()));
    let tell = |found| all.lock().unwrap().push((start.elapsed().as_secs(), found));
    let end = tokio::time::timeout(
        Duration::from_secs(minutes * 60),
        make_rounds(witnesses, || books(Vec::new()), tell),
    )
    .await;
    assert!(end.is_err(), "they end with the agent");
    all.into_inner().unwrap()
}

#[tokio::test(start_paused = true)]
async fn rounds_tell_what_two_of_them_found_and_soon_forget_what_was_mended() {
    let told = told(&KeptFrom(1, 3, AtomicU32::new(0)), 5).await;
    let counts: Vec<_> = told.iter().map(|(at, found)| (*at, found.len())).collect();
    assert_eq!(counts, [(60, 0), (120, 0), (150, 1), (180, 1), (210, 0), (270, 0)]);
    let found = &told[2].1[0];
    assert!(!found.is_failure && found.object == "export-00000000000000001", "{found:?}");
    assert!(found.what.contains("libvirtd keeps the password"), "{found:?}");
}
