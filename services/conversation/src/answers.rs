//! The answers that need no model: what a plan does, what became of it, and what Slipway cannot do.

use slipway_proto::planner::{Plan, Step, StepAction};

use crate::model::IntentKind;

/// The longest change request that the planner takes, in characters.
pub(crate) const MAX_REQUEST: usize = 32_000;

/// A plan that waits for review.
pub(crate) fn plan_ready(plan: &Plan) -> String {
    let mut text = match plan.summary.trim() {
        "" => "I made a plan for this.".to_owned(),
        summary => format!("I made a plan: {summary}"),
    };
    text.push_str("\n\n");
    for step in &plan.steps {
        text.push_str(&format!("{}. {} `{}`", step.number, verb(step), step.path));
        if !step.reason.trim().is_empty() {
            text.push_str(&format!(": {}", step.reason.trim()));
        }
        text.push('\n');
    }
    text.push_str(&format!(
        "\nNo file is changed yet. Say \"go ahead\" to apply it, or approve version {} of plan {} yourself; say what should be \
         different to have another plan made.",
        plan.version, plan.id
    ));
    text
}

/// A plan that became a revision; `number` is the revision's, where it could be had.
pub(crate) fn plan_applied(plan: &Plan, number: Option<u64>) -> String {
    let revision = match number {
        Some(number) => format!("revision {number} ({})", plan.applied_revision_id),
        None => format!("revision {}", plan.applied_revision_id),
    };
    let files: Vec<_> = plan.steps.iter().map(|s| format!("- {} `{}`", verb(s), s.path)).collect();
    format!(
        "Done: the plan is applied as {revision}.\n\n{}\n\nIf it is not what you wanted, restore the revision before it.",
        files.join("\n")
    )
}

/// A plan that could not be made, for a reason that belongs to the request.
pub(crate) fn plan_unusable(why: &str) -> String {
    format!("I could not make a plan for this: {why}\n\nNo file is changed. Say it another way, or in smaller steps.")
}

/// The person rejected the plan while it was made.
pub(crate) fn plan_rejected() -> String {
    "The plan was rejected in the meantime, so nothing is left to do. No file is changed.".to_owned()
}

/// There is nothing to go on with.
pub(crate) fn nothing_to_proceed() -> String {
    "There is no plan waiting for approval in this conversation. Tell me what to change and I will propose one.".to_owned()
}

/// The request does not fit.
pub(crate) fn request_too_long() -> String {
    format!("A change request may be at most {MAX_REQUEST} characters long. Say it shorter, or in several messages.")
}

/// It cannot be told what is asked for; `why` says what stands in the way, as the intent's reason.
pub(crate) fn unclear(why: &str) -> String {
    let why = match why.trim() {
        "" => String::new(),
        why => format!(": {why}"),
    };
    format!(
        "I am not sure what you would like{why}. Do you want an answer about the files, or a change to them? For a change, say \
         which file or value and what it should become."
    )
}

/// What is asked for is not to be had here; `None` for the kinds that are.
pub(crate) fn cannot(kind: IntentKind) -> Option<&'static str> {
    match kind {
        IntentKind::Render => Some(
            "I cannot render charts inside the service yet. To see the manifests, export the workspace and render it yourself:\n\n\
             ```\nslipway workspace export <workspace> ./chart\nhelm template my-release ./chart\n```\n\n\
             I can tell you what the templates and values say, or propose a change to them.",
        ),
        IntentKind::OffTopic => Some(
            "That is not something I can help with. I answer questions about the files of a workspace, such as a Helm chart or \
             Kubernetes manifests, and propose changes to them for you to review.",
        ),
        IntentKind::Converse | IntentKind::Plan | IntentKind::Proceed | IntentKind::Unclear => None,
    }
}

fn verb(step: &Step) -> &'static str {
    match step.action() {
        StepAction::Create => "create",
        StepAction::Delete => "delete",
        StepAction::Update | StepAction::Unspecified => "update",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        let step = |number, path: &str, action: StepAction, reason: &str| Step {
            number,
            path: path.into(),
            action: action.into(),
            reason: reason.into(),
            ..Default::default()
        };
        Plan {
            id: "p1".into(),
            summary: "Three replicas and an ingress.".into(),
            version: 2,
            steps: vec![
                step(1, "values.yaml", StepAction::Update, "set gateway.replicas to 3"),
                step(2, "templates/ingress.yaml", StepAction::Create, ""),
            ],
            applied_revision_id: "r2".into(),
            ..Default::default()
        }
    }

    #[test]
    fn a_ready_plan_names_its_files_and_how_to_approve_it() {
        let text = plan_ready(&plan());
        assert!(text.starts_with(
            "I made a plan: Three replicas and an ingress.\n\n1. update `values.yaml`: set gateway.replicas to 3\n"
        ));
        assert!(text.contains("2. create `templates/ingress.yaml`\n"));
        assert!(text.contains("\"go ahead\"") && text.contains("version 2 of plan p1"));
    }

    #[test]
    fn an_applied_plan_names_its_revision() {
        assert!(plan_applied(&plan(), Some(2)).starts_with("Done: the plan is applied as revision 2 (r2)."));
        assert!(plan_applied(&plan(), None).starts_with("Done: the plan is applied as revision r2."));
    }

    #[test]
    fn every_kind_is_either_worked_on_or_declined() {
        assert!(cannot(IntentKind::Render).is_some_and(|t| t.contains("helm template")));
        assert!(cannot(IntentKind::OffTopic).is_some());
        assert!(cannot(IntentKind::Converse).is_none());
    }

    #[test]
    fn what_is_unclear_is_said_with_its_reason() {
        let text = unclear("the message tells to go on, but no plan waits for review");
        assert!(text.starts_with("I am not sure what you would like: the message tells to go on, but no plan waits"), "{text}");
        assert!(unclear(" ").starts_with("I am not sure what you would like. Do you"));
    }
}
