//! The faults: what is pulled, how, and for how long.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rand::Rng as _;
use rand::rngs::StdRng;
use slipway_testkit::proxy::Proxy;

use super::world::World;

/// Longer than a lease: whoever is frozen for so long has lost what it held.
const FROZEN: Duration = Duration::from_secs(5);
const CUT: Duration = Duration::from_millis(1500);
const AWAY: Duration = Duration::from_millis(500);
const DRAIN_LIMIT: Duration = Duration::from_secs(40);

/// What is done to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// SIGKILL, and a new start.
    Kill,
    /// SIGSTOP for longer than a lease, then SIGCONT; for an engine: not a byte comes through meanwhile.
    Freeze,
    /// SIGTERM, and a new start once it has ended by itself.
    Stop,
    /// Every connection is broken off, and none is let in for a while.
    Cut,
}

/// One thing that is done to one part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    how: How,
    what: &'static str,
}

const SERVICES: [&str; 6] = ["conversation", "planner", "file-store", "embedding", "inference", "gateway"];
const ENGINES: [&str; 3] = ["postgres", "nats", "s3"];

impl Fault {
    /// Everything to every part.
    pub(super) fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for what in SERVICES {
            all.extend([How::Kill, How::Freeze, How::Stop, How::Cut].map(|how| Self { how, what }));
        }
        for what in ENGINES {
            all.extend([How::Kill, How::Freeze, How::Cut].map(|how| Self { how, what }));
        }
        all
    }

    /// Each way, and each part that does not die at places in its code as well.
    pub(super) fn few() -> Vec<Self> {
        [
            (How::Kill, "inference"),
            (How::Kill, "gateway"),
            (How::Cut, "file-store"),
            (How::Freeze, "conversation"),
            (How::Freeze, "planner"),
            (How::Stop, "conversation"),
            (How::Kill, "postgres"),
            (How::Kill, "nats"),
            (How::Kill, "s3"),
        ]
        .map(|(how, what)| Self { how, what })
        .into()
    }

    /// Whether there is anything to strike.
    pub(super) fn is_possible(self, world: &World) -> bool {
        self.what != "s3" || world.s3.is_some()
    }

    pub(super) fn name(self) -> String {
        format!("{:?} {}", self.how, self.what).to_lowercase()
    }

    /// Makes it happen, and undoes it.
    pub(super) async fn inject(self, world: &mut World, dice: &mut StdRng) -> anyhow::Result<()> {
        match self.what {
            "postgres" | "nats" | "s3" => self.strike_engine(world).await,
            service => {
                let replicas = world.cluster.replicas_of(service);
                ensure!(!replicas.is_empty(), "there is no {service}");
                let number = replicas[dice.random_range(0..replicas.len())];
                self.strike_process(world, number).await
            }
        }
    }

    async fn strike_process(self, world: &mut World, number: usize) -> anyhow::Result<()> {
        let cluster = &mut world.cluster;
        match self.how {
            How::Kill => {
                cluster.kill_one(number);
                tokio::time::sleep(AWAY).await;
                cluster.restart_one(number).await
            }
            How::Freeze => {
                cluster.signal_one(number, "STOP").await?;
                tokio::time::sleep(FROZEN).await;
                cluster.signal_one(number, "CONT").await
            }
            How::Stop => {
                cluster.signal_one(number, "TERM").await?;
                let deadline = Instant::now() + DRAIN_LIMIT;
                while cluster.member_mut(number).daemon.ended()?.is_none() {
                    ensure!(Instant::now() < deadline, "{} does not end within {DRAIN_LIMIT:?} of SIGTERM", self.what);
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                let status = cluster.member_mut(number).daemon.ended()?.context("it has ended")?;
                cluster.restart_one(number).await?;
                ensure!(status.success(), "{} ended with {status} after SIGTERM", self.what);
                Ok(())
            }
            How::Cut => {
                cluster.doors_of(self.what).for_each(Proxy::cut);
                tokio::time::sleep(CUT).await;
                world.cluster.doors_of(self.what).for_each(Proxy::mend);
                Ok(())
            }
        }
    }

    async fn strike_engine(self, world: &mut World) -> anyhow::Result<()> {
        let door = match self.what {
            "nats" => &world.bus_door,
            "s3" => world.bucket_door.as_ref().context("there is no S3 server")?,
            _ => &world.store_door,
        };
        match (self.how, self.what) {
            (How::Cut | How::Stop, _) => {
                door.cut();
                tokio::time::sleep(CUT).await;
                door.mend();
                Ok(())
            }
            (How::Freeze, _) => {
                door.pause();
                tokio::time::sleep(FROZEN).await;
                door.mend();
                Ok(())
            }
            (How::Kill, "nats") => {
                world.nats.kill().await?;
                tokio::time::sleep(AWAY).await;
                world.nats.restart().await
            }
            (How::Kill, "s3") => {
                let s3 = world.s3.as_mut().context("there is no S3 server")?;
                s3.kill().await?;
                tokio::time::sleep(AWAY).await;
                s3.restart().await
            }
            (How::Kill, _) => {
                world.postgres.kill().await?;
                tokio::time::sleep(AWAY).await;
                world.postgres.restart().await
            }
        }
    }
}
