//! Statements whose answers nobody waits for, in as few round trips as the engine allows.

use std::fmt::Write as _;

use sea_orm::{DbBackend, Statement, Value};

/// The same statements, to be executed one after the other. SQLite takes all of them as one text, and that text is
/// prepared once for every sequence of statements; PostgreSQL prepares only single ones.
pub(crate) fn round_trips(backend: DbBackend, statements: Vec<Statement>) -> Vec<Statement> {
    if backend != DbBackend::Sqlite || statements.len() < 2 {
        return statements;
    }
    let mut sql = String::with_capacity(statements.iter().map(|statement| statement.sql.len() + 16).sum());
    let mut values: Vec<Value> = Vec::new();
    for statement in statements {
        append(&mut sql, &statement.sql, values.len());
        sql.push(';');
        values.extend(statement.values.into_iter().flat_map(|values| values.0));
    }
    vec![Statement::from_sql_and_values(backend, sql, values)]
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
        let joined = round_trips(DbBackend::Sqlite, statements);
        assert_eq!(joined.len(), 1);
        assert_eq!(joined[0].sql, "UPDATE a SET b = $2 WHERE c = $1;DELETE FROM d;INSERT INTO e VALUES ($3, $3, $12);");
        let values: Vec<Value> = [1_i64, 2].into_iter().chain(11..=20).map(Value::from).collect();
        assert_eq!(joined[0].values.as_ref().map(|values| values.0.clone()), Some(values));
    }

    #[test]
    fn postgres_takes_them_one_by_one() {
        let statements = || vec![statement("DELETE FROM a", []), statement("DELETE FROM b", [])];
        assert_eq!(round_trips(DbBackend::Postgres, statements()), statements());
    }
}
