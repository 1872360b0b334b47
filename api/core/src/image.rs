//! Images.

use tepui_db::model::{Image, ImageState};
use tepui_types::{Digest, ImageId};

use crate::identity::deleted;
use crate::{Caller, Cloud, Error, Kind};

impl Cloud {
    /// The images the caller may launch: the project's own and the public ones, by id.
    ///
    /// # Errors
    /// Only those of the store.
    pub async fn images(&self, caller: &Caller) -> Result<Vec<Image>, Error> {
        let mut images = self.db.images(caller.project).await?;
        images.retain(|image| image.state == ImageState::Available);
        Ok(images)
    }

    /// One image the caller may launch.
    ///
    /// # Errors
    /// `NotFound`, also for a foreign one that is not public.
    pub async fn image(&self, caller: &Caller, id: ImageId) -> Result<Image, Error> {
        let found = self.images(caller).await?.into_iter().find(|image| image.id == id);
        found.ok_or_else(|| Error::not_found(Kind::Image, id))
    }

    /// Withdraws an image of the caller's project: no new launches, running instances are untouched.
    ///
    /// # Errors
    /// `NotFound`, also for a foreign one, public or not.
    pub async fn deregister_image(&self, caller: &Caller, id: ImageId) -> Result<(), Error> {
        let image = self.image(caller, id).await?;
        if image.project_id != caller.project {
            return Err(Error::not_found(Kind::Image, id));
        }
        self.commit(caller, "DeregisterImage", id.to_string(), async {
            deleted(self.db.deregister_image(caller.project, id).await?, Kind::Image, id)
        })
        .await
    }

    /// Digests that an available image or a live placement needs; every other file of the image
    /// store is garbage.
    ///
    /// # Errors
    /// Only those of the store.
    pub async fn digests_in_use(&self) -> Result<Vec<Digest>, Error> {
        Ok(self.db.digests_in_use().await?)
    }
}
