//! Pulling plugs: the suite runs at scale on real engines, clients that behave talk to it, and while they do one thing after
//! the other is killed, frozen, stopped or cut off, or dies at a labelled place in its code. Afterwards everything that was accepted is counted from outside.
//!
//! `make test` runs the short form; with `SLIPWAY_TEST_SOAK_SECONDS` (`make soak`) every fault is tried in turn for so long, with
//! more at once. `SLIPWAY_TEST_SEED` repeats the choices of an earlier run.

mod cases;
mod crash;
mod inject;
mod load;
mod proof;
mod report;
mod trail;
mod world;

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use inject::Fault;
use report::{Report, Row};
use world::World;

/// How much a run of this test does.
struct Scope {
    faults: Vec<Fault>,
    /// Conversations at once in each round.
    conversations: usize,
    /// Rounds start until then; each fault comes at least once.
    until: Instant,
    seed: u64,
}

impl Scope {
    fn from_environment() -> Self {
        let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
        let seed = number("SLIPWAY_TEST_SEED");
        match number("SLIPWAY_TEST_SOAK_SECONDS") {
            Some(seconds) => Self {
                faults: Fault::all(),
                conversations: number("SLIPWAY_TEST_SOAK_CONVERSATIONS").unwrap_or(200) as usize,
                until: Instant::now() + Duration::from_secs(seconds),
                seed: seed.unwrap_or_else(|| rand::rng().random()),
            },
            None => Self { faults: Fault::few(), conversations: 9, until: Instant::now(), seed: seed.unwrap_or(1) },
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_accepted_is_lost_whatever_is_pulled() {
    let Some(mut world) = World::start().await.expect("the suite starts") else { return };
    let mut scope = Scope::from_environment();
    scope.faults.retain(|fault| fault.is_possible(&world));
    let mut dice = StdRng::seed_from_u64(scope.seed);
    let mut report = Report::new(scope.seed);
    for places in crash::rounds() {
        let row = crash_round(&mut world, &places, scope.conversations).await;
        report.add(row);
    }
    let mut round = 0;
    while round < scope.faults.len() || Instant::now() < scope.until {
        let fault = scope.faults[round % scope.faults.len()];
        let row = one_round(&mut world, fault, scope.conversations, &mut dice).await;
        report.add(row);
        round += 1;
    }
    report.print_details();
    if !report.is_clean() {
        panic!("what should be zero is not; the logs of all processes are in {:?}", world.keep_logs());
    }
}

/// Some conversations at once, one fault while they are at work, and the proof when all have ended.
async fn one_round(world: &mut World, fault: Fault, conversations: usize, dice: &mut StdRng) -> Row {
    let started = Instant::now();
    let load = load::start(world, conversations);
    load.at_work().await;
    let moment = Duration::from_millis(dice.random_range(0..400));
    tokio::time::sleep(moment).await;
    let struck = Instant::now();
    let injected = fault.inject(world, dice).await;
    let told = load.ended().await;
    let mut row = Row::new(fault.name());
    if let Err(error) = injected {
        row.finding(format!("the fault could not be made: {error:#}"));
    }
    prove(world, &told, Some(struck), &mut row).await;
    row.took = started.elapsed();
    row
}

/// Some conversations at once, while services die at places in their code.
async fn crash_round(world: &mut World, places: &[crash::Place], conversations: usize) -> Row {
    let started = Instant::now();
    let mut row = Row::new(format!("die at {} places", places.len()));
    row.note = crash::describe(places);
    let mut armed = match crash::Armed::new(world, places).await {
        Ok(armed) => armed,
        Err(error) => {
            row.finding(format!("the services do not start: {error:#}"));
            return row;
        }
    };
    let mut ended = std::pin::pin!(load::start(world, conversations).ended());
    let told = tokio::select! {
        told = &mut ended => told,
        Err(error) = armed.tend(world) => {
            row.finding(format!("what died does not come back: {error:#}"));
            ended.await
        }
    };
    let struck = armed.first_death();
    if let Err(error) = armed.disarm(world, &mut row).await {
        row.finding(format!("the services do not start again: {error:#}"));
    }
    prove(world, &told, struck, &mut row).await;
    row.took = started.elapsed();
    row
}

async fn prove(world: &World, told: &[load::Told], struck: Option<Instant>, row: &mut Row) {
    row.recoveries = struck.map(|struck| told.iter().flat_map(|told| told.recovery(struck)).collect()).unwrap_or_default();
    proof::of_cases(world, told, row).await;
    proof::of_tables(world, row).await;
}
