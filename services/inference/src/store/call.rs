//! The rows of the ledger: one a call, and one a try where there were several.

use sea_orm::{ConnectionTrait as _, QueryResult, Statement, Value};
use slipway_storage::StorageError;
use uuid::Uuid;

use super::{LedgerStore, placeholders, to_i64, to_u64};
use crate::error::Error;
use crate::model::{Call, Outcome, Payer, Purpose, Span, Tried, Usage, split_model};

const COLUMNS: &str = "id, organisation_id, project_id, user_id, token, conversation_id, plan_id, create_time, model, outcome, reason, \
     input_tokens, output_tokens, cached_input_tokens, cache_write_tokens, reasoning_tokens, image_tokens, estimated, \
     cost_micros, price_version, estimate_micros, latency_ms, first_token_ms, cache_hit, purpose";
const DAY_MICROS: i64 = 86_400_000_000;

/// Which calls to list.
#[derive(Clone, Debug)]
pub(crate) struct CallFilter {
    /// Whose: a project's, or (`Err`) an organisation's.
    pub(crate) owner: Result<Uuid, Uuid>,
    /// Those that began in it.
    pub(crate) span: Span,
    pub(crate) user: Option<Uuid>,
    pub(crate) conversation: Option<Uuid>,
    pub(crate) plan: Option<Uuid>,
    /// Empty: any.
    pub(crate) model: String,
}

impl LedgerStore {
    /// Calls, the newest first, those before the id `before`: ids grow with time.
    pub(crate) async fn list_calls(&self, filter: &CallFilter, before: Option<Uuid>, limit: u64) -> Result<Vec<Call>, Error> {
        let (column, owner) = match filter.owner {
            Ok(project) => ("project_id", project),
            Err(organisation) => ("organisation_id", organisation),
        };
        let mut sql = format!("SELECT {COLUMNS} FROM call WHERE {column} = $1 AND create_time >= $2 AND create_time < $3");
        let mut values: Vec<Value> = vec![owner.into(), filter.span.start.into(), filter.span.end.into()];
        let mut and = |condition: &str, value: Option<Value>| {
            if let Some(value) = value {
                values.push(value);
                sql.push_str(&format!(" AND {condition} ${}", values.len()));
            }
        };
        and("user_id =", filter.user.map(Value::from));
        and("conversation_id =", filter.conversation.map(Value::from));
        and("plan_id =", filter.plan.map(Value::from));
        and("model =", (!filter.model.is_empty()).then(|| filter.model.as_str().into()));
        and("id <", before.map(Value::from));
        sql.push_str(&format!(" ORDER BY id DESC LIMIT {limit}"));
        let rows = self.store.read().query_all_raw(self.statement(sql, values)).await.map_err(StorageError::from)?;
        let mut calls = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        self.add_attempts(&mut calls).await?;
        Ok(calls)
    }

    async fn add_attempts(&self, calls: &mut [Call]) -> Result<(), Error> {
        if calls.is_empty() {
            return Ok(());
        }
        let sql = format!(
            "SELECT call_id, model, outcome, reason, input_tokens, output_tokens, cost_micros, latency_ms FROM call_attempt \
             WHERE call_id IN ({}) ORDER BY call_id, number",
            placeholders(1, calls.len())
        );
        let statement = self.statement(sql, calls.iter().map(|c| c.id.into()));
        for row in self.store.read().query_all_raw(statement).await.map_err(StorageError::from)? {
            let (id, attempt) = read_attempt(&row)?;
            if let Some(call) = calls.iter_mut().find(|c| c.id == id) {
                call.attempts.push(attempt);
            }
        }
        Ok(())
    }

    /// Writes a call's row. Should it be there already, from a sweep that took its process for dead, it is replaced.
    pub(super) fn insert_call(&self, call: &Call) -> Statement {
        let sql = "INSERT INTO call (id, organisation_id, project_id, user_id, token, conversation_id, plan_id, create_time, day, \
             model, provider, outcome, reason, input_tokens, output_tokens, cached_input_tokens, cache_write_tokens, \
             reasoning_tokens, image_tokens, estimated, cost_micros, price_version, estimate_micros, latency_ms, first_token_ms, \
             cache_hit, purpose) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, \
             $22, $23, $24, $25, $26, $27) ON CONFLICT (id) DO UPDATE SET outcome = excluded.outcome, reason = excluded.reason, \
             input_tokens = excluded.input_tokens, output_tokens = excluded.output_tokens, \
             cached_input_tokens = excluded.cached_input_tokens, cache_write_tokens = excluded.cache_write_tokens, \
             reasoning_tokens = excluded.reasoning_tokens, image_tokens = excluded.image_tokens, estimated = excluded.estimated, \
             cost_micros = excluded.cost_micros, price_version = excluded.price_version, latency_ms = excluded.latency_ms, \
             first_token_ms = excluded.first_token_ms, cache_hit = excluded.cache_hit";
        let (payer, usage) = (&call.payer, &call.usage);
        let provider = split_model(&call.model).map_or("", |(provider, _)| provider);
        let values: [Value; 27] = [
            call.id.into(),
            payer.organisation.into(),
            payer.project.into(),
            payer.user.into(),
            (&*payer.token).into(),
            payer.conversation.into(),
            payer.plan.into(),
            call.create_time.into(),
            call.create_time.div_euclid(DAY_MICROS).into(),
            (&*call.model).into(),
            provider.into(),
            (call.outcome as i16).into(),
            call.reason.as_str().into(),
            to_i64(usage.input).into(),
            to_i64(usage.output).into(),
            to_i64(usage.cached_input).into(),
            to_i64(usage.cache_write).into(),
            to_i64(usage.reasoning).into(),
            to_i64(usage.images).into(),
            usage.estimated.into(),
            call.cost.into(),
            call.price_version.as_deref().map(str::to_owned).into(),
            call.estimate.into(),
            call.latency_ms.into(),
            call.first_token_ms.into(),
            call.cache_hit.into(),
            (call.purpose as i16).into(),
        ];
        self.statement(sql, values)
    }

    /// The rows of a call's tries.
    pub(super) fn insert_attempts(&self, call: &Call) -> Vec<Statement> {
        let sql = "INSERT INTO call_attempt (call_id, number, model, outcome, reason, input_tokens, output_tokens, cost_micros, \
             latency_ms) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (call_id, number) DO UPDATE SET \
             outcome = excluded.outcome";
        let insert = |(number, attempt): (i32, &Tried)| {
            let values: [Value; 9] = [
                call.id.into(),
                number.into(),
                (&*attempt.model).into(),
                (attempt.outcome as i16).into(),
                attempt.reason.as_str().into(),
                to_i64(attempt.usage.input).into(),
                to_i64(attempt.usage.output).into(),
                attempt.cost.into(),
                attempt.latency_ms.into(),
            ];
            self.statement(sql, values)
        };
        (1..).zip(&call.attempts).map(insert).collect()
    }
}

fn outcome(number: i16) -> Result<Outcome, StorageError> {
    Outcome::from_number(number).ok_or_else(|| StorageError::Corrupt(format!("call.outcome: {number}")))
}

fn purpose(number: i16) -> Result<Purpose, StorageError> {
    Purpose::from_number(number).ok_or_else(|| StorageError::Corrupt(format!("call.purpose: {number}")))
}

fn read(row: &QueryResult) -> Result<Call, StorageError> {
    let text = |at| row.try_get_by_index::<String>(at);
    let tokens = |at| row.try_get_by_index::<i64>(at).map(to_u64);
    Ok(Call {
        id: row.try_get_by_index(0)?,
        payer: Payer {
            organisation: row.try_get_by_index(1)?,
            project: row.try_get_by_index(2)?,
            user: row.try_get_by_index(3)?,
            token: text(4)?.into(),
            conversation: row.try_get_by_index(5)?,
            plan: row.try_get_by_index(6)?,
        },
        create_time: row.try_get_by_index(7)?,
        model: text(8)?.into(),
        outcome: outcome(row.try_get_by_index(9)?)?,
        reason: text(10)?,
        usage: Usage {
            input: tokens(11)?,
            output: tokens(12)?,
            cached_input: tokens(13)?,
            cache_write: tokens(14)?,
            reasoning: tokens(15)?,
            images: tokens(16)?,
            cost_micros: None,
            estimated: row.try_get_by_index(17)?,
        },
        cost: row.try_get_by_index(18)?,
        price_version: row.try_get_by_index::<Option<String>>(19)?.map(Into::into),
        estimate: row.try_get_by_index(20)?,
        latency_ms: row.try_get_by_index(21)?,
        first_token_ms: row.try_get_by_index(22)?,
        cache_hit: row.try_get_by_index(23)?,
        purpose: purpose(row.try_get_by_index(24)?)?,
        attempts: Vec::new(),
    })
}

fn read_attempt(row: &QueryResult) -> Result<(Uuid, Tried), StorageError> {
    let tokens = |at| row.try_get_by_index::<i64>(at).map(to_u64);
    let usage = Usage { input: tokens(4)?, output: tokens(5)?, ..Usage::default() };
    let attempt = Tried {
        model: row.try_get_by_index::<String>(1)?.into(),
        outcome: outcome(row.try_get_by_index(2)?)?,
        reason: row.try_get_by_index(3)?,
        usage,
        cost: row.try_get_by_index(6)?,
        latency_ms: row.try_get_by_index(7)?,
    };
    Ok((row.try_get_by_index(0)?, attempt))
}
