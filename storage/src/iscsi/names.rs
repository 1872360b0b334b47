//! What tgtd and its clients call an export: all of it follows from the export's id, which never comes back.

use tepui_types::ExportId;

use crate::Export;

/// What every target's name begins with.
const TARGETS: &str = "iqn.2026-11.cloud.tepui:";

/// The export of a target; `None` for one that is none of ours.
pub(super) fn export_of(target: &str) -> Option<ExportId> {
    target.strip_prefix(TARGETS)?.parse().ok()
}

pub(super) fn target_name(id: ExportId) -> String {
    format!("{TARGETS}{id}")
}

/// The serial by which a guest knows the disk, AWS's form. virtio-blk holds 20 bytes: `vol` and 17 digits.
pub(super) fn serial(export: &Export) -> String {
    export.volume.to_string().replace('-', "")
}

/// The number of a target in tgtd, above 0. Made of the name alone, so that it never passes to another target: a
/// login may be between its checks and its session while its target is removed.
pub(super) fn target_number(id: ExportId) -> i32 {
    // FNV-1a, 64 bits; the number needs no secrecy and must be the same in every build of the agent.
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = target_name(id).bytes().fold(0xcbf2_9ce4_8422_2325, step);
    let folded = (hash ^ (hash >> 32)) & 0x7fff_ffff;
    i32::try_from(folded).unwrap_or(i32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use tepui_types::agent::iscsi_initiator;

    use super::*;

    #[test]
    fn the_number_of_a_target_is_its_names_and_no_others() {
        let id = ExportId::from_random;
        assert_eq!(target_name(id(3)), "iqn.2026-11.cloud.tepui:export-00000000000000003");
        assert_eq!(iscsi_initiator(id(3)), "iqn.2026-11.cloud.tepui.host:export-00000000000000003");
        // An agent of another version finds the same.
        assert_eq!(target_number(id(3)), 2_069_317_075);
        let numbers: BTreeSet<_> = (0..2000).map(|number| target_number(id(number))).collect();
        assert!(numbers.len() == 2000 && numbers.iter().all(|number| *number > 0));
    }
}
