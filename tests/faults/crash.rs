//! Deaths at labelled places in the code: every replica of some services is told where to die, and is started again without
//! that once it has.

use std::time::{Duration, Instant};

use slipway_storage::crash;
use slipway_testkit::tools;

use super::report::Row;
use super::world::World;

/// Places that are in every service's way, and the service that dies there.
const SHARED: [(&str, &str); 4] = [
    ("job.claimed", "embedding"),
    ("job.renewed", "conversation"),
    ("job.completed", "planner"),
    ("outbox.published", "file-store"),
];
/// What is passed only where there are embedding weights.
const WANTS_WEIGHTS: &str = "embedding.vectors_written";
/// What is passed only where there are budgets, which have a test of their own.
const WANTS_BUDGET: &str = "inference.reserved";
const LOOK: Duration = Duration::from_millis(20);

/// Where one service dies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    label: &'static str,
    service: &'static str,
}

/// Every place once, in as few rounds as there are places in one service: different services die in the same round.
pub(super) fn rounds() -> Vec<Vec<Place>> {
    let weights = tools::cache().join("models/all-MiniLM-L6-v2/model.safetensors").is_file();
    let mut rounds: Vec<Vec<Place>> = Vec::new();
    let passed = |label: &str| (weights || label != WANTS_WEIGHTS) && label != WANTS_BUDGET;
    for (label, _) in crash::POINTS.iter().filter(|(label, _)| passed(label)) {
        let place = Place { label, service: service_of(label) };
        match rounds.iter_mut().find(|round| round.iter().all(|other| other.service != place.service)) {
            Some(round) => round.push(place),
            None => rounds.push(vec![place]),
        }
    }
    rounds
}

fn service_of(label: &str) -> &'static str {
    if let Some((_, service)) = SHARED.iter().find(|(shared, _)| *shared == label) {
        return service;
    }
    match label.split('.').next() {
        Some("conversation") => "conversation",
        Some("planner") => "planner",
        Some("file_store") => "file-store",
        Some("inference") => "inference",
        _ => "embedding",
    }
}

/// The processes that are to die.
pub(super) struct Armed {
    members: Vec<Doomed>,
}

struct Doomed {
    number: usize,
    place: Place,
    died: Option<Instant>,
}

impl Armed {
    /// Starts the services of these places again, so that they die there.
    pub(super) async fn new(world: &mut World, places: &[Place]) -> anyhow::Result<Self> {
        let mut members = Vec::new();
        for place in places {
            for number in world.cluster.replicas_of(place.service) {
                world.cluster.kill_one(number);
                let daemon = &mut world.cluster.member_mut(number).daemon;
                daemon.set(crash::VARIABLE, place.label);
                daemon.spawn()?;
                members.push(Doomed { number, place: *place, died: None });
            }
        }
        for doomed in &members {
            world.cluster.wait(doomed.number).await?;
        }
        Ok(Self { members })
    }

    /// Starts again what has died, for as long as it is polled.
    pub(super) async fn tend(&mut self, world: &mut World) -> anyhow::Result<()> {
        loop {
            for doomed in self.members.iter_mut().filter(|doomed| doomed.died.is_none()) {
                let daemon = &mut world.cluster.member_mut(doomed.number).daemon;
                if daemon.ended()?.is_some() {
                    doomed.died = Some(Instant::now());
                    daemon.unset(crash::VARIABLE);
                    world.cluster.restart_one(doomed.number).await?;
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Disarms the survivors. A place at which nobody has died proves nothing.
    pub(super) async fn disarm(self, world: &mut World, row: &mut Row) -> anyhow::Result<()> {
        for doomed in &self.members {
            world.cluster.member_mut(doomed.number).daemon.unset(crash::VARIABLE);
            world.cluster.restart_one(doomed.number).await?;
            let place = doomed.place;
            let reached = self.members.iter().any(|other| other.place.label == place.label && other.died.is_some());
            if !reached && world.cluster.members()[doomed.number].replica == 0 {
                row.finding(format!("{} never came to {}", place.service, place.label));
            }
        }
        Ok(())
    }

    /// When the first of them died.
    pub(super) fn first_death(&self) -> Option<Instant> {
        self.members.iter().filter_map(|doomed| doomed.died).min()
    }
}

/// What a round is called.
pub(super) fn describe(places: &[Place]) -> String {
    places.iter().map(|place| place.label).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_is_in_one_round_and_no_service_twice_in_a_round() {
        let rounds = rounds();
        assert!(rounds.iter().map(Vec::len).sum::<usize>() >= crash::POINTS.len() - 1);
        for round in &rounds {
            let mut services: Vec<_> = round.iter().map(|place| place.service).collect();
            services.sort_unstable();
            services.dedup();
            assert_eq!(services.len(), round.len(), "{round:?}");
        }
    }
}
