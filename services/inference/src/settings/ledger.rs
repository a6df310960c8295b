//! The settings of the ledger.

use serde::{Deserialize, Serialize};

const MAX_DAYS: u32 = 36_500;

/// `[inference.ledger]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LedgerSettings {
    /// Rows of calls that began longer ago than so many days are deleted, but for those that a budget still counts. 0: none
    /// is ever.
    pub keep_days: u32,
}

impl LedgerSettings {
    pub(super) fn check(&self) -> Result<(), String> {
        if self.keep_days > MAX_DAYS {
            return Err(format!("inference.ledger.keep_days is over {MAX_DAYS}"));
        }
        Ok(())
    }
}
