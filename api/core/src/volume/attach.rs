//! Attaching and detaching.

use data_encoding::BASE32_NOPAD;
use tepui_db::model::AttachmentState;
use tepui_db::{AttachOutcome, DetachOutcome, Detachment, NewAttachment};
use tepui_types::{AttachmentId, ExportId, InstanceId, VolumeId};

use super::{AttachmentView, in_use};
use crate::failpoint::pass;
use crate::{Caller, Cloud, Error, Kind, limits};

/// Random bytes of a secret: CHAP's must have 96 bits where they cross a network without IPsec (RFC 7143, §9.2.1).
/// In base32 they are 24 characters.
const SECRET_BYTES: usize = 15;
const NONCE_BYTES: usize = 24;

/// A volume to be attached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachVolume {
    /// The volume.
    pub volume_id: VolumeId,
    /// The instance.
    pub instance_id: InstanceId,
    /// The client's name of the disk, for example `/dev/sdf`.
    pub device: String,
}

/// A volume to be detached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DetachVolume {
    /// The volume.
    pub volume_id: VolumeId,
    /// Only from this instance; needed where several have it.
    pub instance_id: Option<InstanceId>,
    /// Only from this place.
    pub device: Option<String>,
    /// Ask the guest once more, for a while at most, and then cut it off.
    pub force: bool,
}

impl Cloud {
    /// Attaches a volume to an instance that is not on its way to its end: one that nobody else has, or one that is read
    /// only.
    ///
    /// # Errors
    /// `NotFound`, `WrongState`, `InUse`, `InvalidInput` for the device, `LimitExceeded`.
    pub async fn attach_volume(
        &self,
        caller: &Caller,
        request: AttachVolume,
    ) -> Result<AttachmentView, Error> {
        let device = device_name(&request.device)?;
        let export_id = ExportId::from_random(self.random());
        let new = NewAttachment {
            id: AttachmentId::from_random(self.random()),
            project_id: caller.project,
            volume_id: request.volume_id,
            instance_id: request.instance_id,
            device,
            delete_on_termination: false,
            export_id,
            wrapped_secret: self.new_secret(export_id)?,
            most: limits::VOLUMES_PER_INSTANCE,
            most_instances: limits::INSTANCES_PER_VOLUME,
            is_root: false,
        };
        let (now, resources) = (self.now(), format!("{} {}", new.volume_id, new.instance_id));
        let node = self
            .commit(caller, "AttachVolume", resources, async {
                match self.db.attach_volume(&new, now).await? {
                    AttachOutcome::Attaching(node) => Ok(node),
                    AttachOutcome::VolumeMissing => {
                        Err(match self.root_disk_of(caller, new.volume_id).await? {
                            Some(instance) => in_use(new.volume_id, instance),
                            None => Error::not_found(Kind::Volume, new.volume_id),
                        })
                    }
                    refused => Err(refusal(&new, refused)),
                }
            })
            .await?;
        let passed = pass("core::attach_volume::committed")?;
        self.wakes.wake(passed, [node]);
        pass("core::attach_volume::woken")?;
        Ok(AttachmentView {
            volume_id: new.volume_id,
            instance_id: new.instance_id,
            device: new.device,
            state: AttachmentState::Attaching,
            since: now,
            delete_on_termination: false,
        })
    }

    /// The password of an export's account, under the key file.
    pub(crate) fn new_secret(&self, export: ExportId) -> Result<Vec<u8>, Error> {
        let (mut secret, mut nonce) = ([0; SECRET_BYTES], [0; NONCE_BYTES]);
        self.entropy.fill(&mut secret);
        self.entropy.fill(&mut nonce);
        let secret = BASE32_NOPAD.encode(&secret);
        self.keyring.wrap(&export.to_string(), secret.as_bytes(), nonce).map_err(Error::internal)
    }

    /// The place that a detachment names. A root disk's is none for volumes, and no mistake.
    async fn detached_device(
        &self,
        caller: &Caller,
        request: &DetachVolume,
    ) -> Result<Option<String>, Error> {
        let Some(named) = &request.device else { return Ok(None) };
        match device_name(named) {
            Ok(device) => Ok(Some(device)),
            Err(error) => {
                let places = self.volume(caller, request.volume_id).await?.attachments;
                let place = places.into_iter().find(|place| place.device == *named);
                place.map(|place| Some(place.device)).ok_or(error)
            }
        }
    }

    /// Detaches a volume from one instance. Safe to repeat; `force` counts also when it was asked for without before.
    ///
    /// # Errors
    /// `NotFound` for the volume, `NotAttached`, `RootDisk`, `InvalidInput` where several instances have it and none is
    /// named.
    pub async fn detach_volume(
        &self,
        caller: &Caller,
        request: DetachVolume,
    ) -> Result<AttachmentView, Error> {
        let what = Detachment {
            project_id: caller.project,
            volume_id: request.volume_id,
            instance_id: request.instance_id,
            device: self.detached_device(caller, &request).await?,
            force: request.force,
        };
        let (view, nodes) = self
            .commit(caller, "DetachVolume", request.volume_id.to_string(), async {
                match self.db.detach_volume(&what).await? {
                    DetachOutcome::Detaching { instance_id, device, since, delete_on_termination, nodes } => {
                        let (volume_id, state) = (what.volume_id, AttachmentState::Detaching);
                        let view = AttachmentView {
                            volume_id,
                            instance_id,
                            device,
                            state,
                            since,
                            delete_on_termination,
                        };
                        Ok((view, nodes))
                    }
                    DetachOutcome::VolumeMissing => {
                        Err(match self.root_disk_of(caller, what.volume_id).await? {
                            Some(_) => Error::local_root(what.volume_id, "detached"),
                            None => Error::not_found(Kind::Volume, what.volume_id),
                        })
                    }
                    DetachOutcome::Root => Err(Error::RootDisk {
                        id: what.volume_id.to_string(),
                        what: "detached",
                        why: "its instance boots from it",
                    }),
                    DetachOutcome::Several(count) => {
                        let rule = format!("is needed: {count} instances have {}", what.volume_id);
                        Err(Error::invalid("instance", "", rule))
                    }
                    DetachOutcome::NotAttached => Err(Error::NotAttached { id: what.volume_id.to_string() }),
                }
            })
            .await?;
        let passed = pass("core::detach_volume::committed")?;
        self.wakes.wake(passed, nodes);
        pass("core::detach_volume::woken")?;
        Ok(view)
    }
}

/// Lets the names pass under which EC2 clients attach data volumes, with or without the folder (EC2 user guide,
/// "Device names on Linux instances"); `a` is the root disk's place.
pub(crate) fn device_name(text: &str) -> Result<String, Error> {
    let name = text.strip_prefix("/dev/").unwrap_or(text);
    let letter = ["sd", "xvd", "vd"].iter().find_map(|prefix| name.strip_prefix(prefix));
    let fits = letter.is_some_and(|rest| matches!(rest.as_bytes(), [b'b'..=b'z']));
    match fits {
        true => Ok(format!("/dev/{name}")),
        false => Err(Error::invalid("device", text, "is /dev/sdb to /dev/sdz, or the same with xvd or vd")),
    }
}

fn refusal(new: &NewAttachment, outcome: AttachOutcome) -> Error {
    let state = |id: String, state: &str, wanted| Error::WrongState { id, state: state.to_owned(), wanted };
    match outcome {
        AttachOutcome::VolumeMissing => Error::not_found(Kind::Volume, new.volume_id),
        AttachOutcome::InstanceMissing => Error::not_found(Kind::Instance, new.instance_id),
        AttachOutcome::VolumeState(found) => state(new.volume_id.to_string(), found.name(), "available"),
        AttachOutcome::Moving => Error::Moving { id: new.volume_id.to_string() },
        AttachOutcome::InstanceState(found) => {
            state(new.instance_id.to_string(), found.name(), "running or stopped")
        }
        AttachOutcome::InUse(instance) => in_use(new.volume_id, instance),
        AttachOutcome::TooManyInstances => Error::LimitExceeded {
            what: "instances of a read-only volume",
            limit: usize::try_from(new.most_instances).unwrap_or(usize::MAX),
        },
        AttachOutcome::DeviceTaken => {
            Error::invalid("device", &new.device, "is another disk's of the instance: take a free one")
        }
        AttachOutcome::TooMany => Error::LimitExceeded {
            what: "volumes of an instance",
            limit: usize::try_from(new.most).unwrap_or(usize::MAX),
        },
        AttachOutcome::OtherNode(node) => {
            let rule = format!("is local to {node}, and the instance is on another node");
            Error::invalid("volume", new.volume_id, rule)
        }
        AttachOutcome::Attaching(_) => Error::internal("an attachment that was written was refused"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_data_disks_pass_and_no_others() {
        for (text, name) in [("/dev/sdf", "/dev/sdf"), ("xvdb", "/dev/xvdb"), ("/dev/vdz", "/dev/vdz")] {
            assert_eq!(device_name(text).unwrap(), name);
        }
        for text in [
            "",
            "/dev/sda",
            "/dev/sda1",
            "/dev/sdf1",
            "sdF",
            "/dev/nvme1n1",
            "/dev/../sdf",
            "sdff",
            "/dev/sd",
        ] {
            let error = device_name(text).unwrap_err();
            assert!(matches!(error, Error::InvalidInput { field: "device", .. }), "{text}");
        }
    }
}
