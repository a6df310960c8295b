//! `slipway migrate`: the services' databases, by hand.

use slipway_storage::{MigratorTrait, Store};

use crate::args::{Migrate, Service};
use crate::data::DataDir;
use crate::output::Out;
use crate::settings::Settings;
use crate::suite::STATEFUL;

/// Owns every schema, and is who `slipway migrate` signs in as.
const OWNER: &str = "slipway_owner";

/// Migrates, or tells what is missing.
pub(crate) async fn migrate(
    settings: &Settings,
    out: &Out,
    only: Option<Service>,
    action: Migrate,
    steps: u32,
) -> anyhow::Result<()> {
    if action == Migrate::Roles {
        return out.raw(roles(only).as_bytes());
    }
    let data = DataDir::new(settings)?;
    let chosen: Vec<_> = STATEFUL.into_iter().filter(|s| only.is_none_or(|o| o == *s)).collect();
    if chosen.is_empty() {
        out.note("this service keeps nothing: there is nothing to migrate");
    }
    for service in chosen {
        match service {
            Service::FileStore => one::<slipway_file_store::Migrator>(settings, &data, out, service, action, steps).await?,
            Service::Embedding => one::<slipway_embedding::store::Migrator>(settings, &data, out, service, action, steps).await?,
            Service::Planner => one::<slipway_planner::Migrator>(settings, &data, out, service, action, steps).await?,
            Service::Conversation => {
                one::<slipway_conversation::store::Migrator>(settings, &data, out, service, action, steps).await?
            }
            Service::Inference => one::<slipway_inference::Migrator>(settings, &data, out, service, action, steps).await?,
            Service::Gateway => {}
        }
    }
    Ok(())
}

/// Least privilege: who owns the schemas changes them; a service reads and writes the rows of its own, and nothing else.
fn roles(only: Option<Service>) -> String {
    let role = |name: &str| {
        format!(
            "DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{name}') THEN CREATE ROLE {name} LOGIN; END IF; END $$;\n"
        )
    };
    let mut sql = "-- To be run by a superuser in Slipway's database, again after an upgrade that brings new services.\n\
                   -- Then give each role a password: \\password slipway_owner, and so on.\n"
        .to_owned();
    sql += &role(OWNER);
    // A superuser may do this anyway; elsewhere it takes membership to give a schema away.
    sql += &format!("GRANT {OWNER} TO CURRENT_USER;\nREVOKE CREATE ON SCHEMA public FROM PUBLIC;\n");
    for service in STATEFUL.into_iter().filter(|service| only.is_none_or(|only| only == *service)) {
        let schema = service.name().replace('-', "_");
        let user = format!("slipway_{schema}");
        sql += "\n";
        sql += &role(&user);
        sql += &format!(
            "CREATE SCHEMA IF NOT EXISTS {schema} AUTHORIZATION {OWNER};\n\
             GRANT USAGE ON SCHEMA {schema} TO {user};\n\
             GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {user};\n\
             GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA {schema} TO {user};\n\
             ALTER DEFAULT PRIVILEGES FOR ROLE {OWNER} IN SCHEMA {schema} \
             GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {user};\n\
             ALTER DEFAULT PRIVILEGES FOR ROLE {OWNER} IN SCHEMA {schema} GRANT USAGE, SELECT ON SEQUENCES TO {user};\n"
        );
    }
    sql
}

async fn one<M: MigratorTrait>(
    settings: &Settings,
    data: &DataDir,
    out: &Out,
    service: Service,
    action: Migrate,
    steps: u32,
) -> anyhow::Result<()> {
    let _lock = if action == Migrate::Status { None } else { data.lock_store(settings, service)? };
    let store = Store::open(&data.store(settings, service), &service.name().replace('-', "_")).await?;
    let before = store.pending::<M>().await?;
    match action {
        Migrate::Status | Migrate::Roles => {}
        Migrate::Up => store.migrate::<M>().await?,
        Migrate::Down => store.rollback::<M>(Some(steps)).await?,
    }
    let pending = store.pending::<M>().await?;
    if out.is_json() {
        let line = serde_json::json!({ "service": service.name(), "pending": pending, "changed": before != pending });
        return out.line(line.to_string());
    }
    let state = match (action, pending.len()) {
        (Migrate::Up, 0) if before.is_empty() => out.paint.dim("up to date"),
        (Migrate::Up, 0) => out.paint.green(format!("migrated: {}", before.join(", "))),
        (_, 0) => out.paint.green("nothing is missing"),
        (_, _) => out.paint.yellow(format!("missing: {}", pending.join(", "))),
    };
    out.line(format!("{:<13} {state}", service.name()))
}
