//! The passwords of exports in libvirtd: which there are, and how those go that no running domain names.
//!
//! QEMU has a password of its own once it has opened a disk. libvirtd keeps the one that it was told as long as it runs
//! itself, and nobody may open anything by it once the disk has gone.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CStr;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, TryLockError};

use tepui_types::ExportId;
use uuid::Uuid;
use virt::connect::Connect;
use virt::secret::Secret;
use virt::sys;

use crate::host::{Outcome, present};

/// Held while a password is told and its disk is given: until the domain names it nobody does.
#[derive(Debug, Default)]
pub(crate) struct Telling(RwLock<()>);

impl Telling {
    /// Any number may tell at once.
    pub(crate) fn begin(&self) -> RwLockReadGuard<'_, ()> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does `work` while nobody tells; `None` if somebody does, who may take his time.
    fn unless_under_way<T>(&self, work: impl FnOnce() -> T) -> Option<T> {
        let _gate = match self.0.try_write() {
            Ok(gate) => gate,
            Err(TryLockError::Poisoned(error)) => error.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        Some(work())
    }
}

/// The passwords of exports that libvirtd has, each with its UUID. They themselves are shown to nobody.
pub(crate) fn secrets(connect: &Connect) -> Outcome<BTreeMap<ExportId, Uuid>> {
    let all = connect.list_all_secrets(0)?;
    all.iter().filter_map(export_of).map(|(id, secret)| Ok((id, secret.get_uuid()?))).collect()
}

/// Takes away the passwords that no running domain names, which a start of one that is off tells anew; those that are
/// left. `None` while a domain is being given a disk.
pub(crate) fn drop_unused(connect: &Connect, telling: &Telling) -> Outcome<Option<BTreeMap<ExportId, Uuid>>> {
    telling.unless_under_way(|| sweep(connect)).transpose()
}

fn sweep(connect: &Connect) -> Outcome<BTreeMap<ExportId, Uuid>> {
    let all = connect.list_all_secrets(0)?;
    let own: Vec<(ExportId, &Secret)> = all.iter().filter_map(export_of).collect();
    if own.is_empty() {
        return Ok(BTreeMap::new());
    }
    let mut live = BTreeSet::new();
    for domain in connect.list_all_domains(sys::VIR_CONNECT_LIST_DOMAINS_ACTIVE)? {
        // One that ended meanwhile names nothing.
        let xml = present(domain.get_xml_desc(0))?.unwrap_or_default();
        live.extend(exports_in(&xml));
    }
    let mut left = BTreeMap::new();
    for (id, secret) in own {
        if live.contains(&id) {
            left.insert(id, secret.get_uuid()?);
        } else {
            gone(secret.undefine())?;
        }
    }
    Ok(left)
}

/// The exports that a text names.
fn exports_in(text: &str) -> impl Iterator<Item = ExportId> {
    let one = ExportId::from_random(0).to_string();
    let prefix = one.trim_end_matches('0').to_owned();
    let starts: Vec<usize> = text.match_indices(&prefix).map(|(start, _)| start).collect();
    starts.into_iter().filter_map(move |start| text.get(start..start + one.len())?.parse().ok())
}

/// The export whose password a secret is, by what it is for.
fn export_of(secret: &Secret) -> Option<(ExportId, &Secret)> {
    let kind = secret.get_usage_type().ok()?;
    if kind != sys::VIR_SECRET_USAGE_TYPE_ISCSI {
        return None;
    }
    // The binding gives the text back to the allocator, and it is the secret's own.
    // SAFETY: the secret is there while it is borrowed, and its text as long as it is.
    let usage = unsafe {
        let usage = sys::virSecretGetUsageID(secret.as_ptr());
        (!usage.is_null()).then(|| CStr::from_ptr(usage))
    };
    Some((usage?.to_str().ok()?.parse().ok()?, secret))
}

/// Takes for success what somebody else took away.
fn gone(undefined: Outcome<()>) -> Outcome<()> {
    match undefined {
        Err(error) if error.code().to_raw() == sys::VIR_ERR_NO_SECRET => Ok(()),
        undefined => undefined,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exports_are_found_in_a_domain_wherever_it_names_them() {
        let [one, two] = [1, 2].map(ExportId::from_random);
        let xml = format!(
            "<source name='iqn.2026-11.cloud.tepui:{one}/1'/><auth username='{two}'/><x>{}</x>",
            "export-12"
        );
        assert_eq!(exports_in(&xml).collect::<Vec<_>>(), [one, two]);
    }

    #[test]
    fn nothing_is_taken_away_while_a_disk_is_being_given() {
        let telling = Telling::default();
        let (first, second) = (telling.begin(), telling.begin());
        drop(first);
        assert_eq!(telling.unless_under_way(|| 1), None);
        drop(second);
        assert_eq!(telling.unless_under_way(|| 1), Some(1));
    }
}
