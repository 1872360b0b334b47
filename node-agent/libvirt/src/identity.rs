//! Names and UUIDs derived from a placement id.

use sha2::{Digest, Sha256};
use tepui_types::PlacementId;
use uuid::{Builder, Uuid};

const NAME_PREFIX: &str = "tepui-";

/// The domain's name: `tepui-p-…`.
pub fn domain_name(id: PlacementId) -> String {
    format!("{NAME_PREFIX}{id}")
}

/// The placement a domain belongs to; none if the domain is not ours.
pub fn placement_of(name: &str) -> Option<PlacementId> {
    name.strip_prefix(NAME_PREFIX)?.parse().ok()
}

/// The domain's UUID, which is the guest's SMBIOS system UUID and serial. It begins with `ec2`:
/// cloud-init takes a guest for an EC2 instance only then, and only if both are equal.
///
/// It comes from the placement and not from the instance, so that what is left of an earlier
/// placement can never stand in the way of a new one on the same host.
pub fn system_uuid(id: PlacementId) -> Uuid {
    let digest: [u8; 32] = Sha256::digest(id.to_string()).into();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    bytes[0] = 0xec;
    bytes[1] = 0x20 | (bytes[1] & 0x0f);
    Builder::from_custom_bytes(bytes).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_their_placement_and_foreign_ones_do_not() {
        let id = PlacementId::from_random(7);
        assert_eq!(placement_of(&domain_name(id)), Some(id));
        for foreign in ["debian", "tepui-", "tepui-i-00000000000000007", "p-00000000000000007", ""] {
            assert_eq!(placement_of(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn system_uuids_begin_with_ec2_and_differ() {
        let [one, two] = [1, 2].map(|n| system_uuid(PlacementId::from_random(n)).to_string());
        assert!(one.starts_with("ec2") && two.starts_with("ec2"), "{one} {two}");
        assert_ne!(one, two);
    }
}
