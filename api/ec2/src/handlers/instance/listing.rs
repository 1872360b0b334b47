//! The reply of `DescribeInstances`, the one that grows to megabytes: each instance is shaped when it
//! is written, and its shape is gone before the next one's.

use std::sync::Arc;

use tepui_core::{Cloud, InstanceView};

use super::describe::reservation;
use super::view::shape;
use crate::generated::GroupIdentifier;
use crate::wire::{Content, Text, Write as _, Xml};

/// Instances in the order in which they are shown.
pub(crate) struct InstanceListing {
    cloud: Arc<Cloud>,
    views: Vec<InstanceView>,
    next_token: Option<Text>,
    /// How many are written.
    written: usize,
}

impl InstanceListing {
    pub(super) fn new(cloud: &Arc<Cloud>, views: Vec<InstanceView>, next_token: Option<Text>) -> Self {
        Self { cloud: Arc::clone(cloud), views, next_token, written: 0 }
    }

    /// Writes the instance at `index`, with the beginning or the end of its reservation where it is
    /// the first or the last of those that follow each other in it.
    fn instance(&self, to: &mut Xml, index: usize) {
        let view = &self.views[index];
        let shares = |other: Option<&InstanceView>| {
            other.is_some_and(|o| o.record.instance.reservation_id == view.record.instance.reservation_id)
        };
        if !shares(index.checked_sub(1).and_then(|before| self.views.get(before))) {
            to.open("item");
            to.list::<GroupIdentifier>("groupSet", &[]);
            to.open("instancesSet");
        }
        to.element("item", |to| shape(&self.cloud, view).write(to));
        if !shares(self.views.get(index + 1)) {
            let around = reservation(view);
            to.close("instancesSet");
            to.optional("ownerId", &around.owner_id);
            to.optional("reservationId", &around.reservation_id);
            to.close("item");
        }
    }
}

impl Content for InstanceListing {
    fn write_part(&mut self, to: &mut Xml) -> bool {
        if self.written == 0 {
            to.optional("nextToken", &self.next_token);
            to.open("reservationSet");
        }
        while self.written < self.views.len() && !to.is_full() {
            self.instance(to, self.written);
            self.written += 1;
        }
        let more = self.written < self.views.len();
        if !more {
            to.close("reservationSet");
        }
        more
    }
}
