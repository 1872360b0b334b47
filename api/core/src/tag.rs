//! Tags of any resource of a project.

use std::collections::{BTreeMap, BTreeSet};

use tepui_db::{InstanceFilter, TagOutcome};

use crate::failpoint::{Passed, pass};
use crate::instance::node_of;
use crate::limits::{self, Tags};
use crate::{Caller, Cloud, Error, Kind};

impl Cloud {
    /// Sets tags on each of these resources, given by id.
    ///
    /// # Errors
    /// `NotFound` for the first resource that is unknown or foreign, `InvalidInput`, `LimitExceeded`;
    /// then nothing was changed.
    pub async fn create_tags(&self, caller: &Caller, resources: &[String], tags: &Tags) -> Result<(), Error> {
        limits::check_tags(tags)?;
        if tags.is_empty() {
            return Err(Error::invalid("tags", "", "names at least one tag"));
        }
        self.check_taggable(caller, resources).await?;
        let pairs = limits::tag_pairs(tags);
        let write = async {
            match self.db.put_tags(caller.project, resources, &pairs, limits::TAGS).await? {
                TagOutcome::Set => Ok(()),
                TagOutcome::NotFound(id) => Err(Error::not_found(Kind::Resource, id)),
                TagOutcome::TooMany(_) => {
                    Err(Error::LimitExceeded { what: "tags of a resource", limit: limits::TAGS })
                }
            }
        };
        self.change_tags(caller, "CreateTags", resources, write).await
    }

    /// Removes tags from each of these resources: the given value only, or any when it is `None`, or
    /// all tags when the list is empty.
    ///
    /// # Errors
    /// `NotFound` for the first resource that is unknown or foreign.
    pub async fn delete_tags(
        &self,
        caller: &Caller,
        resources: &[String],
        tags: &[(String, Option<String>)],
    ) -> Result<(), Error> {
        self.check_taggable(caller, resources).await?;
        let write = async { Ok(self.db.delete_tags(caller.project, resources, tags).await?) };
        self.change_tags(caller, "DeleteTags", resources, write).await
    }

    async fn change_tags(
        &self,
        caller: &Caller,
        action: &'static str,
        resources: &[String],
        write: impl Future<Output = Result<(), Error>>,
    ) -> Result<(), Error> {
        pass("core::tags::checked")?;
        self.commit(caller, action, resources.join(","), write).await?;
        let passed = pass("core::tags::committed")?;
        self.wake_tagged(passed, caller, resources).await;
        pass("core::tags::woken").map(drop)
    }

    /// All tags of the caller's project by resource.
    ///
    /// # Errors
    /// Only those of the store.
    pub async fn tags(&self, caller: &Caller) -> Result<BTreeMap<String, Tags>, Error> {
        Ok(self.db.tags(caller.project).await?)
    }

    async fn check_taggable(&self, caller: &Caller, resources: &[String]) -> Result<(), Error> {
        if resources.is_empty() {
            return Err(Error::invalid("resources", "", "names at least one resource"));
        }
        let known = self.resource_ids(caller).await?;
        match resources.iter().find(|id| !known.contains(*id)) {
            Some(missing) => Err(Error::not_found(Kind::Resource, missing)),
            None => Ok(()),
        }
    }

    /// The ids of everything of the project that may carry tags.
    async fn resource_ids(&self, caller: &Caller) -> Result<BTreeSet<String>, Error> {
        let project = caller.project;
        let all = InstanceFilter::default();
        let (instances, volumes, snapshots) = futures::try_join!(
            self.db.instances(project, &all),
            self.db.volumes(project),
            self.db.snapshots(project)
        )?;
        let (images, tasks, keys, vpcs, subnets, groups, placement_groups) = futures::try_join!(
            self.db.images(project),
            self.db.import_tasks(project),
            self.db.key_pairs(project),
            self.db.vpcs(project),
            self.db.subnets(project),
            self.db.security_groups(project),
            self.db.placement_groups(project)
        )?;
        let mut ids = BTreeSet::new();
        for record in &instances {
            ids.insert(record.instance.id.to_string());
            ids.extend(record.interface.iter().map(|interface| interface.id.to_string()));
            ids.extend(record.root_volume.iter().map(|volume| volume.id.to_string()));
        }
        ids.extend(volumes.iter().map(|record| record.volume.id.to_string()));
        ids.extend(snapshots.iter().map(|record| record.snapshot.id.to_string()));
        ids.extend(images.iter().filter(|i| i.project_id == project).map(|i| i.id.to_string()));
        ids.extend(tasks.iter().map(|task| task.id.to_string()));
        ids.extend(keys.iter().map(|key| key.id.to_string()));
        ids.extend(vpcs.iter().map(|vpc| vpc.id.to_string()));
        ids.extend(subnets.iter().map(|subnet| subnet.id.to_string()));
        ids.extend(groups.iter().map(|group| group.id.to_string()));
        ids.extend(groups.iter().flat_map(|group| &group.rules).map(|rule| rule.id.to_string()));
        ids.extend(placement_groups.iter().map(|group| group.id.to_string()));
        Ok(ids)
    }

    /// An instance's tags are in its metadata. A hint only, as every wake-up.
    async fn wake_tagged(&self, passed: Passed, caller: &Caller, resources: &[String]) {
        let ids = resources.iter().filter_map(|id| id.parse().ok()).collect::<Vec<_>>();
        if ids.is_empty() {
            return;
        }
        let filter = InstanceFilter { ids, reservation: None };
        match self.db.instances(caller.project, &filter).await {
            Ok(records) => self.wakes.wake(passed, records.iter().filter_map(|record| node_of(record))),
            Err(error) => tracing::warn!(%error, "nodes not woken"),
        }
    }
}
