//! `slipway inference batch`

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context as _;
use prost::Message as _;
use slipway_proto::inference::batch_complete_response::Result as Outcome;
use slipway_proto::inference::{BatchCompleteRequest, BatchCompleteResponse, Message, Prompt, Role};

use super::Api;
use crate::error::{Exit, Failure};
use crate::output::{Json, Out, count};

/// What the server takes in one call.
const MAX_PROMPTS: usize = 100;
const MAX_BYTES: usize = 12 << 20;
const ANSWER: &str = "inference.v1.BatchCompleteResponse";

/// Completes the prompts of a file and prints a line for each.
pub(crate) async fn batch(api: &Api, out: &Out, file: &Path, ordered: bool) -> anyhow::Result<()> {
    let (name, text) = match file.to_str() {
        Some("-") => ("standard input".to_owned(), std::io::read_to_string(std::io::stdin())?),
        _ => {
            let name = file.display().to_string();
            let text = std::fs::read_to_string(file).with_context(|| format!("{name} cannot be read"))?;
            (name, text)
        }
    };
    let json = Json::new()?;
    let prompts = read(&json, &text).map_err(|(line, error)| Failure::usage(format!("{name}:{line}: {error:#}")))?;
    let all = prompts.len();
    let mut printer = Printer { json, ordered, first: 0, next: 0, waiting: BTreeMap::new(), failed: 0 };
    for prompts in calls(prompts) {
        let sent = prompts.len();
        let mut answers = api.models.clone().batch_complete(BatchCompleteRequest { prompts }).await?.into_inner();
        while let Some(answer) = answers.message().await? {
            printer.take(out, answer)?;
        }
        printer.first += u32::try_from(sent)?;
    }
    match printer.failed {
        0 => Ok(()),
        failed => {
            let message = format!("{failed} of {} have no answer; see their \"error\"", count(all as u64, "prompt"));
            Err(Failure::new(Exit::Failed, message).into())
        }
    }
}

/// The prompts of all lines that are not empty; else the first line that is none.
fn read(json: &Json, text: &str) -> Result<Vec<Prompt>, (usize, anyhow::Error)> {
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    lines.map(|(n, line)| prompt(json, line).map_err(|error| (n, error))).collect()
}

fn prompt(json: &Json, line: &str) -> anyhow::Result<Prompt> {
    if line.trim_start().starts_with('"') {
        let message = Message { role: Role::User.into(), text: serde_json::from_str(line)?, ..Default::default() };
        return Ok(Prompt { messages: vec![message], ..Default::default() });
    }
    json.read("inference.v1.Prompt", line)
}

/// As many as go into one call, again and again.
fn calls(prompts: Vec<Prompt>) -> Vec<Vec<Prompt>> {
    let (mut calls, mut bytes) = (Vec::<Vec<Prompt>>::new(), 0);
    for prompt in prompts {
        let size = prompt.encoded_len();
        match calls.last_mut().filter(|call| call.len() < MAX_PROMPTS && bytes + size <= MAX_BYTES) {
            Some(call) => {
                call.push(prompt);
                bytes += size;
            }
            None => {
                calls.push(vec![prompt]);
                bytes = size;
            }
        }
    }
    calls
}

struct Printer {
    json: Json,
    ordered: bool,
    /// The place in the file of this call's first prompt.
    first: u32,
    /// The next to print, in order.
    next: u32,
    waiting: BTreeMap<u32, BatchCompleteResponse>,
    failed: usize,
}

impl Printer {
    fn take(&mut self, out: &Out, mut answer: BatchCompleteResponse) -> anyhow::Result<()> {
        answer.index += self.first;
        self.failed += usize::from(matches!(answer.result, Some(Outcome::Error(_))));
        if !self.ordered {
            return out.line(self.json.print(ANSWER, &answer)?);
        }
        self.waiting.insert(answer.index, answer);
        while let Some(answer) = self.waiting.remove(&self.next) {
            out.line(self.json.print(ANSWER, &answer)?)?;
            self.next += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_prompt_or_a_question() {
        let json = Json::new().unwrap();
        let text = "\"why \\\"so\\\"?\"\n\n{\"model\": \"p/m\", \"messages\": [{\"role\": \"ROLE_USER\", \"text\": \"hi\"}]}\n";
        let prompts = read(&json, text).unwrap();
        assert_eq!(prompts.iter().map(|p| p.messages[0].text.as_str()).collect::<Vec<_>>(), ["why \"so\"?", "hi"]);
        let (line, _) = read(&json, "\"a\"\n{\"nonsense\": 1}").unwrap_err();
        assert_eq!(line, 2);
    }

    #[test]
    fn calls_are_as_large_as_the_server_takes() {
        let small = Prompt { model: "p/m".into(), ..Default::default() };
        let large = Prompt { model: "x".repeat(MAX_BYTES / 2), ..Default::default() };
        let sizes = |prompts: Vec<Prompt>| calls(prompts).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(sizes(vec![small; 250]), [100, 100, 50]);
        assert_eq!(sizes(vec![large; 3]), [1, 1, 1]);
        assert!(calls(Vec::new()).is_empty());
    }
}
