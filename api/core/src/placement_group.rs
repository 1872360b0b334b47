//! Placement groups.

use tepui_db::CreateOutcome;
use tepui_db::model::{PlacementGroup, PlacementStrategy};
use tepui_types::PlacementGroupId;

use crate::identity::{deleted, taken};
use crate::{Caller, Cloud, Error, Kind, limits};

impl Cloud {
    /// Creates a placement group.
    ///
    /// # Errors
    /// `InvalidInput` for the name, `AlreadyExists`.
    pub async fn create_placement_group(
        &self,
        caller: &Caller,
        name: &str,
        strategy: PlacementStrategy,
    ) -> Result<PlacementGroup, Error> {
        limits::check_name("group_name", name, limits::NAME)?;
        let group = PlacementGroup {
            id: PlacementGroupId::from_random(self.random()),
            project_id: caller.project,
            name: name.to_owned(),
            strategy,
            created_at: self.now(),
        };
        self.commit(caller, "CreatePlacementGroup", group.id.to_string(), async {
            match self.db.create_placement_group(&group).await? {
                CreateOutcome::Created => Ok(()),
                CreateOutcome::NameTaken(id) => Err(taken(Kind::PlacementGroup, name, id)),
                CreateOutcome::ParentMissing => Err(Error::not_found(Kind::Project, caller.project)),
            }
        })
        .await?;
        Ok(group)
    }

    /// The caller's placement groups, by name.
    ///
    /// # Errors
    /// Only those of the store.
    pub async fn placement_groups(&self, caller: &Caller) -> Result<Vec<PlacementGroup>, Error> {
        Ok(self.db.placement_groups(caller.project).await?)
    }

    /// Deletes a placement group without members.
    ///
    /// # Errors
    /// `NotFound`, `InUse`.
    pub async fn delete_placement_group(&self, caller: &Caller, name: &str) -> Result<(), Error> {
        let group = self.placement_group_named(caller, name).await?;
        self.commit(caller, "DeletePlacementGroup", group.id.to_string(), async {
            let outcome = self.db.delete_placement_group(caller.project, group.id).await?;
            deleted(outcome, Kind::PlacementGroup, name)
        })
        .await
    }

    pub(crate) async fn placement_group_named(
        &self,
        caller: &Caller,
        name: &str,
    ) -> Result<PlacementGroup, Error> {
        let groups = self.db.placement_groups(caller.project).await?;
        let found = groups.into_iter().find(|group| group.name == name);
        found.ok_or_else(|| Error::not_found(Kind::PlacementGroup, name))
    }
}
