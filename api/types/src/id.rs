//! Typed ids in the form EC2 clients expect: a prefix and 17 hexadecimal digits (68 bits), for
//! example `i-0a1b2c3d4e5f60718`. Every resource, also those EC2 does not know, has this one form,
//! so that an operator can tell from an id alone what it names.
//!
//! Ids are made from random bits that the caller passes in; this crate has no source of chance.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The random part of an id has 17 hexadecimal digits, as AWS's "longer ids" have.
const HEX_DIGITS: usize = 17;
const MASK: u128 = (1 << (4 * HEX_DIGITS)) - 1;

/// Why a text is not an id of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{value}' is not {expected}")]
pub struct ParseIdError {
    /// The text as it was given, cut to a printable length.
    pub value: String,
    /// What was expected, with an example.
    pub expected: String,
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u128);

        impl $name {
            /// What the text form begins with, without the hyphen.
            pub const PREFIX: &'static str = $prefix;

            /// Takes the lowest 68 bits of `random`.
            pub const fn from_random(random: u128) -> Self {
                Self(random & MASK)
            }

            /// The 68 bits, for names derived from the id.
            pub const fn bits(self) -> u128 {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_id(f, $prefix, self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                parse_bits(text, $prefix).map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({
                    "type": "string",
                    "pattern": concat!("^", $prefix, "-[0-9a-f]{17}$"),
                })
            }
        }
    )*};
}

/// One write of a text made on the stack: large replies are mostly ids.
fn write_id(f: &mut fmt::Formatter<'_>, prefix: &str, bits: u128) -> fmt::Result {
    let mut text = [0; 32];
    let hyphen = prefix.len();
    // Nine bytes are one digit more than an id has. That digit is 0 and makes room for the hyphen.
    HEXLOWER.encode_mut(&bits.to_be_bytes()[7..], &mut text[hyphen..=hyphen + HEX_DIGITS]);
    text[..hyphen].copy_from_slice(prefix.as_bytes());
    text[hyphen] = b'-';
    f.write_str(std::str::from_utf8(&text[..=hyphen + HEX_DIGITS]).map_err(|_| fmt::Error)?)
}

fn parse_bits(text: &str, prefix: &str) -> Result<u128, ParseIdError> {
    text.strip_prefix(prefix)
        .and_then(|rest| rest.strip_prefix('-'))
        .filter(|hex| hex.len() == HEX_DIGITS)
        .filter(|hex| hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
        .and_then(|hex| u128::from_str_radix(hex, 16).ok())
        .ok_or_else(|| ParseIdError {
            value: text.chars().take(64).collect(),
            expected: format!("an id like {prefix}-0123456789abcdef0"),
        })
}

ids! {
    /// A virtual machine as its user sees it.
    InstanceId = "i";
    /// One incarnation of an instance on one node; names the domain, its disks and its fencing key.
    PlacementId = "p";
    /// A hypervisor host.
    NodeId = "node";
    /// The instances that one `RunInstances` call made.
    ReservationId = "r";
    /// A bootable image.
    ImageId = "ami";
    /// One import of an image.
    ImportTaskId = "import-ami";
    /// A disk. Root disks are volumes too.
    VolumeId = "vol";
    /// The state of a volume at one instant.
    SnapshotId = "snap";
    /// One sending of a snapshot's content.
    SendingId = "send";
    /// A rule by which snapshots are taken again and again.
    SnapshotScheduleId = "sched";
    /// One test of a snapshot. None comes back once it is over.
    SnapshotTestId = "test";
    /// One holding still of a guest's file systems, for snapshots. None comes back once it is over.
    FreezeId = "freeze";
    /// Storage of one host that volumes are made in.
    PoolId = "pool";
    /// A volume's place in an instance.
    AttachmentId = "att";
    /// One incarnation of an attachment on one node: names its account, initiator and target or export. None comes
    /// back once it is gone.
    ExportId = "export";
    /// An SSH key pair.
    KeyPairId = "key";
    /// A virtual private cloud: one address space of one project.
    VpcId = "vpc";
    /// A range of a VPC.
    SubnetId = "subnet";
    /// A security group.
    SecurityGroupId = "sg";
    /// One rule of a security group.
    SecurityGroupRuleId = "sgr";
    /// A network interface of an instance.
    NetworkInterfaceId = "eni";
    /// A placement group.
    PlacementGroupId = "pg";
    /// A person or a program that holds access keys.
    UserId = "user";
}

/// A project: what EC2 calls an account. Twelve decimal digits, as AWS account ids have.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProjectId(u64);

impl ProjectId {
    const LIMIT: u64 = 1_000_000_000_000;

    /// Maps random bits onto the ids from 100000000000 to 999999999999; a leading zero would be
    /// lost by every spreadsheet that touches it.
    pub const fn from_random(random: u128) -> Self {
        const LOWEST: u64 = ProjectId::LIMIT / 10;
        Self(LOWEST + (random % (Self::LIMIT - LOWEST) as u128) as u64)
    }

    /// The id as a number below 10^12.
    pub const fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for ProjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:012}", self.0)
    }
}

impl fmt::Debug for ProjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ProjectId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        Some(text)
            .filter(|digits| digits.len() == 12 && digits.bytes().all(|b| b.is_ascii_digit()))
            .and_then(|digits| digits.parse().ok())
            .map(Self)
            .ok_or_else(|| ParseIdError {
                value: text.chars().take(64).collect(),
                expected: "a project id of twelve digits".into(),
            })
    }
}

impl Serialize for ProjectId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ProjectId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for ProjectId {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ProjectId".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^[0-9]{12}$" })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn text_form_round_trips(random: u128) {
            let id = InstanceId::from_random(random);
            prop_assert_eq!(id.to_string().parse(), Ok(id));
            let project = ProjectId::from_random(random);
            prop_assert_eq!(project.to_string().parse(), Ok(project));
            prop_assert_eq!(project.to_string().len(), 12);
        }

        #[test]
        fn any_text_parses_or_is_refused_without_panic(text: String) {
            if let Ok(id) = text.parse::<VolumeId>() {
                prop_assert_eq!(id.to_string(), text);
            }
        }
    }

    #[test]
    fn foreign_prefix_short_and_upper_case_are_refused() {
        for text in ["vol-0123456789abcdef0", "i-0123456789abcdef", "i-0123456789ABCDEF0", "i-", ""] {
            let error = text.parse::<InstanceId>().unwrap_err();
            assert_eq!(error.to_string(), format!("'{text}' is not an id like i-0123456789abcdef0"));
        }
    }
}
