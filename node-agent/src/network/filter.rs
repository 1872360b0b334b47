//! The packet filter of one namespace: Tepui's tables there, each change one transaction.
//!
//! What stands is known from the last change and the kernel's generation after it. As long as nobody
//! changed anything since, only differences are sent; otherwise all tables are made anew. Connection
//! tracking is part of no table and goes on either way.

use nftables::types::NfFamily;

use super::namespace::Namespace;
use super::table::{Commands, Table};
use super::{NetworkError, generation, nft};

/// The tables as this process made them, and the generation then.
#[derive(Debug, Default)]
pub(super) struct Filter {
    made: Option<(Vec<Table>, u32)>,
}

impl Filter {
    /// Whether nobody changed what this process made.
    pub(super) async fn is_intact(&self, namespace: &Namespace) -> Result<bool, NetworkError> {
        let then = self.made.as_ref().map(|(_, generation)| *generation);
        Ok(then.is_some() && then == Some(generation::of(namespace).await?))
    }

    /// Makes the tables stand.
    pub(super) async fn ensure(
        &mut self,
        namespace: &Namespace,
        tables: Vec<Table>,
    ) -> Result<(), NetworkError> {
        let is_intact = self.is_intact(namespace).await?;
        let old = self.made.as_ref().filter(|_| is_intact).map(|(old, _)| old.as_slice()).unwrap_or_default();
        if is_intact && old == tables {
            return Ok(());
        }
        let commands: Commands = tables.iter().flat_map(|table| changes(old, table)).collect();
        self.make(namespace, commands, tables).await
    }

    /// Removes the host's tables; those that are missing are a success.
    pub(super) async fn remove(&mut self, namespace: &Namespace) -> Result<(), NetworkError> {
        let families = [NfFamily::Bridge, NfFamily::INet];
        let commands = families.into_iter().flat_map(Table::removal).collect();
        self.make(namespace, commands, Vec::new()).await
    }

    async fn make(
        &mut self,
        namespace: &Namespace,
        commands: Commands,
        tables: Vec<Table>,
    ) -> Result<(), NetworkError> {
        // What fails leaves nothing that could be built on.
        self.made = None;
        nft::apply(namespace, commands).await?;
        self.made = Some((tables, generation::of(namespace).await?));
        Ok(())
    }
}

fn changes(old: &[Table], table: &Table) -> Commands {
    let before = old.iter().find(|old| old.is_namesake(table));
    before.map_or_else(|| table.replacement(), |before| table.changes_from(before))
}
