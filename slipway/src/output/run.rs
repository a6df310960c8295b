//! Runs: an answer as it is written, its citations, and the plan that it may have made.

use slipway_proto::conversation::run_event::Event;
use slipway_proto::conversation::{Citation, Run, RunEvent, RunState, WatchRunResponse};
use slipway_proto::planner::{Plan, plan_event};

use super::{Out, PlanPrinter, dollars, place};

/// Prints a run's events one by one and remembers what came of it.
pub(crate) struct RunPrinter<'a> {
    out: &'a Out,
    plans: PlanPrinter<'a>,
    indent: &'static str,
    /// False: the answer's text is left out, since what it tells is shown otherwise.
    words: bool,
    /// True: what the answer used is told at its end.
    cost: bool,
    /// True while the last text did not end its line.
    open: bool,
    /// The run as its terminal event left it.
    pub(crate) run: Option<Run>,
    /// The newest state of the plan that the run made.
    pub(crate) plan: Option<Plan>,
    /// What the answer cites.
    pub(crate) citations: Vec<Citation>,
    /// The answer's text.
    pub(crate) text: String,
}

impl<'a> RunPrinter<'a> {
    pub(crate) fn new(out: &'a Out, indent: &'static str) -> Self {
        let plans = PlanPrinter::new(out, indent);
        Self {
            out,
            plans,
            indent,
            words: true,
            cost: false,
            open: false,
            run: None,
            plan: None,
            citations: Vec::new(),
            text: String::new(),
        }
    }

    /// Leaves the answer's text out.
    pub(crate) fn without_words(mut self) -> Self {
        self.words = false;
        self
    }

    /// Tells at the end what the answer used and cost.
    pub(crate) fn with_cost(mut self) -> Self {
        self.cost = true;
        self
    }

    /// Takes one event. With `--json` it is printed as it is.
    pub(crate) fn event(&mut self, event: &RunEvent) -> anyhow::Result<()> {
        let quiet = self.out.is_json();
        if quiet {
            self.out.json("conversation.v1.WatchRunResponse", &WatchRunResponse { event: Some(event.clone()) })?;
        }
        let Some(kind) = &event.event else { return Ok(()) };
        match kind {
            Event::Text(delta) => {
                self.text.push_str(&delta.text);
                if !quiet && self.words {
                    self.write(&delta.text)?;
                }
            }
            Event::Restarted(_) => {
                self.text.clear();
                if !quiet {
                    self.close()?;
                    self.out.line(format!(
                        "{}{}",
                        self.indent,
                        self.out.paint.yellow("taken over by another worker; from the start:")
                    ))?;
                }
            }
            Event::Plan(event) => {
                self.plan = plan_of(event.event.as_ref()).or(self.plan.take());
                if !quiet {
                    self.close()?;
                    self.plans.event(event)?;
                }
            }
            Event::Completed(end) | Event::Failed(end) | Event::Cancelled(end) => {
                self.run.clone_from(&end.run);
                self.citations = end.message.as_ref().map(|m| m.citations.clone()).unwrap_or_default();
                if !quiet {
                    self.close()?;
                    self.ended()?;
                    self.used()?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn write(&mut self, text: &str) -> anyhow::Result<()> {
        let mut shown = String::new();
        for part in text.split_inclusive('\n') {
            if !self.open && !part.trim_end().is_empty() {
                shown.push_str(self.indent);
            }
            shown.push_str(part);
            self.open = !part.ends_with('\n');
        }
        self.out.raw(shown.as_bytes())
    }

    /// Ends the line of text, if one is open.
    fn close(&mut self) -> anyhow::Result<()> {
        if std::mem::take(&mut self.open) { self.out.line("") } else { Ok(()) }
    }

    fn used(&self) -> anyhow::Result<()> {
        let told = self.run.as_ref().filter(|_| self.cost).and_then(cost_of);
        told.map_or(Ok(()), |told| self.out.line(format!("{}{}", self.indent, self.out.paint.dim(told))))
    }

    fn ended(&self) -> anyhow::Result<()> {
        let paint = self.out.paint;
        if !self.citations.is_empty() {
            self.out.line("")?;
        }
        for c in &self.citations {
            let place = paint.cyan(place(&c.path, c.start_line, c.end_line));
            self.out.line(format!("{}{} {place}", self.indent, paint.dim(format!("[{}]", c.index))))?;
        }
        let Some(run) = &self.run else { return Ok(()) };
        match run.state() {
            RunState::Failed => {
                let text = run.failure.as_ref().map_or_else(String::new, |f| format!("{} ({})", f.message, f.reason));
                self.out.line(format!("{}{} {text}", self.indent, paint.red("✗")))
            }
            RunState::Cancelled => self.out.line(format!("{}{}", self.indent, paint.yellow("cancelled"))),
            _ => Ok(()),
        }
    }
}

/// The model, the tokens and the cost of a run; `None` when no model was called.
fn cost_of(run: &Run) -> Option<String> {
    let usage = run.usage.as_ref()?;
    let about = if usage.estimated { "about " } else { "" };
    let tokens = format!("{about}{} tokens in, {} out", usage.input_tokens, usage.output_tokens);
    let cost = match usage.cost_micros {
        0 if usage.price_version.is_empty() => None,
        0 => Some("free".to_owned()),
        micros => Some(format!("${}", dollars(micros))),
    };
    let model = Some(run.model.clone()).filter(|model| !model.is_empty());
    Some([model, Some(tokens), cost].into_iter().flatten().collect::<Vec<_>>().join(" · "))
}

fn plan_of(event: Option<&plan_event::Event>) -> Option<Plan> {
    use plan_event::Event as E;
    match event? {
        E::Snapshot(p) | E::Drafting(p) | E::Ready(p) | E::Applying(p) | E::Applied(p) | E::Rejected(p) | E::Failed(p) => {
            Some(p.clone())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use slipway_proto::inference::Usage;

    use super::*;

    #[test]
    fn a_run_tells_what_it_used() {
        let priced = |cost_micros, price_version: &str| Usage {
            input_tokens: 1_200,
            output_tokens: 34,
            cost_micros,
            price_version: price_version.into(),
            ..Usage::default()
        };
        let told = |model: &str, usage| cost_of(&Run { model: model.into(), usage, ..Run::default() });
        assert_eq!(
            told("openai/gpt-4o", Some(priced(1_234, "list"))).unwrap(),
            "openai/gpt-4o · 1200 tokens in, 34 out · $0.001234"
        );
        assert_eq!(told("", Some(priced(0, "cache"))).unwrap(), "1200 tokens in, 34 out · free");
        let unknown = Usage { estimated: true, ..priced(0, "") };
        assert_eq!(told("x/y", Some(unknown)).unwrap(), "x/y · about 1200 tokens in, 34 out");
        assert_eq!(told("x/y", None), None);
    }
}
