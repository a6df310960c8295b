//! `slipway demo`: the whole way once. It starts the suite as a process of its own and drives it through the public gRPC
//! API only, as any client would; what it shows is what came over the wire, and what it expects it checks.

mod chart;
mod stage;
mod steps;
mod suite;
mod validate;

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::client::Api;
use crate::error::{Exit, Failure};
use crate::output::Out;
use chart::Story;
use stage::Stage;
use steps::Steps;
use suite::Suite;

/// Slipway's own chart: it is what deploys us.
const OWN_CHART: &str = "infra/helm/slipway";

/// Runs the demo on `chart`, or on our own.
pub(crate) async fn demo(out: &Out, chart: Option<PathBuf>, keep: bool) -> anyhow::Result<()> {
    let chart = chart.map_or_else(own_chart, Ok)?;
    let values = chart.join("values.yaml");
    for file in [chart.join("Chart.yaml"), values.clone()] {
        if !file.is_file() {
            return Err(Failure::usage(format!("{} is not a Helm chart: it has no {}", chart.display(), name(&file))).into());
        }
    }
    let text = std::fs::read_to_string(&values).with_context(|| format!("cannot read {}", values.display()))?;
    let story = Story::of(&text).map_err(|why| Failure::usage(format!("{}: {why}", values.display())))?;

    let mut stage = Stage::new(out);
    stage.open(&chart)?;
    let directory = tempfile::Builder::new().prefix("slipway-demo-").tempdir().context("cannot make a temporary directory")?;
    let result = play(&mut stage, &chart, &story, directory.path()).await;
    let at = stage.place();
    match result {
        Ok(()) if keep => {
            let kept = directory.keep();
            out.note(format!("kept: SLIPWAY_DATA_DIR={} slipway up", kept.join("data").display()));
            Ok(())
        }
        Ok(()) => Ok(()),
        Err(error) => {
            let log = directory.keep().join(suite::LOG);
            let (exit, sentence) = crate::error::explain(&error, "its own suite");
            let exit = if exit == Exit::Interrupted { exit } else { Exit::Failed };
            Err(Failure::new(exit, format!("the demo failed in {at}: {sentence}; the suite's log is {}", log.display())).into())
        }
    }
}

async fn play(stage: &mut Stage<'_>, chart: &Path, story: &Story, directory: &Path) -> anyhow::Result<()> {
    stage.step("start", "Start the suite: every service in one process, on loopback")?;
    let suite = Suite::start(directory).await?;
    stage.done(format!("it serves on {} after {}", suite.url, stage::seconds(suite.took)))?;
    let api = Api::connect(&suite.url, None, None)?;
    let played = tokio::select! {
        played = Steps::new(&api, stage, story, directory).play(chart) => played,
        _ = tokio::signal::ctrl_c() => Err(Failure::new(Exit::Interrupted, "stopped by Ctrl-C").into()),
    };
    let stopped = suite.stop().await;
    played?;
    stopped?;
    stage.close()
}

/// Our chart, from anywhere inside the repository.
fn own_chart() -> anyhow::Result<PathBuf> {
    let here = std::env::current_dir().context("the current directory is gone")?;
    let found = here.ancestors().map(|dir| dir.join(OWN_CHART)).find(|dir| dir.join("Chart.yaml").is_file());
    found.ok_or_else(|| Failure::usage(format!("there is no {OWN_CHART} here; name a Helm chart with --chart DIR")).into())
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
