//! Plans and their events.

use slipway_proto::planner::plan_event::Event;
use slipway_proto::planner::{Plan, PlanEvent, PlanState, Step, StepAction, StepState};

use super::{Out, Paint, Table};

/// Prints a plan's events one by one.
pub(crate) struct PlanPrinter<'a> {
    out: &'a Out,
    indent: &'static str,
}

impl<'a> PlanPrinter<'a> {
    pub(crate) fn new(out: &'a Out, indent: &'static str) -> Self {
        Self { out, indent }
    }

    /// Prints what the event tells; heartbeats and unknown events print nothing.
    pub(crate) fn event(&self, event: &PlanEvent) -> anyhow::Result<()> {
        let paint = self.out.paint;
        let Some(kind) = &event.event else { return Ok(()) };
        match kind {
            Event::Heartbeat(_) | Event::Snapshot(_) | Event::Usage(_) => Ok(()),
            Event::Drafting(plan) => self.line(paint.dim(format!("plan {} version {} is being made", plan.id, plan.version))),
            Event::Restarted(r) => self.line(paint.yellow(format!("taken over by another worker, attempt {}", r.attempt))),
            Event::FilesSelected(files) => self.line(paint.dim(format!("looked at {}", shortened(&files.paths)))),
            Event::StepProposed(step) => self.line(format!("{} {}", paint.cyan(action(step)), step.path)),
            Event::Ready(_) => self.line(format!("{} the plan is ready for review", paint.green("✓"))),
            Event::Applying(_) => self.line(paint.dim("the plan is being applied")),
            Event::StepStarted(step) => {
                self.line(format!("{} {} {}", paint.dim(format!("step {}", step.number)), action(step), step.path))
            }
            Event::Edit(edit) => {
                let sign = if edit.ok { paint.green("✓") } else { paint.red("✗") };
                self.line(format!("  {sign} {} {}  {}", paint.cyan(&edit.tool), edit.path, paint.dim(first_line(&edit.message))))
            }
            Event::StepEnded(step) if step.state() == StepState::Failed => {
                self.line(paint.red(format!("step {} could not be made", step.number)))
            }
            Event::StepEnded(_) => Ok(()),
            Event::Applied(_) => self.line(format!("{} applied", paint.green("✓"))),
            Event::Rejected(_) => self.line(paint.yellow("rejected")),
            Event::Failed(plan) => self.line(format!("{} {}", paint.red("✗"), failure(plan))),
        }
    }

    fn line(&self, text: impl AsRef<str>) -> anyhow::Result<()> {
        self.out.line(format!("{}{}", self.indent, text.as_ref()))
    }
}

/// The steps as a table.
pub(crate) fn steps(plan: &Plan, paint: Paint) -> String {
    let mut table = Table::framed(&["#", "action", "file", "why"], paint);
    for step in &plan.steps {
        table.row([step.number.to_string(), action(step).to_owned(), step.path.clone(), step.reason.clone()]);
    }
    table.text()
}

/// The state in one word.
pub(crate) fn state_name(plan: &Plan) -> &'static str {
    match plan.state() {
        PlanState::Unspecified => "unknown",
        PlanState::Drafting => "drafting",
        PlanState::Ready => "ready",
        PlanState::Applying => "applying",
        PlanState::Applied => "applied",
        PlanState::Rejected => "rejected",
        PlanState::Failed => "failed",
    }
}

/// Why a plan failed, in a sentence.
fn failure(plan: &Plan) -> String {
    plan.failure.as_ref().map_or_else(|| "the plan failed".to_owned(), |f| format!("{} ({})", f.message, f.reason))
}

fn action(step: &Step) -> &'static str {
    match step.action() {
        StepAction::Create => "create",
        StepAction::Delete => "delete",
        StepAction::Update | StepAction::Unspecified => "update",
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

fn shortened(paths: &[String]) -> String {
    const SHOWN: usize = 4;
    let shown = paths.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    match paths.len().checked_sub(SHOWN) {
        Some(more) if more > 0 => format!("{shown} and {} more", more),
        _ if paths.is_empty() => "no files".to_owned(),
        _ => shown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_are_shortened() {
        let paths = |n: usize| (0..n).map(|i| format!("f{i}")).collect::<Vec<_>>();
        assert_eq!(shortened(&paths(0)), "no files");
        assert_eq!(shortened(&paths(4)), "f0, f1, f2, f3");
        assert_eq!(shortened(&paths(6)), "f0, f1, f2, f3 and 2 more");
    }

    #[test]
    fn steps_make_a_table() {
        let step = Step {
            number: 1,
            path: "values.yaml".into(),
            action: StepAction::Update.into(),
            reason: "replicas 3".into(),
            ..Default::default()
        };
        let text = steps(&Plan { steps: vec![step], ..Default::default() }, Paint::new(false));
        assert!(text.contains("values.yaml") && text.contains("update") && text.contains("replicas 3"), "{text}");
    }
}
