//! Fixed limits, each as AWS has it, and the checks that several resources share.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use crate::Error;

/// Raw bytes of user data (EC2 user guide, "Run commands at launch": 16 KB before base64).
pub(crate) const USER_DATA_BYTES: usize = 16 * 1024;
/// Tags of one resource (EC2 user guide, "Tag restrictions").
pub(crate) const TAGS: usize = 50;
/// Characters of a tag's key (EC2 API reference, "Tag").
pub(crate) const TAG_KEY: usize = 127;
/// Characters of a tag's value.
pub(crate) const TAG_VALUE: usize = 255;
/// Rules of a security group for each direction.
pub(crate) const RULES_PER_DIRECTION: usize = 60;
/// Characters of a name or description.
pub(crate) const NAME: usize = 255;
/// Characters of an idempotency token.
pub(crate) const CLIENT_TOKEN: usize = 64;
/// Instances of one `RunInstances`.
pub(crate) const INSTANCES_PER_LAUNCH: u32 = 1000;
/// Bytes of a stored console.
pub(crate) const CONSOLE_BYTES: usize = 64 * 1024;
/// Volumes of an instance beside its root disk: a domain has so many slots to spare.
pub(crate) const VOLUMES_PER_INSTANCE: u32 = 8;
/// Instances of a volume that is read only, as on AWS (EBS user guide, "Multi-Attach"): each is a target of its own on
/// the pool's host. A second volume of the same snapshot takes no room, and serves as many again.
pub(crate) const INSTANCES_PER_VOLUME: u32 = 16;
/// GiB of a disk, as the largest gp3 volume.
pub(crate) const DISK_GIB: u32 = 16_384;
/// From when a volume is given an end to that end: an hour, which is the shortest warning, to ten years.
pub(crate) const VOLUME_TTL_SECONDS: RangeInclusive<u32> = 3600..=3650 * 24 * 3600;
/// Schedules of snapshots of a project, as of policies on AWS (Amazon Data Lifecycle Manager, "Quotas").
pub(crate) const SCHEDULES: usize = 100;
/// From one of a schedule's times to the next.
pub(crate) const SCHEDULE_SECONDS: RangeInclusive<u32> = 60..=366 * 24 * 3600;
/// Snapshots of a volume that a schedule keeps, as on AWS.
pub(crate) const SCHEDULE_KEEPS: RangeInclusive<u32> = 1..=1000;
/// Projects that a snapshot is shared with by their ids, as on AWS (EC2 user guide, "Share a snapshot").
pub(crate) const SNAPSHOT_SHARES: usize = 1000;

/// Tags as they are given at a creation.
pub type Tags = BTreeMap<String, String>;

/// Lets a name pass that has 1 to `max` printable characters.
pub(crate) fn check_name(field: &'static str, name: &str, max: usize) -> Result<(), Error> {
    let length = name.chars().count();
    if length == 0 || length > max || name.chars().any(char::is_control) {
        return Err(Error::invalid(field, name, format!("has 1 to {max} printable characters")));
    }
    Ok(())
}

/// Lets a description pass: up to 255 printable characters.
pub(crate) fn check_description(text: &str) -> Result<(), Error> {
    if text.chars().count() > NAME || text.chars().any(char::is_control) {
        return Err(Error::invalid("description", text, format!("has up to {NAME} printable characters")));
    }
    Ok(())
}

/// Lets tags pass that AWS would.
///
/// # Errors
/// `InvalidInput`, `LimitExceeded`.
pub fn check_tags(tags: &Tags) -> Result<(), Error> {
    if tags.len() > TAGS {
        return Err(Error::LimitExceeded { what: "tags of a resource", limit: TAGS });
    }
    tags.iter().try_for_each(|(key, value)| check_tag(key, value))
}

fn check_tag(key: &str, value: &str) -> Result<(), Error> {
    let length = key.chars().count();
    if length == 0 || length > TAG_KEY {
        return Err(Error::invalid("tag key", key, format!("has 1 to {TAG_KEY} characters")));
    }
    if key.to_ascii_lowercase().starts_with("aws:") {
        return Err(Error::invalid("tag key", key, "must not begin with the reserved prefix aws:"));
    }
    if value.chars().count() > TAG_VALUE {
        return Err(Error::invalid("tag value", value, format!("has up to {TAG_VALUE} characters")));
    }
    Ok(())
}

/// Tags as the store takes them.
pub(crate) fn tag_pairs(tags: &Tags) -> Vec<(String, String)> {
    tags.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
}

pub(crate) fn check_between(
    field: &'static str,
    value: u32,
    range: RangeInclusive<u32>,
) -> Result<(), Error> {
    if range.contains(&value) {
        return Ok(());
    }
    Err(Error::invalid(field, value, format!("is {} to {}", range.start(), range.end())))
}
