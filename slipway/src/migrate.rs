//! `slipway migrate`: the services' databases, by hand.

use slipway_storage::{MigratorTrait, Store};

use crate::args::{Migrate, Service};
use crate::data::DataDir;
use crate::output::Out;
use crate::settings::Settings;
use crate::suite::STATEFUL;

/// Migrates, or tells what is missing.
pub(crate) async fn migrate(
    settings: &Settings,
    out: &Out,
    only: Option<Service>,
    action: Migrate,
    steps: u32,
) -> anyhow::Result<()> {
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
            Service::Gateway | Service::Inference => {}
        }
    }
    Ok(())
}

async fn one<M: MigratorTrait>(
    settings: &Settings,
    data: &DataDir,
    out: &Out,
    service: Service,
    action: Migrate,
    steps: u32,
) -> anyhow::Result<()> {
    let _lock = if action == Migrate::Status { None } else { Some(data.lock(service)?) };
    let store = Store::open(&data.store(settings, service), &service.name().replace('-', "_")).await?;
    let before = store.pending::<M>().await?;
    match action {
        Migrate::Status => {}
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
