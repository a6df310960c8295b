//! Rows of engines: which ones were asked for, and what their vectors are of.

use slipway_rpc::now_micros;
use slipway_storage::sea_orm::{self, FromQueryResult};
use slipway_storage::{StorageError, Tx};

use super::{Records, execute};

#[derive(FromQueryResult)]
struct Row {
    name: String,
    embedder: String,
}

#[derive(FromQueryResult)]
struct Used {
    engine: String,
}

/// An engine that a process was started with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Its name.
    pub(crate) name: String,
    /// What it takes to ask the model of its vectors, without the key.
    pub(crate) embedder: String,
}

impl Records {
    /// Notes that a process was started with this engine: what is in others is to move there.
    pub(crate) async fn ask_engine(&self, tx: &Tx, asked: &Asked) -> Result<(), StorageError> {
        let sql = "INSERT INTO engine (name, embedder, asked_time) VALUES ($1, $2, $3) \
                   ON CONFLICT (name) DO UPDATE SET embedder = excluded.embedder, asked_time = excluded.asked_time";
        execute(tx, sql, [asked.name.as_str().into(), asked.embedder.as_str().into(), now_micros().into()]).await.map(drop)
    }

    /// The engines that were asked for and are not forgotten, the last one first.
    pub(crate) async fn list_asked(&self) -> Result<Vec<Asked>, StorageError> {
        let rows = self.list::<Row>("SELECT name, embedder FROM engine ORDER BY asked_time DESC, name", []).await?;
        Ok(rows.into_iter().map(|row| Asked { name: row.name, embedder: row.embedder }).collect())
    }

    /// Forgets that an engine was asked for: it is gone.
    pub(crate) async fn forget_engine(&self, tx: &Tx, name: &str) -> Result<(), StorageError> {
        execute(tx, "DELETE FROM engine WHERE name = $1", [name.into()]).await.map(drop)
    }

    /// The engines that workspaces are in.
    pub(crate) async fn list_engines(&self) -> Result<Vec<String>, StorageError> {
        let sql = "SELECT DISTINCT engine FROM workspace_index WHERE built > 0 ORDER BY engine";
        Ok(self.list::<Used>(sql, []).await?.into_iter().map(|row| row.engine).collect())
    }

    /// Calls an engine by another name.
    pub(crate) async fn rename_engine(&self, tx: &Tx, from: &str, to: &str) -> Result<(), StorageError> {
        execute(tx, "UPDATE workspace_index SET engine = $2 WHERE engine = $1", [from.into(), to.into()]).await.map(drop)
    }
}
