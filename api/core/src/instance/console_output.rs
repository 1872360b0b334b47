//! `GetConsoleOutput`.

use tepui_types::InstanceId;

use crate::{Caller, Cloud, ConsoleOutput, Error, Kind};

impl Cloud {
    /// The end of an instance's serial console. `latest` asks its node and waits up to five seconds;
    /// otherwise, and when the node does not answer in time, it is what was stored last. `None`
    /// before the first.
    ///
    /// # Errors
    /// `NotFound`, also for a foreign instance.
    pub async fn console_output(
        &self,
        caller: &Caller,
        id: InstanceId,
        latest: bool,
    ) -> Result<Option<ConsoleOutput>, Error> {
        let records = self.records(caller.project, &[id]).await?;
        let record = records.first().ok_or_else(|| Error::not_found(Kind::Instance, id))?;
        let Some(placement) = &record.placement else { return Ok(None) };
        if latest {
            // The host may take its time, and a file is all that is read then.
            caller.turn.leave();
            self.request_console(placement.node_id, placement.id).await;
        }
        self.consoles.read(placement.id).await
    }
}
