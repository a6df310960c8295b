//! The ledger added up.

use sea_orm::{ConnectionTrait as _, QueryResult, Value};
use slipway_storage::StorageError;
use time::{Date, Duration, OffsetDateTime};
use uuid::Uuid;

use super::{LedgerStore, to_u64};
use crate::error::Error;
use crate::model::{Purpose, Span, Usage};

/// What usage is added up by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dimension {
    Day,
    Model,
    Provider,
    Project,
    User,
    Token,
    Conversation,
    Plan,
}

impl Dimension {
    fn column(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Model => "model",
            Self::Provider => "provider",
            Self::Project => "project_id",
            Self::User => "user_id",
            Self::Token => "token",
            Self::Conversation => "conversation_id",
            Self::Plan => "plan_id",
        }
    }

    fn read(self, row: &QueryResult, at: usize) -> Result<String, StorageError> {
        Ok(match self {
            Self::Day => day(row.try_get_by_index(at)?),
            Self::Model | Self::Provider | Self::Token => row.try_get_by_index(at)?,
            Self::Project | Self::User => row.try_get_by_index::<Uuid>(at)?.to_string(),
            Self::Conversation | Self::Plan => {
                row.try_get_by_index::<Option<Uuid>>(at)?.map(|id| id.to_string()).unwrap_or_default()
            }
        })
    }
}

/// A day as it is written.
fn day(number: i64) -> String {
    let date = OffsetDateTime::UNIX_EPOCH.date().checked_add(Duration::days(number)).unwrap_or(Date::MAX);
    date.to_string()
}

/// Which calls to add up.
#[derive(Clone, Debug)]
pub(crate) struct SumFilter {
    /// Whose: a project's, or (`Err`) an organisation's.
    pub(crate) owner: Result<Uuid, Uuid>,
    /// Those that began in it.
    pub(crate) span: Span,
}

/// Calls added up.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Sum {
    /// What they have in common, in the order that was asked for.
    pub(crate) names: Vec<String>,
    pub(crate) calls: u64,
    pub(crate) unfinished: u64,
    pub(crate) unpriced: u64,
    pub(crate) cache_hits: u64,
    pub(crate) usage: Usage,
    pub(crate) cost: i64,
}

const SUMS: &str = "CAST(COUNT(*) AS bigint), \
     CAST(COALESCE(SUM(CASE WHEN outcome <> 1 THEN 1 ELSE 0 END), 0) AS bigint), \
     CAST(COALESCE(SUM(CASE WHEN price_version IS NULL THEN 1 ELSE 0 END), 0) AS bigint), \
     CAST(COALESCE(SUM(CASE WHEN cache_hit THEN 1 ELSE 0 END), 0) AS bigint), \
     CAST(COALESCE(SUM(input_tokens), 0) AS bigint), CAST(COALESCE(SUM(output_tokens), 0) AS bigint), \
     CAST(COALESCE(SUM(cached_input_tokens), 0) AS bigint), CAST(COALESCE(SUM(cache_write_tokens), 0) AS bigint), \
     CAST(COALESCE(SUM(reasoning_tokens), 0) AS bigint), CAST(COALESCE(SUM(image_tokens), 0) AS bigint), \
     CAST(COALESCE(SUM(cost_micros), 0) AS bigint)";

impl LedgerStore {
    /// What a project's calls of one purpose have cost since a time.
    pub(crate) async fn spent_on(&self, project: Uuid, purpose: Purpose, since: i64) -> Result<i64, Error> {
        let sql = "SELECT CAST(COALESCE(SUM(cost_micros), 0) AS bigint) FROM call \
             WHERE project_id = $1 AND create_time >= $2 AND purpose = $3";
        let values: [Value; 3] = [project.into(), since.into(), (purpose as i16).into()];
        let row = self.store.read().query_one_raw(self.statement(sql, values)).await.map_err(StorageError::from)?;
        Ok(row.map_or(Ok(0), |row| row.try_get_by_index(0)).map_err(StorageError::from)?)
    }

    /// Sums by dimensions, in their order; at most `limit`.
    pub(crate) async fn sum_calls(&self, filter: &SumFilter, by: &[Dimension], limit: usize) -> Result<Vec<Sum>, Error> {
        let (column, owner) = match filter.owner {
            Ok(project) => ("project_id", project),
            Err(organisation) => ("organisation_id", organisation),
        };
        let columns: Vec<&str> = by.iter().map(|d| d.column()).collect();
        let list = columns.join(", ");
        let (select, group) = match by.is_empty() {
            true => (SUMS.to_owned(), String::new()),
            false => (format!("{list}, {SUMS}"), format!(" GROUP BY {list} ORDER BY {list} LIMIT {limit}")),
        };
        let sql = format!("SELECT {select} FROM call WHERE {column} = $1 AND create_time >= $2 AND create_time < $3{group}");
        let values: [Value; 3] = [owner.into(), filter.span.start.into(), filter.span.end.into()];
        let rows = self.store.read().query_all_raw(self.statement(sql, values)).await.map_err(StorageError::from)?;
        Ok(rows.iter().map(|row| read(row, by)).collect::<Result<_, _>>()?)
    }
}

fn read(row: &QueryResult, by: &[Dimension]) -> Result<Sum, StorageError> {
    let names = by.iter().enumerate().map(|(at, dimension)| dimension.read(row, at)).collect::<Result<_, _>>()?;
    let number = |at: usize| row.try_get_by_index::<i64>(by.len() + at);
    let count = |at| number(at).map(to_u64);
    Ok(Sum {
        names,
        calls: count(0)?,
        unfinished: count(1)?,
        unpriced: count(2)?,
        cache_hits: count(3)?,
        usage: Usage {
            input: count(4)?,
            output: count(5)?,
            cached_input: count(6)?,
            cache_write: count(7)?,
            reasoning: count(8)?,
            images: count(9)?,
            cost_micros: None,
            estimated: false,
        },
        cost: number(10)?,
    })
}
