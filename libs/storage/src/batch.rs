//! Statements whose answers nobody waits for, in as few round trips as the engine allows.

use std::fmt::Write as _;

use sea_orm::{ConnectionTrait, DbBackend, Statement, Value};

use crate::StorageError;

/// How many statements PostgreSQL is given at once: more only make a text that is longer to plan.
const TOGETHER: usize = 16;

/// Executes statements that do not depend on each other, and says how many rows they touched in all.
///
/// SQLite takes all of them as one text. PostgreSQL prepares only single statements; there they become the parts of a
/// `WITH`, which are all executed, on one snapshot: none sees what another does. Either text is prepared once for every
/// sequence of statements.
pub(crate) async fn execute(on: &impl ConnectionTrait, mut statements: Vec<Statement>) -> Result<u64, StorageError> {
    let backend = on.get_database_backend();
    let mut touched = 0;
    while !statements.is_empty() {
        let at_once = if backend == DbBackend::Sqlite { statements.len() } else { statements.len().min(TOGETHER) };
        let rest = statements.split_off(at_once);
        touched += match (backend, statements.len()) {
            (_, 1) => on.execute_raw(statements.remove(0)).await?.rows_affected(),
            (DbBackend::Postgres, _) => counted(on, with(statements)).await?,
            (_, _) => on.execute_raw(script(backend, statements)).await?.rows_affected(),
        };
        statements = rest;
    }
    Ok(touched)
}

async fn counted(on: &impl ConnectionTrait, count: Statement) -> Result<u64, StorageError> {
    let row = on.query_one_raw(count).await?;
    let touched: Option<i64> = row.map(|row| row.try_get_by_index(0)).transpose()?;
    Ok(touched.unwrap_or(0).unsigned_abs())
}

/// One text, a statement after the other.
fn script(backend: DbBackend, statements: Vec<Statement>) -> Statement {
    let mut sql = String::with_capacity(length(&statements));
    let mut values: Vec<Value> = Vec::new();
    for statement in statements {
        append(&mut sql, &statement.sql, values.len());
        sql.push(';');
        values.extend(statement.values.into_iter().flat_map(|values| values.0));
    }
    Statement::from_sql_and_values(backend, sql, values)
}

/// One statement that executes all of them and counts the rows.
fn with(statements: Vec<Statement>) -> Statement {
    let mut sql = String::with_capacity(length(&statements));
    let mut count = String::from(" SELECT 0");
    let mut values: Vec<Value> = Vec::new();
    for (at, statement) in statements.into_iter().enumerate() {
        // Writing to a string cannot fail.
        let _ = write!(sql, "{}part{at} AS (", if at == 0 { "WITH " } else { ", " });
        append(&mut sql, &statement.sql, values.len());
        sql.push_str(" RETURNING 1)");
        let _ = write!(count, " + (SELECT count(*) FROM part{at})");
        values.extend(statement.values.into_iter().flat_map(|values| values.0));
    }
    Statement::from_sql_and_values(DbBackend::Postgres, sql + &count, values)
}

fn length(statements: &[Statement]) -> usize {
    statements.iter().map(|statement| statement.sql.len() + 72).sum()
}

/// Appends `statement` with its parameters `$1`, `$2` … counted from after `before`. Values are never part of our
/// statements' text, so every dollar is a parameter.
fn append(sql: &mut String, statement: &str, before: usize) {
    let mut rest = statement;
    while let Some(at) = rest.find('$') {
        sql.push_str(&rest[..=at]);
        rest = &rest[at + 1..];
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        // A dollar without a number is a mistake that the engine reports.
        if let Ok(number) = rest[..digits].parse::<usize>() {
            // Writing to a string cannot fail.
            let _ = write!(sql, "{}", number + before);
            rest = &rest[digits..];
        }
    }
    sql.push_str(rest);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement(sql: &str, values: impl IntoIterator<Item = i64>) -> Statement {
        Statement::from_sql_and_values(DbBackend::Sqlite, sql, values.into_iter().map(Value::from))
    }

    #[test]
    fn parameters_keep_their_values() {
        let statements = vec![
            statement("UPDATE a SET b = $2 WHERE c = $1", [1, 2]),
            statement("DELETE FROM d", []),
            statement("INSERT INTO e VALUES ($1, $1, $10)", 11..=20),
        ];
        let joined = script(DbBackend::Sqlite, statements);
        assert_eq!(joined.sql, "UPDATE a SET b = $2 WHERE c = $1;DELETE FROM d;INSERT INTO e VALUES ($3, $3, $12);");
        let values: Vec<Value> = [1_i64, 2].into_iter().chain(11..=20).map(Value::from).collect();
        assert_eq!(joined.values.as_ref().map(|values| values.0.clone()), Some(values));
    }

    #[test]
    fn postgres_takes_them_as_parts_of_one() {
        let joined = with(vec![statement("DELETE FROM a WHERE b = $1", [1]), statement("INSERT INTO c VALUES ($1, $2)", [2, 3])]);
        let parts =
            "WITH part0 AS (DELETE FROM a WHERE b = $1 RETURNING 1), part1 AS (INSERT INTO c VALUES ($2, $3) RETURNING 1)";
        let count = " SELECT 0 + (SELECT count(*) FROM part0) + (SELECT count(*) FROM part1)";
        assert_eq!(joined.sql, format!("{parts}{count}"));
    }
}
