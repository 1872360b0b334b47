//! Idempotency tokens: the same token with the same parameters is the same launch.

use sha2::{Digest as _, Sha256};
use tepui_db::TokenUse;
use tepui_types::ReservationId;

use super::{Reservation, RunInstances};
use crate::{Caller, Cloud, Error, limits};

impl Cloud {
    /// What the token of this request stands for; `None` when it has none.
    pub(super) fn token_use(&self, request: &RunInstances) -> Result<Option<TokenUse>, Error> {
        let Some(token) = &request.client_token else { return Ok(None) };
        limits::check_name("client_token", token, limits::CLIENT_TOKEN)?;
        let parameters = serde_json::to_vec(request).map_err(Error::internal)?;
        Ok(Some(TokenUse { token: token.clone(), parameters_sha256: Sha256::digest(parameters).into() }))
    }

    /// The reservation that this token made before, as it is now.
    pub(super) async fn repeated(
        &self,
        caller: &Caller,
        token: Option<&TokenUse>,
        made: Option<(ReservationId, [u8; 32])>,
    ) -> Result<Option<Reservation>, Error> {
        let (Some(token), Some((id, parameters))) = (token, made) else { return Ok(None) };
        if parameters != token.parameters_sha256 {
            return Err(Error::TokenMismatch { token: token.token.clone() });
        }
        let reservation = self.reservation(caller.project, id).await?;
        if reservation.instances.is_empty() {
            return Err(Error::InstancesTerminated { token: token.token.clone() });
        }
        Ok(Some(reservation))
    }
}
