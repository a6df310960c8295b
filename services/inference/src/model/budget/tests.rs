//! The table of precedence and of resets, as `usage.proto` writes it.

use time::macros::datetime;

use super::*;

fn micros(time: OffsetDateTime) -> i64 {
    time.unix_timestamp() * 1_000_000
}

fn payer() -> Payer {
    Payer {
        organisation: Uuid::from_u128(1),
        project: Uuid::from_u128(2),
        user: Uuid::from_u128(3),
        token: "ci".into(),
        conversation: Some(Uuid::from_u128(5)),
        plan: Some(Uuid::from_u128(6)),
    }
}

fn budget(kind: SubjectKind, window: WindowKind) -> Budget {
    Budget {
        id: Uuid::now_v7(),
        organisation: Uuid::from_u128(1),
        project: if kind == SubjectKind::Organisation { Uuid::nil() } else { Uuid::from_u128(2) },
        name: "b".into(),
        kind,
        subject: String::new(),
        window,
        limit_micros: Some(100),
        limit_tokens: None,
        thresholds: THRESHOLDS.to_vec(),
        refuse_unpriced: false,
        version: 1,
        create_time: 0,
        update_time: 0,
    }
}

#[test]
fn windows_are_reset_as_the_table_says() {
    let leap = micros(datetime!(2028-02-29 23:59:59 UTC));
    for (kind, start, end) in [
        (WindowKind::Day, datetime!(2028-02-29 0:00 UTC), datetime!(2028-03-01 0:00 UTC)),
        (WindowKind::Month, datetime!(2028-02-01 0:00 UTC), datetime!(2028-03-01 0:00 UTC)),
    ] {
        assert_eq!(kind.span(leap), Span { start: micros(start), end: micros(end) }, "{kind:?}");
    }
    let new_year = micros(datetime!(2026-12-31 12:00 UTC));
    assert_eq!(WindowKind::Month.span(new_year).end, micros(datetime!(2027-01-01 0:00 UTC)));
    assert!(WindowKind::Total.span(leap).is_endless());
    for kind in WindowKind::ALL {
        let span = kind.span(new_year);
        assert!(span.contains(new_year) && span.contains(span.start) && !span.contains(span.end), "{kind:?}");
        assert_eq!(kind.span(span.start), span, "the first moment is in it");
        assert!(span.is_endless() || kind.span(span.end) != span, "the last is not");
    }
}

#[test]
fn budgets_are_asked_as_the_table_says() {
    let mut all: Vec<Budget> = SubjectKind::ALL
        .into_iter()
        .rev()
        .flat_map(|kind| [WindowKind::Month, WindowKind::Total, WindowKind::Day].map(|window| budget(kind, window)))
        .collect();
    all.sort_by_key(Budget::precedence);
    let order: Vec<_> = all.iter().map(|b| (b.kind, b.window)).collect();
    let table: Vec<_> = SubjectKind::ALL
        .into_iter()
        .flat_map(|kind| [WindowKind::Total, WindowKind::Month, WindowKind::Day].map(|window| (kind, window)))
        .collect();
    assert_eq!(order, table);
}

#[test]
fn a_budget_limits_its_own_subjects_only() {
    let payer = payer();
    let subjects = ["", "", "00000000-0000-0000-0000-000000000003", "ci", "00000000-0000-0000-0000-000000000005"];
    for (kind, subject) in SubjectKind::ALL.into_iter().zip(subjects) {
        let each = budget(kind, WindowKind::Day);
        assert_eq!(each.subject_of(&payer).as_deref(), Some(subject), "{kind:?}");
        if kind.has_subjects() {
            let one = Budget { subject: "another".into(), ..each.clone() };
            assert_eq!(one.subject_of(&payer), None, "{kind:?}");
            let mine = Budget { subject: subject.into(), ..each.clone() };
            assert_eq!(mine.subject_of(&payer).as_deref(), Some(subject), "{kind:?}");
        }
        let elsewhere = Payer { organisation: Uuid::from_u128(9), project: Uuid::from_u128(9), ..payer.clone() };
        assert_eq!(each.subject_of(&elsewhere), None, "{kind:?}");
    }
    let bare = Payer { token: "".into(), conversation: None, plan: None, ..payer };
    for kind in [SubjectKind::Token, SubjectKind::Conversation, SubjectKind::Plan] {
        assert_eq!(budget(kind, WindowKind::Day).subject_of(&bare), None, "{kind:?}");
    }
    assert_eq!(subject_keys(&bare).len(), 3);
}

#[test]
fn thresholds_are_reached_once() {
    let budget = budget(SubjectKind::Project, WindowKind::Day);
    let spent = |micros| Spent { micros, tokens: 0 };
    assert_eq!(budget.reached(0, spent(49)), [0u8; 0]);
    assert_eq!(budget.reached(0, spent(50)), [50]);
    assert_eq!(budget.reached(50, spent(50)), [0u8; 0]);
    assert_eq!(budget.reached(0, spent(120)), [50, 80, 100]);
    let none = Budget { limit_micros: Some(0), ..budget.clone() };
    assert_eq!(none.reached(0, spent(0)), [0u8; 0], "nothing is spent");
    let tokens = Budget { limit_micros: None, limit_tokens: Some(10), ..budget };
    assert_eq!(tokens.reached(0, Spent { micros: 999, tokens: 8 }), [50, 80]);
}

#[test]
fn room_is_what_neither_spent_nor_reserved_takes() {
    let budget = Budget { limit_tokens: Some(10), ..budget(SubjectKind::Project, WindowKind::Day) };
    let spent = Spent { micros: 40, tokens: 4 };
    let standing = Standing { subject: String::new(), span: Span::ALWAYS, spent, reserved: spent };
    for (micros, tokens, room) in [(20, 2, true), (21, 2, false), (20, 3, false), (0, 0, true)] {
        assert_eq!(standing.has_room(&budget, Spent { micros, tokens }), room, "{micros} {tokens}");
    }
    let over = Standing { spent: Spent { micros: 500, tokens: 0 }, ..standing };
    assert!(over.has_room(&budget, Spent { micros: 0, tokens: 2 }), "what costs nothing fits");
}
