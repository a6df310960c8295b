//! The rules of plans.

use super::*;

fn plan(state: PlanState) -> Plan {
    Plan {
        id: Uuid::now_v7(),
        project_id: Uuid::now_v7(),
        workspace_id: Uuid::now_v7(),
        conversation_id: None,
        request: "three replicas".into(),
        summary: "sets replicas".into(),
        state,
        version: 1,
        base: Base { revision_id: Uuid::now_v7(), hash: "a".into() },
        steps: vec![],
        looked_at: vec!["values.yaml".into()],
        applied_revision_id: None,
        failure: None,
        model: String::new(),
        usage: Usage::default(),
        last_sequence: 1,
        created_by: Uuid::now_v7(),
        create_time: 0,
        update_time: 0,
    }
}

#[test]
fn only_legal_transitions_are_made() {
    use PlanState::*;
    let legal = [
        (Drafting, Ready),
        (Drafting, Failed),
        (Ready, Drafting),
        (Ready, Applying),
        (Ready, Rejected),
        (Applying, Applied),
        (Applying, Failed),
    ];
    for from in PlanState::ALL {
        for to in PlanState::ALL {
            let mut plan = plan(from);
            let result = plan.become_state(to);
            assert_eq!(result.is_ok(), legal.contains(&(from, to)), "{from:?} -> {to:?}");
            assert_eq!(plan.state, if result.is_ok() { to } else { from });
        }
    }
}

#[test]
fn final_states_are_final_and_names_round_trip() {
    let finals: Vec<_> = PlanState::ALL.into_iter().filter(|s| s.is_final()).collect();
    assert_eq!(finals, [PlanState::Applied, PlanState::Rejected, PlanState::Failed]);
    for state in PlanState::ALL {
        assert_eq!(PlanState::find(state.as_str()), Some(state));
    }
    assert_eq!(PlanState::find("nothing"), None);
}

#[test]
fn a_revised_plan_starts_over_on_the_new_base() {
    let mut plan = plan(PlanState::Ready);
    let base = Base { revision_id: Uuid::now_v7(), hash: "b".into() };
    plan.revise("four instead", base.clone()).unwrap();
    assert_eq!((plan.version, plan.state, &plan.base), (2, PlanState::Drafting, &base));
    assert_eq!(plan.request, "three replicas\n\nfour instead");
    assert!(plan.steps.is_empty() && plan.summary.is_empty() && plan.looked_at.is_empty());
    assert!(plan.revise("again", base).is_err(), "a plan that is drafting cannot be revised");
    assert_eq!(plan.version, 2);
}

#[test]
fn usage_adds_up_without_overflow() {
    let mut usage = Usage { input_tokens: u64::MAX - 1, output_tokens: 3, ..Usage::default() };
    usage.add(Usage { input_tokens: 5, output_tokens: 4, cached_input_tokens: 2, reasoning_tokens: 1, estimated: true });
    assert_eq!(
        usage,
        Usage { input_tokens: u64::MAX, output_tokens: 7, cached_input_tokens: 2, reasoning_tokens: 1, estimated: true }
    );
}

#[test]
fn a_job_is_unique_for_its_plan_version_and_work() {
    let plan_id = Uuid::now_v7();
    let draft = PlanJob { plan_id, version: 2, work: Work::Draft };
    let apply = PlanJob { plan_id, version: 2, work: Work::Apply };
    assert_eq!(draft.key(), format!("{plan_id}/2/draft"));
    assert_eq!(apply.key(), format!("{plan_id}/2/apply"));
    let json = serde_json::to_vec(&draft).unwrap();
    assert_eq!(serde_json::from_slice::<PlanJob>(&json).unwrap(), draft);
}
