//! Instances as they were written last.
//!
//! What an instance looks like follows from its view, and from nothing else that changes while the
//! process lives. A text is kept with the view that it was written from, and shown only for a view that
//! is equal: whoever changed what, it cannot be older than what it shows, and nothing of another project
//! is equal to it.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use tepui_core::InstanceView;
use tepui_types::InstanceId;

/// What all texts with their views may weigh, in bytes: about eleven thousand instances.
const LIMIT: usize = 48 << 20;
/// About what a view weighs without its user data.
const VIEW: usize = 1536;

/// Texts by instance.
#[derive(Default)]
pub(crate) struct Fragments(RwLock<Known>);

#[derive(Default)]
struct Known {
    fragments: HashMap<InstanceId, Fragment>,
    weight: usize,
}

struct Fragment {
    view: InstanceView,
    text: Arc<str>,
}

impl Fragments {
    /// The text of this very view.
    pub(super) fn get(&self, view: &InstanceView) -> Option<Arc<str>> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let fragment = known.fragments.get(&view.record.instance.id)?;
        // A record that did not change is the same one in memory, which is compared first.
        (fragment.view == *view).then(|| Arc::clone(&fragment.text))
    }

    /// Keeps what was written of a view. One that goes beyond the limit drives out all.
    pub(super) fn put(&self, view: &InstanceView, text: &Arc<str>) {
        let fragment = Fragment { view: view.clone(), text: Arc::clone(text) };
        let weight = fragment.weight();
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(old) = known.fragments.remove(&view.record.instance.id) {
            known.weight -= old.weight();
        }
        if known.weight + weight > LIMIT {
            *known = Known::default();
        }
        known.weight += weight;
        known.fragments.insert(view.record.instance.id, fragment);
    }
}

impl Fragment {
    fn weight(&self) -> usize {
        VIEW + self.text.len() + self.view.record.instance.user_data.as_ref().map_or(0, Vec::len)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use jiff::Timestamp;
    use tepui_db::model::{Instance, InstanceRecord, InstanceState, MetadataSettings, ShutdownBehavior};
    use tepui_types::{Digest, ImageId, ReservationId, SecurityGroupId, SubnetId, VpcId};

    use super::*;

    fn view(number: u128) -> InstanceView {
        let instance = Instance {
            id: InstanceId::from_random(number),
            project_id: "123456789012".parse().unwrap(),
            reservation_id: ReservationId::from_random(number),
            launch_index: 0,
            image_id: ImageId::from_random(number),
            image_digest: Digest::of(b""),
            image_bytes: 1,
            instance_type: "t3.nano".into(),
            vcpus: 1,
            memory_mib: 512,
            key_name: None,
            public_key: None,
            user_data: None,
            vpc_id: VpcId::from_random(number),
            subnet_id: SubnetId::from_random(number),
            placement_group_id: None,
            volume_root: false,
            scratch: tepui_types::agent::ScratchDisks::NONE,
            shutdown_behavior: ShutdownBehavior::Stop,
            disable_api_termination: false,
            disable_api_stop: false,
            metadata: MetadataSettings {
                enabled: true,
                tokens_required: true,
                hop_limit: 1,
                tags_enabled: false,
            },
            state: InstanceState::Running,
            state_reason: None,
            state_since: Timestamp::UNIX_EPOCH,
            start_seq: 1,
            reboot_seq: 0,
            force: false,
            launched_at: Timestamp::UNIX_EPOCH,
        };
        let record = InstanceRecord {
            instance,
            placement: None,
            interface: None,
            root_volume: None,
            attachments: Vec::new(),
            tags: BTreeMap::new(),
        };
        InstanceView { record: Arc::new(record), groups: Vec::new(), placement_group: None }
    }

    /// The view with its record changed.
    fn changed(view: &InstanceView, change: impl FnOnce(&mut InstanceRecord)) -> InstanceView {
        let mut record = InstanceRecord::clone(&view.record);
        change(&mut record);
        InstanceView { record: Arc::new(record), ..view.clone() }
    }

    #[test]
    fn a_text_is_shown_for_an_equal_view_and_for_no_other() {
        let fragments = Fragments::default();
        let shown = view(1);
        fragments.put(&shown, &"text".into());
        assert_eq!(fragments.get(&changed(&shown, |_| ())).as_deref(), Some("text"));
        let group = (SecurityGroupId::from_random(1), "web".into());
        for other in [
            view(2),
            changed(&shown, |record| record.instance.state = InstanceState::Stopped),
            changed(&shown, |record| drop(record.tags.insert("a".into(), "b".into()))),
            changed(&shown, |record| record.instance.project_id = "210987654321".parse().unwrap()),
            InstanceView { groups: vec![group], ..shown.clone() },
            InstanceView { placement_group: Some("spread".into()), ..shown.clone() },
        ] {
            assert_eq!(fragments.get(&other), None, "{other:?}");
        }
    }

    #[test]
    fn a_new_text_takes_the_place_of_the_old_one() {
        let fragments = Fragments::default();
        let old = view(1);
        let new = changed(&old, |record| record.instance.state = InstanceState::Stopped);
        fragments.put(&old, &"old text".into());
        fragments.put(&new, &"new".into());
        assert_eq!((fragments.get(&old), fragments.get(&new).as_deref()), (None, Some("new")));
        assert_eq!(fragments.0.read().unwrap().weight, VIEW + 3);
    }

    #[test]
    fn no_number_of_texts_goes_beyond_the_limit() {
        let fragments = Fragments::default();
        let text: Arc<str> = "x".repeat(LIMIT / 64).into();
        for number in 0..200 {
            fragments.put(&view(number), &text);
            let known = fragments.0.read().unwrap();
            assert!(known.weight <= LIMIT);
            let held: usize = known.fragments.values().map(Fragment::weight).sum();
            assert_eq!(held, known.weight);
        }
        assert!(fragments.get(&view(199)).is_some());
    }
}
