//! Instances as they are shown.

use std::collections::HashMap;

use tepui_core::{Cloud, InstanceView};
use tepui_db::model::{self, Image, Role};
use tepui_types::rest::{Health, Instance, InstanceState, ShutdownBehavior};
use tepui_types::{ImageId, InstanceId};

use super::routes::Call;
use crate::failure::Failure;

/// Shows instances to one caller.
pub(super) struct Viewer<'c> {
    cloud: &'c Cloud,
    images: HashMap<ImageId, Image>,
    shows_nodes: bool,
}

impl<'c> Viewer<'c> {
    pub(super) async fn new(call: &'c Call) -> Result<Self, Failure> {
        let images = call.cloud().images(&call.caller).await?;
        Ok(Self {
            cloud: call.cloud(),
            images: images.into_iter().map(|image| (image.id, image)).collect(),
            shows_nodes: call.caller.role == Role::Administrator,
        })
    }

    pub(super) fn show(&self, view: InstanceView) -> Instance {
        let record = view.record;
        let instance = &record.instance;
        let image = self.images.get(&instance.image_id);
        let interface = record.interface.as_ref();
        let placement = record.placement.as_ref();
        let local = record.root_volume.as_ref().map(|volume| (volume.id, volume.size_gib));
        let root = local.or_else(|| record.root_attachment().map(|root| (root.volume_id, root.size_gib)));
        Instance {
            id: instance.id,
            name: record.tags.get("Name").cloned(),
            state: state(instance.state),
            state_reason: instance.state_reason.as_ref().map(|reason| reason.message.clone()),
            state_since: instance.state_since,
            health: health(self.cloud.health(&record)),
            observed: placement.and_then(|placement| placement.observed.clone()),
            reservation_id: instance.reservation_id,
            image_id: instance.image_id,
            image_name: image.map(|image| image.name.clone()),
            login_user: image.map(|image| image.login_user.clone()),
            instance_type: instance.instance_type.clone(),
            vcpus: instance.vcpus,
            memory_mib: instance.memory_mib,
            key_name: instance.key_name.clone(),
            private_ip: interface.map(|interface| interface.private_ip),
            public_ip: interface.and_then(|interface| interface.public_ip),
            interface_id: interface.map(|interface| interface.id),
            group_ids: view.groups.into_iter().map(|(id, _)| id).collect(),
            vpc_id: instance.vpc_id,
            subnet_id: instance.subnet_id,
            boots_from_volume: instance.volume_root,
            root_volume_id: root.map(|(id, _)| id),
            root_gib: root.map(|(_, gib)| gib),
            scratch_gib: some(instance.scratch.scratch_gib),
            swap_gib: some(instance.scratch.swap_gib),
            placement_id: placement.map(|placement| placement.id),
            node_id: placement.filter(|_| self.shows_nodes).map(|placement| placement.node_id),
            shutdown_behavior: shown_behavior(instance.shutdown_behavior),
            disable_api_termination: instance.disable_api_termination,
            disable_api_stop: instance.disable_api_stop,
            tags: record.tags.clone(),
            launched_at: instance.launched_at,
        }
    }
}

/// The instance of this id, as the caller sees it now.
pub(super) async fn shown(call: &Call, id: InstanceId) -> Result<Instance, Failure> {
    let view = call.cloud().instance(&call.caller, id).await?;
    Ok(Viewer::new(call).await?.show(view))
}

/// A disk that there is.
pub(super) fn some(gib: u32) -> Option<u32> {
    (gib > 0).then_some(gib)
}

pub(super) fn state(state: model::InstanceState) -> InstanceState {
    match state {
        model::InstanceState::Pending => InstanceState::Pending,
        model::InstanceState::Running => InstanceState::Running,
        model::InstanceState::Stopping => InstanceState::Stopping,
        model::InstanceState::Stopped => InstanceState::Stopped,
        model::InstanceState::ShuttingDown => InstanceState::ShuttingDown,
        model::InstanceState::Terminated => InstanceState::Terminated,
    }
}

fn health(health: tepui_core::Health) -> Health {
    match health {
        tepui_core::Health::Ok | tepui_core::Health::Initializing | tepui_core::Health::NotApplicable => {
            Health::Ok
        }
        tepui_core::Health::Unknown => Health::Unknown,
        tepui_core::Health::Impaired => Health::Impaired,
    }
}

fn shown_behavior(behavior: model::ShutdownBehavior) -> ShutdownBehavior {
    match behavior {
        model::ShutdownBehavior::Stop => ShutdownBehavior::Stop,
        model::ShutdownBehavior::Terminate => ShutdownBehavior::Terminate,
    }
}

pub(super) fn stored_behavior(behavior: ShutdownBehavior) -> model::ShutdownBehavior {
    match behavior {
        ShutdownBehavior::Stop => model::ShutdownBehavior::Stop,
        ShutdownBehavior::Terminate => model::ShutdownBehavior::Terminate,
    }
}
