//! The migrations of this service's tables, for both engines.

use async_trait::async_trait;
use sea_orm::sea_query::{ColumnDef, ForeignKey, ForeignKeyAction, Index, Table};
use sea_orm::{DbErr, DeriveIden};
use sea_orm_migration::{MigrationName, MigrationTrait, MigratorTrait, SchemaManager};

/// The migrations.
pub struct Migrator;

#[async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        let mut all = slipway_storage::shared_migrations();
        all.push(Box::new(Ledger));
        all.push(Box::new(Budgets));
        all.push(Box::new(ProviderKeys));
        all.push(Box::new(Purposes));
        all
    }
}

struct Ledger;

impl MigrationName for Ledger {
    fn name(&self) -> &str {
        "m00000101_ledger"
    }
}

#[async_trait]
impl MigrationTrait for Ledger {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        create_call(manager).await?;
        create_call_attempt(manager).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(CallAttempt::Table).to_owned()).await?;
        manager.drop_table(Table::drop().table(Call::Table).to_owned()).await
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}

struct Budgets;

impl MigrationName for Budgets {
    fn name(&self) -> &str {
        "m00000102_budgets"
    }
}

#[async_trait]
impl MigrationTrait for Budgets {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        create_budget(manager).await?;
        create_budget_window(manager).await?;
        create_reservation(manager).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(Reservation::Table).to_owned()).await?;
        manager.drop_table(Table::drop().table(BudgetWindow::Table).to_owned()).await?;
        manager.drop_table(Table::drop().table(Budget::Table).to_owned()).await
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}

struct ProviderKeys;

impl MigrationName for ProviderKeys {
    fn name(&self) -> &str {
        "m00000103_provider_keys"
    }
}

#[async_trait]
impl MigrationTrait for ProviderKeys {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        create_provider_key(manager).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(ProviderKey::Table).to_owned()).await
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}

struct Purposes;

impl MigrationName for Purposes {
    fn name(&self) -> &str {
        "m00000104_purposes"
    }
}

#[async_trait]
impl MigrationTrait for Purposes {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // A replica of the version before leaves it out: its calls are what somebody asked for.
        let purpose = ColumnDef::new(Call::Purpose).small_integer().not_null().default(0).to_owned();
        manager.alter_table(Table::alter().table(Call::Table).add_column(purpose).to_owned()).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.alter_table(Table::alter().table(Call::Table).drop_column(Call::Purpose).to_owned()).await
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}

/// The keys of projects for providers, encrypted.
async fn create_provider_key(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let text = |column: ProviderKey| ColumnDef::new(column).text().not_null().to_owned();
    let table = Table::create()
        .table(ProviderKey::Table)
        .col(ColumnDef::new(ProviderKey::Id).uuid().not_null().primary_key())
        .col(ColumnDef::new(ProviderKey::ProjectId).uuid().not_null())
        .col(text(ProviderKey::Provider))
        .col(text(ProviderKey::Title))
        .col(text(ProviderKey::Fingerprint))
        .col(text(ProviderKey::LastFour))
        .col(text(ProviderKey::KekId))
        .col(ColumnDef::new(ProviderKey::WrappedKey).binary().not_null())
        .col(ColumnDef::new(ProviderKey::SealedKey).binary().not_null())
        .col(ColumnDef::new(ProviderKey::CreateTime).big_integer().not_null())
        .col(ColumnDef::new(ProviderKey::RotateTime).big_integer().not_null())
        .to_owned();
    manager.create_table(table).await?;
    let by_project =
        Index::create().name("provider_key_by_project").table(ProviderKey::Table).col(ProviderKey::ProjectId).to_owned();
    manager.create_index(by_project).await
}

#[derive(DeriveIden)]
enum ProviderKey {
    Table,
    Id,
    ProjectId,
    Provider,
    Title,
    Fingerprint,
    LastFour,
    KekId,
    WrappedKey,
    SealedKey,
    CreateTime,
    RotateTime,
}

/// One row a call, written once it has ended.
async fn create_call(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let number = |column: Call| ColumnDef::new(column).big_integer().not_null().to_owned();
    let table = Table::create()
        .table(Call::Table)
        .col(ColumnDef::new(Call::Id).uuid().not_null().primary_key())
        .col(ColumnDef::new(Call::OrganisationId).uuid().not_null())
        .col(ColumnDef::new(Call::ProjectId).uuid().not_null())
        .col(ColumnDef::new(Call::UserId).uuid().not_null())
        .col(ColumnDef::new(Call::Token).text().not_null())
        .col(ColumnDef::new(Call::ConversationId).uuid().null())
        .col(ColumnDef::new(Call::PlanId).uuid().null())
        .col(number(Call::CreateTime))
        .col(number(Call::Day))
        .col(ColumnDef::new(Call::Model).text().not_null())
        .col(ColumnDef::new(Call::Provider).text().not_null())
        .col(ColumnDef::new(Call::Outcome).small_integer().not_null())
        .col(ColumnDef::new(Call::Reason).text().not_null())
        .col(number(Call::InputTokens))
        .col(number(Call::OutputTokens))
        .col(number(Call::CachedInputTokens))
        .col(number(Call::CacheWriteTokens))
        .col(number(Call::ReasoningTokens))
        .col(number(Call::ImageTokens))
        .col(ColumnDef::new(Call::Estimated).boolean().not_null())
        .col(number(Call::CostMicros))
        .col(ColumnDef::new(Call::PriceVersion).text().null())
        .col(number(Call::EstimateMicros))
        .col(number(Call::LatencyMs))
        .col(ColumnDef::new(Call::FirstTokenMs).big_integer().null())
        .col(ColumnDef::new(Call::CacheHit).boolean().not_null())
        .to_owned();
    manager.create_table(table).await?;
    let by_project =
        Index::create().name("call_by_project").table(Call::Table).col(Call::ProjectId).col(Call::CreateTime).to_owned();
    manager.create_index(by_project).await?;
    let by_organisation = Index::create()
        .name("call_by_organisation")
        .table(Call::Table)
        .col(Call::OrganisationId)
        .col(Call::CreateTime)
        .to_owned();
    manager.create_index(by_organisation).await?;
    let by_conversation = Index::create()
        .name("call_by_conversation")
        .table(Call::Table)
        .col(Call::ConversationId)
        .col(Call::CreateTime)
        .to_owned();
    manager.create_index(by_conversation).await
}

/// What was tried, for calls that took more than one try.
async fn create_call_attempt(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let number = |column: CallAttempt| ColumnDef::new(column).big_integer().not_null().to_owned();
    let call = ForeignKey::create()
        .name("call_attempt_call")
        .from(CallAttempt::Table, CallAttempt::CallId)
        .to(Call::Table, Call::Id)
        .on_delete(ForeignKeyAction::Cascade)
        .to_owned();
    let table = Table::create()
        .table(CallAttempt::Table)
        .col(ColumnDef::new(CallAttempt::CallId).uuid().not_null())
        .col(ColumnDef::new(CallAttempt::Number).integer().not_null())
        .col(ColumnDef::new(CallAttempt::Model).text().not_null())
        .col(ColumnDef::new(CallAttempt::Outcome).small_integer().not_null())
        .col(ColumnDef::new(CallAttempt::Reason).text().not_null())
        .col(number(CallAttempt::InputTokens))
        .col(number(CallAttempt::OutputTokens))
        .col(number(CallAttempt::CostMicros))
        .col(number(CallAttempt::LatencyMs))
        .primary_key(Index::create().col(CallAttempt::CallId).col(CallAttempt::Number))
        .foreign_key(&mut call.clone())
        .to_owned();
    manager.create_table(table).await
}

async fn create_budget(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let table = Table::create()
        .table(Budget::Table)
        .col(ColumnDef::new(Budget::Id).uuid().not_null().primary_key())
        .col(ColumnDef::new(Budget::OrganisationId).uuid().not_null())
        // Nil for what belongs to the organisation.
        .col(ColumnDef::new(Budget::ProjectId).uuid().not_null())
        .col(ColumnDef::new(Budget::Name).text().not_null())
        .col(ColumnDef::new(Budget::SubjectKind).small_integer().not_null())
        .col(ColumnDef::new(Budget::Subject).text().not_null())
        .col(ColumnDef::new(Budget::WindowKind).small_integer().not_null())
        .col(ColumnDef::new(Budget::LimitMicros).big_integer().null())
        .col(ColumnDef::new(Budget::LimitTokens).big_integer().null())
        .col(ColumnDef::new(Budget::Thresholds).text().not_null())
        .col(ColumnDef::new(Budget::RefuseUnpriced).boolean().not_null())
        .col(ColumnDef::new(Budget::Version).big_integer().not_null())
        .col(ColumnDef::new(Budget::CreateTime).big_integer().not_null())
        .col(ColumnDef::new(Budget::UpdateTime).big_integer().not_null())
        .to_owned();
    manager.create_table(table).await?;
    let by_owner = Index::create()
        .name("budget_by_owner")
        .table(Budget::Table)
        .col(Budget::OrganisationId)
        .col(Budget::ProjectId)
        .to_owned();
    manager.create_index(by_owner).await
}

/// One row for each window of each subject, made when the first call needs room in it.
async fn create_budget_window(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let number = |column: BudgetWindow| ColumnDef::new(column).big_integer().not_null().to_owned();
    let budget = ForeignKey::create()
        .name("budget_window_budget")
        .from(BudgetWindow::Table, BudgetWindow::BudgetId)
        .to(Budget::Table, Budget::Id)
        .on_delete(ForeignKeyAction::Cascade)
        .to_owned();
    let table = Table::create()
        .table(BudgetWindow::Table)
        .col(ColumnDef::new(BudgetWindow::Id).uuid().not_null().primary_key())
        .col(ColumnDef::new(BudgetWindow::BudgetId).uuid().not_null())
        .col(ColumnDef::new(BudgetWindow::OrganisationId).uuid().not_null())
        .col(ColumnDef::new(BudgetWindow::ProjectId).uuid().not_null())
        // The subject with its kind before it, as calls find their windows.
        .col(ColumnDef::new(BudgetWindow::SubjectKey).text().not_null())
        .col(number(BudgetWindow::StartTime))
        .col(number(BudgetWindow::EndTime))
        .col(number(BudgetWindow::SpentMicros))
        .col(number(BudgetWindow::SpentTokens))
        .col(number(BudgetWindow::ReservedMicros))
        .col(number(BudgetWindow::ReservedTokens))
        // The highest threshold that was told of, in percent.
        .col(ColumnDef::new(BudgetWindow::Told).small_integer().not_null())
        .foreign_key(&mut budget.clone())
        .to_owned();
    manager.create_table(table).await?;
    let one = Index::create()
        .name("budget_window_one")
        .table(BudgetWindow::Table)
        .col(BudgetWindow::BudgetId)
        .col(BudgetWindow::SubjectKey)
        .col(BudgetWindow::StartTime)
        .unique()
        .to_owned();
    manager.create_index(one).await?;
    let by_subject = Index::create()
        .name("budget_window_by_subject")
        .table(BudgetWindow::Table)
        .col(BudgetWindow::OrganisationId)
        .col(BudgetWindow::SubjectKey)
        .col(BudgetWindow::EndTime)
        .to_owned();
    manager.create_index(by_subject).await
}

/// Room that a call under way holds, with all that its row in the ledger needs should its process die.
async fn create_reservation(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let table = Table::create()
        .table(Reservation::Table)
        .col(ColumnDef::new(Reservation::CallId).uuid().not_null().primary_key())
        .col(ColumnDef::new(Reservation::LeaseOwner).uuid().not_null())
        .col(ColumnDef::new(Reservation::ExpireTime).big_integer().not_null())
        // The windows' ids, with commas between them.
        .col(ColumnDef::new(Reservation::Windows).text().not_null())
        .col(ColumnDef::new(Reservation::Micros).big_integer().not_null())
        .col(ColumnDef::new(Reservation::Tokens).big_integer().not_null())
        // The call, as JSON.
        .col(ColumnDef::new(Reservation::Call).text().not_null())
        .to_owned();
    manager.create_table(table).await?;
    let by_lease = Index::create().name("reservation_by_lease").table(Reservation::Table).col(Reservation::ExpireTime).to_owned();
    manager.create_index(by_lease).await
}

#[derive(DeriveIden)]
enum Call {
    Table,
    Id,
    OrganisationId,
    ProjectId,
    UserId,
    Token,
    ConversationId,
    PlanId,
    CreateTime,
    Day,
    Model,
    Provider,
    Outcome,
    Reason,
    InputTokens,
    OutputTokens,
    CachedInputTokens,
    CacheWriteTokens,
    ReasoningTokens,
    ImageTokens,
    Estimated,
    CostMicros,
    PriceVersion,
    EstimateMicros,
    LatencyMs,
    FirstTokenMs,
    CacheHit,
    Purpose,
}

#[derive(DeriveIden)]
enum CallAttempt {
    Table,
    CallId,
    Number,
    Model,
    Outcome,
    Reason,
    InputTokens,
    OutputTokens,
    CostMicros,
    LatencyMs,
}

#[derive(DeriveIden)]
enum Budget {
    Table,
    Id,
    OrganisationId,
    ProjectId,
    Name,
    SubjectKind,
    Subject,
    WindowKind,
    LimitMicros,
    LimitTokens,
    Thresholds,
    RefuseUnpriced,
    Version,
    CreateTime,
    UpdateTime,
}

#[derive(DeriveIden)]
enum BudgetWindow {
    Table,
    Id,
    BudgetId,
    OrganisationId,
    ProjectId,
    SubjectKey,
    StartTime,
    EndTime,
    SpentMicros,
    SpentTokens,
    ReservedMicros,
    ReservedTokens,
    Told,
}

#[derive(DeriveIden)]
enum Reservation {
    Table,
    CallId,
    LeaseOwner,
    ExpireTime,
    Windows,
    Micros,
    Tokens,
    Call,
}
