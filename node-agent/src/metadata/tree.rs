//! The tree of names under `meta-data` and `dynamic`, as AWS documents it in "Instance metadata
//! categories". Only what is answered is listed: cloud-init reads every name a listing shows, and
//! retries each that fails.

use std::collections::BTreeMap;

use data_encoding::BASE64;
use tepui_types::agent::{InstanceMetadata, MetadataInterface, PlacementSpec};

/// A name's content.
pub(super) enum Entry {
    /// Text.
    Leaf(String),
    /// Further names.
    Dir(BTreeMap<String, Entry>),
    /// Further names, shown by another listing than their own (`public-keys/` shows `0=name`).
    Listed(String, BTreeMap<String, Entry>),
}

impl Entry {
    /// What a GET answers.
    pub(super) fn content(&self) -> String {
        match self {
            Self::Leaf(text) | Self::Listed(text, _) => text.clone(),
            Self::Dir(children) => {
                let names: Vec<String> = children.iter().map(|(name, child)| child.as_listed(name)).collect();
                names.join("\n")
            }
        }
    }

    fn as_listed(&self, name: &str) -> String {
        match self {
            Self::Leaf(_) => name.to_owned(),
            Self::Dir(_) | Self::Listed(..) => format!("{name}/"),
        }
    }

    /// Goes down one name.
    pub(super) fn child(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Leaf(_) => None,
            Self::Dir(children) | Self::Listed(_, children) => children.get(name),
        }
    }
}

fn leaf(text: impl ToString) -> Entry {
    Entry::Leaf(text.to_string())
}

fn dir<const N: usize>(entries: [(&str, Entry); N]) -> Entry {
    Entry::Dir(entries.into_iter().map(|(name, entry)| (name.to_owned(), entry)).collect())
}

/// Everything of one guest below a version, with `user-data` only when there is some.
pub(super) fn tree(spec: &PlacementSpec) -> Entry {
    dir([("meta-data", meta_data(spec)), ("dynamic", dynamic(&spec.metadata))])
}

/// The guest's user data as raw bytes.
pub(super) fn user_data(spec: &PlacementSpec) -> Option<Vec<u8>> {
    BASE64.decode(spec.user_data.as_deref()?.as_bytes()).ok()
}

fn dynamic(metadata: &InstanceMetadata) -> Entry {
    let identity = dir([
        ("document", leaf(&metadata.identity_document)),
        ("signature", leaf(&metadata.identity_signature)),
    ]);
    dir([("instance-identity", identity)])
}

fn meta_data(spec: &PlacementSpec) -> Entry {
    let metadata = &spec.metadata;
    let mut entries = BTreeMap::from([
        ("ami-id".to_owned(), leaf(metadata.image_id)),
        ("ami-launch-index".to_owned(), leaf(metadata.launch_index)),
        ("ami-manifest-path".to_owned(), leaf("(unknown)")),
        ("block-device-mapping".to_owned(), block_devices(metadata)),
        ("hostname".to_owned(), leaf(&metadata.local_hostname)),
        ("instance-action".to_owned(), leaf("none")),
        ("instance-id".to_owned(), leaf(spec.instance_id)),
        ("instance-life-cycle".to_owned(), leaf("on-demand")),
        ("instance-type".to_owned(), leaf(&metadata.instance_type)),
        ("local-hostname".to_owned(), leaf(&metadata.local_hostname)),
        ("placement".to_owned(), placement(metadata)),
        ("profile".to_owned(), leaf("default-hvm")),
        ("reservation-id".to_owned(), leaf(metadata.reservation_id)),
        ("security-groups".to_owned(), leaf(metadata.security_groups.join("\n"))),
        ("services".to_owned(), services()),
    ]);
    entries.extend(primary_interface(spec));
    entries.extend(public_keys(metadata).map(|keys| ("public-keys".to_owned(), keys)));
    entries.extend(tags(metadata).map(|tags| ("tags".to_owned(), tags)));
    Entry::Dir(entries)
}

fn block_devices(metadata: &InstanceMetadata) -> Entry {
    let devices = metadata.block_devices.iter();
    Entry::Dir(devices.map(|device| (device.name.clone(), leaf(&device.device))).collect())
}

fn placement(metadata: &InstanceMetadata) -> Entry {
    dir([("availability-zone", leaf(&metadata.availability_zone)), ("region", leaf(&metadata.region))])
}

/// AWS's values, which guests compare to tell that they run on an EC2.
fn services() -> Entry {
    dir([("domain", leaf("amazonaws.com")), ("partition", leaf("aws"))])
}

fn primary_interface(spec: &PlacementSpec) -> Vec<(String, Entry)> {
    let Some(primary) = spec.metadata.interfaces.first() else { return Vec::new() };
    let mut entries = vec![
        ("local-ipv4".to_owned(), leaf(primary.private_ip)),
        ("mac".to_owned(), leaf(primary.mac)),
        ("network".to_owned(), network(spec)),
    ];
    if let Some(public_ip) = primary.public_ip {
        entries.push(("public-ipv4".to_owned(), leaf(public_ip)));
        entries.push(("public-hostname".to_owned(), leaf(public_ip)));
    }
    entries
}

fn network(spec: &PlacementSpec) -> Entry {
    let interfaces = spec.metadata.interfaces.iter().enumerate();
    let macs = interfaces
        .map(|(number, interface)| (interface.mac.to_string(), network_interface(spec, number, interface)));
    dir([("interfaces", dir([("macs", Entry::Dir(macs.collect()))]))])
}

fn network_interface(spec: &PlacementSpec, number: usize, interface: &MetadataInterface) -> Entry {
    let groups: Vec<String> = interface.security_group_ids.iter().map(ToString::to_string).collect();
    let mut entries = BTreeMap::from([
        ("device-number".to_owned(), leaf(number)),
        ("interface-id".to_owned(), leaf(interface.id)),
        ("local-hostname".to_owned(), leaf(&spec.metadata.local_hostname)),
        ("local-ipv4s".to_owned(), leaf(interface.private_ip)),
        ("mac".to_owned(), leaf(interface.mac)),
        ("owner-id".to_owned(), leaf(spec.project_id)),
        ("security-group-ids".to_owned(), leaf(groups.join("\n"))),
        ("security-groups".to_owned(), leaf(spec.metadata.security_groups.join("\n"))),
        ("subnet-id".to_owned(), leaf(interface.subnet_id)),
        ("subnet-ipv4-cidr-block".to_owned(), leaf(interface.subnet_cidr)),
        ("vpc-id".to_owned(), leaf(interface.vpc_id)),
        ("vpc-ipv4-cidr-block".to_owned(), leaf(interface.vpc_cidr)),
        ("vpc-ipv4-cidr-blocks".to_owned(), leaf(interface.vpc_cidr)),
    ]);
    if let Some(public_ip) = interface.public_ip {
        let association = dir_of_one(&public_ip.to_string(), leaf(interface.private_ip));
        entries.insert("ipv4-associations".to_owned(), association);
        entries.insert("public-ipv4s".to_owned(), leaf(public_ip));
        entries.insert("public-hostname".to_owned(), leaf(public_ip));
    }
    Entry::Dir(entries)
}

fn dir_of_one(name: &str, entry: Entry) -> Entry {
    Entry::Dir(BTreeMap::from([(name.to_owned(), entry)]))
}

/// The listing shows `0=name`; each key is at `0/openssh-key`.
fn public_keys(metadata: &InstanceMetadata) -> Option<Entry> {
    if metadata.public_keys.is_empty() {
        return None;
    }
    let keys = metadata.public_keys.iter().enumerate();
    let (names, entries): (Vec<_>, BTreeMap<_, _>) = keys
        .map(|(number, (name, key))| {
            (format!("{number}={name}"), (number.to_string(), dir([("openssh-key", leaf(key))])))
        })
        .unzip();
    Some(Entry::Listed(names.join("\n"), entries))
}

fn tags(metadata: &InstanceMetadata) -> Option<Entry> {
    if !metadata.options.tags_enabled {
        return None;
    }
    let tags = metadata.tags.iter().filter(|(key, _)| can_be_a_name(key));
    let tags = tags.map(|(key, value)| (key.clone(), leaf(value))).collect();
    Some(dir([("instance", Entry::Dir(tags))]))
}

/// AWS shows tags here only if their keys are of `[0-9a-zA-Z\-_+=,.@:]` and are no special name.
fn can_be_a_name(key: &str) -> bool {
    !matches!(key, "" | "." | ".." | "_index")
        && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_+=,.@:".contains(&byte))
}
