//! How the domain's values are stored. Each has one form; a value that does not have it is damage.

use std::fmt;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use jiff::Timestamp;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, Value, ValueRef};
use tepui_db::model::{
    AttachmentState, ExportState, FreezeStage, ImageState, ImportState, InstanceState, KeyKind, MoveStage,
    NodeState, PlacementStrategy, Role, RulePeer, ShutdownBehavior, SnapshotFreeze, SnapshotState,
    VolumeState,
};
use tepui_types::agent::{Direction, FreezeKind, PoolBackend, Protocol, StoredId, VolumeSource};
use tepui_types::{
    AttachmentId, Digest, ExportId, FilerFolder, FreezeId, Generation, ImageId, ImportTaskId, InstanceId,
    KeyPairId, MacAddress, NetworkInterfaceId, NodeId, PlacementGroupId, PlacementId, PoolId, ProjectId,
    ReservationId, SecurityGroupId, SecurityGroupRuleId, SnapshotId, SnapshotScheduleId, SnapshotTestId,
    SubnetId, UserId, VolumeId, VpcId,
};
use uuid::Uuid;

/// A type with a stored form.
pub(crate) trait Stored: Sized {
    /// The form in the database.
    fn store(&self) -> Result<Value, Unstorable>;
    /// The value of a stored form.
    fn load(value: ValueRef<'_>) -> FromSqlResult<Self>;
}

/// A number is larger than SQLite's integers.
#[derive(Debug)]
pub(crate) struct Unstorable;

impl fmt::Display for Unstorable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the number does not fit the database")
    }
}

impl std::error::Error for Unstorable {}

/// Makes a [`Stored`] value a parameter or a column of SQLite.
pub(crate) struct S<T>(pub(crate) T);

impl<T: Stored> ToSql for S<T> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let value = self.0.store().map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
        Ok(ToSqlOutput::Owned(value))
    }
}

impl<T: Stored> FromSql for S<T> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        T::load(value).map(S)
    }
}

/// Bytes of a stored id: 68 bits.
pub(crate) const ID_BYTES: usize = 9;

/// The stored form of an id's bits.
pub(crate) fn id_bytes(bits: u128) -> [u8; ID_BYTES] {
    let mut bytes = [0; ID_BYTES];
    bytes.copy_from_slice(&bits.to_be_bytes()[16 - ID_BYTES..]);
    bytes
}

fn id_bits(bytes: &[u8]) -> Option<u128> {
    let mut wide = [0; 16];
    wide[16 - ID_BYTES..].copy_from_slice(bytes.try_into().ok().filter(|b: &&[u8; ID_BYTES]| b[0] < 0x10)?);
    Some(u128::from_be_bytes(wide))
}

/// The group ids of an interface, one behind the other.
pub(crate) fn pack_groups(groups: &[SecurityGroupId]) -> Vec<u8> {
    groups.iter().flat_map(|group| id_bytes(group.bits())).collect()
}

/// The reverse of [`pack_groups`].
pub(crate) fn unpack_groups(bytes: &[u8]) -> FromSqlResult<Vec<SecurityGroupId>> {
    bytes
        .chunks(ID_BYTES)
        .map(|id| id_bits(id).map(SecurityGroupId::from_random).ok_or(FromSqlError::InvalidType))
        .collect()
}

macro_rules! ids {
    ($($id:ident)*) => {$(
        impl Stored for $id {
            fn store(&self) -> Result<Value, Unstorable> {
                Ok(Value::Blob(id_bytes(self.bits()).to_vec()))
            }

            fn load(value: ValueRef<'_>) -> FromSqlResult<Self> {
                id_bits(value.as_blob()?).map($id::from_random).ok_or(FromSqlError::InvalidType)
            }
        }
    )*};
}

ids! {
    AttachmentId ExportId FreezeId ImageId ImportTaskId InstanceId KeyPairId NetworkInterfaceId NodeId PlacementGroupId
    PlacementId PoolId ReservationId SecurityGroupId SecurityGroupRuleId SnapshotId SnapshotScheduleId SnapshotTestId SubnetId
    UserId VolumeId VpcId
}

macro_rules! texts {
    ($($type:ident)*) => {$(
        impl Stored for $type {
            fn store(&self) -> Result<Value, Unstorable> {
                Ok(Value::Text(self.to_string()))
            }

            fn load(value: ValueRef<'_>) -> FromSqlResult<Self> {
                value.as_str()?.parse().map_err(|_| FromSqlError::InvalidType)
            }
        }
    )*};
}

texts! { FilerFolder StoredId }

macro_rules! names {
    ($($type:ident { $($variant:ident = $name:literal)* })*) => {$(
        impl Stored for $type {
            fn store(&self) -> Result<Value, Unstorable> {
                Ok(Value::Text(match self { $($type::$variant => $name,)* }.into()))
            }

            fn load(value: ValueRef<'_>) -> FromSqlResult<Self> {
                match value.as_str()? {
                    $($name => Ok($type::$variant),)*
                    _ => Err(FromSqlError::InvalidType),
                }
            }
        }
    )*};
}

names! {
    InstanceState {
        Pending = "pending" Running = "running" Stopping = "stopping" Stopped = "stopped"
        ShuttingDown = "shutting-down" Terminated = "terminated"
    }
    ShutdownBehavior { Stop = "stop" Terminate = "terminate" }
    PlacementStrategy { Spread = "spread" Cluster = "cluster" }
    NodeState { Up = "up" Unreachable = "unreachable" Expunged = "expunged" }
    Role { Administrator = "administrator" Member = "member" }
    KeyKind { Ed25519 = "ed25519" Rsa = "rsa" }
    ImageState { Available = "available" Deregistered = "deregistered" }
    ImportState { Active = "active" Completed = "completed" Failed = "failed" }
    Direction { Ingress = "ingress" Egress = "egress" }
    PoolBackend { Iscsi = "iscsi" Nfs = "nfs" Local = "local" }
    VolumeState { Creating = "creating" Available = "available" Deleting = "deleting" Error = "error" }
    AttachmentState { Attaching = "attaching" Attached = "attached" Detaching = "detaching" }
    ExportState { Making = "making" Open = "open" Closing = "closing" Closed = "closed" }
    SnapshotFreeze { Waiting = "waiting" Taking = "taking" Taken = "taken" Held = "held" }
    MoveStage { Copying = "copying" Leaving = "leaving" Arriving = "arriving" Failed = "failed" }
    FreezeKind { FileSystems = "file_systems" Vcpus = "vcpus" }
    FreezeStage { Freezing = "freezing" Frozen = "frozen" Thawing = "thawing" }
    SnapshotState { Pending = "pending" Completed = "completed" Deleting = "deleting" Error = "error" }
}

impl Stored for ProjectId {
    fn store(&self) -> Result<Value, Unstorable> {
        self.number().store()
    }

    fn load(value: ValueRef<'_>) -> FromSqlResult<Self> {
        // Every id that was drawn is at least this, and drawing its distance from it gives it again:
        // much cheaper than a text for the thousands of rows of one answer.
        const LOWEST: u64 = 100_000_000_000;
        let number = u64::load(value)?;
        match number.checked_sub(LOWEST) {
            Some(distance) if number < 10 * LOWEST => Ok(Self::from_random(distance.into())),
            Some(_) | None => format!("{number:012}").parse().map_err(FromSqlError::other),
        }
    }
}

impl Stored for u64 {
    fn store(&self) -> Result<Value, Unstorable> {
        i64::try_from(*self).map(Value::Integer).map_err(|_| Unstorable)
    }

    fn load(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let number = value.as_i64()?;
        u64::try_from(number).map_err(|_| FromSqlError::OutOfRange(number))
    }
}

impl Stored for Generation {
    fn store(&self) -> Result<Value, Unstorable> {
        self.0.store()
    }

    fn load(value: ValueRef<'_>) -> FromSqlResult<Self> {
        u64::load(value).map(Self)
    }
}

impl Stored for Timestamp {
    fn store(&self) -> Result<Value, Unstorable> {
        i64::try_from(self.as_nanosecond()).map(Value::Integer).map_err(|_| Unstorable)
    }

    fn load(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Timestamp::from_nanosecond(value.as_i64()?.into()).map_err(FromSqlError::other)
    }
}

impl Stored for Ipv4Addr {
    fn store(&self) -> Result<Value, Unstorable> {
        Ok(Value::Integer(self.to_bits().into()))
    }

    fn load(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let number = value.as_i64()?;
        u32::try_from(number).map(Self::from_bits).map_err(|_| FromSqlError::OutOfRange(number))
    }
}

impl Stored for Ipv4Net {
    fn store(&self) -> Result<Value, Unstorable> {
        Ok(Value::Text(self.to_string()))
    }

    fn load(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_str()?.parse().map_err(FromSqlError::other)
    }
}

impl Stored for MacAddress {
    fn store(&self) -> Result<Value, Unstorable> {
        Ok(Value::Blob(self.octets().to_vec()))
    }

    fn load(value: ValueRef<'_>) -> FromSqlResult<Self> {
        array(value).map(Self::from_octets)
    }
}

impl Stored for Digest {
    fn store(&self) -> Result<Value, Unstorable> {
        Ok(Value::Blob(self.as_bytes().to_vec()))
    }

    fn load(value: ValueRef<'_>) -> FromSqlResult<Self> {
        array(value).map(Self::from_bytes)
    }
}

impl Stored for Uuid {
    fn store(&self) -> Result<Value, Unstorable> {
        Ok(Value::Blob(self.as_bytes().to_vec()))
    }

    fn load(value: ValueRef<'_>) -> FromSqlResult<Self> {
        array(value).map(Self::from_bytes)
    }
}

macro_rules! json {
    ($($type:ident)*) => {$(
        impl Stored for $type {
            fn store(&self) -> Result<Value, Unstorable> {
                serde_json::to_string(self).map(Value::Text).map_err(|_| Unstorable)
            }

            fn load(value: ValueRef<'_>) -> FromSqlResult<Self> {
                serde_json::from_str(value.as_str()?).map_err(FromSqlError::other)
            }
        }
    )*};
}

json! { Protocol VolumeSource }

fn array<const N: usize>(value: ValueRef<'_>) -> FromSqlResult<[u8; N]> {
    value.as_blob()?.try_into().map_err(|_| FromSqlError::InvalidType)
}

/// The two columns of a rule's peer, of which one is set.
pub(crate) fn peer_columns(peer: RulePeer) -> (Option<S<Ipv4Net>>, Option<S<SecurityGroupId>>) {
    match peer {
        RulePeer::Cidr(cidr) => (Some(S(cidr)), None),
        RulePeer::Group(group) => (None, Some(S(group))),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ids_keep_their_bits_and_their_order(a: u128, b: u128) {
            let (a, b) = (InstanceId::from_random(a), InstanceId::from_random(b));
            prop_assert_eq!(id_bits(&id_bytes(a.bits())), Some(a.bits()));
            prop_assert_eq!(id_bytes(a.bits()).cmp(&id_bytes(b.bits())), a.cmp(&b));
        }

        #[test]
        fn damaged_bytes_are_refused_without_panic(bytes: Vec<u8>) {
            let id = InstanceId::load(ValueRef::Blob(&bytes));
            prop_assert_eq!(id.is_ok(), bytes.len() == ID_BYTES && bytes[0] < 0x10);
        }
    }

    #[test]
    fn project_ids_load_as_they_were_stored() {
        for text in ["000000000007", "099999999999", "100000000000", "123456789012", "999999999999"] {
            let id: ProjectId = text.parse().unwrap();
            let number = i64::try_from(id.number()).unwrap();
            assert_eq!(ProjectId::load(ValueRef::Integer(number)).unwrap(), id);
        }
        assert!(ProjectId::load(ValueRef::Integer(1_000_000_000_000)).is_err());
    }

    #[test]
    fn a_number_beyond_sqlites_integers_is_refused() {
        assert!(u64::MAX.store().is_err());
        assert!(u64::load(ValueRef::Integer(-1)).is_err());
    }
}
