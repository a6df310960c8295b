//! Budgets: whose calls they limit, in which windows, and which of them a call falls under, in which order.

use time::{Date, Month, OffsetDateTime};
use uuid::Uuid;

use super::Payer;

const DAY_MICROS: i64 = 86_400_000_000;

/// The percentages that are told of unless others are asked for.
pub(crate) const THRESHOLDS: [u8; 3] = [50, 80, 100];

/// Whose calls a budget limits, in the order in which budgets are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum SubjectKind {
    /// All projects of an organisation.
    Organisation = 1,
    /// A project.
    Project = 2,
    /// A user in a project.
    User = 3,
    /// A token of a project.
    Token = 4,
    /// A conversation of a project.
    Conversation = 5,
    /// A plan of a project.
    Plan = 6,
}

impl SubjectKind {
    /// All, in order.
    pub(crate) const ALL: [Self; 6] =
        [Self::Organisation, Self::Project, Self::User, Self::Token, Self::Conversation, Self::Plan];

    /// The kind of a number.
    pub(crate) fn from_number(number: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|k| *k as i16 == number)
    }

    /// As it is written in errors and events.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Organisation => "organisation",
            Self::Project => "project",
            Self::User => "user",
            Self::Token => "token",
            Self::Conversation => "conversation",
            Self::Plan => "plan",
        }
    }

    /// True where one budget may be for each of many subjects.
    pub(crate) fn has_subjects(self) -> bool {
        self > Self::Project
    }
}

/// When a budget is full again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum WindowKind {
    /// At every midnight.
    Day = 1,
    /// On the first of every month.
    Month = 2,
    /// Never.
    Total = 3,
}

impl WindowKind {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Day, Self::Month, Self::Total];

    /// The kind of a number.
    pub(crate) fn from_number(number: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|k| *k as i16 == number)
    }

    /// As it is written in errors.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Month => "month",
            Self::Total => "total",
        }
    }

    /// The window that a time lies in.
    pub(crate) fn span(self, time: i64) -> Span {
        match self {
            Self::Day => {
                let start = time.div_euclid(DAY_MICROS) * DAY_MICROS;
                Span { start, end: start + DAY_MICROS }
            }
            Self::Month => month(time),
            Self::Total => Span::ALWAYS,
        }
    }
}

/// A time from `start` on and before `end`, in microseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Span {
    pub(crate) start: i64,
    pub(crate) end: i64,
}

impl Span {
    /// Without an end.
    pub(crate) const ALWAYS: Self = Self { start: 0, end: i64::MAX };

    /// True when it is never over.
    pub(crate) fn is_endless(self) -> bool {
        self.end == i64::MAX
    }

    /// True when the time lies in it.
    pub(crate) fn contains(self, time: i64) -> bool {
        (self.start..self.end).contains(&time)
    }
}

fn month(time: i64) -> Span {
    let now = OffsetDateTime::from_unix_timestamp_nanos(i128::from(time) * 1000).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (year, this) = (now.year(), now.month());
    let (next_year, next) = if this == Month::December { (year + 1, Month::January) } else { (year, this.next()) };
    let first = |year, month| {
        let date = Date::from_calendar_date(year, month, 1).unwrap_or(Date::MAX);
        date.midnight().assume_utc().unix_timestamp() * 1_000_000
    };
    Span { start: first(year, this), end: first(next_year, next) }
}

/// A budget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Budget {
    /// UUIDv7.
    pub(crate) id: Uuid,
    /// Who pays; nil for projects on their own.
    pub(crate) organisation: Uuid,
    /// The project; nil for [`SubjectKind::Organisation`].
    pub(crate) project: Uuid,
    /// For people.
    pub(crate) name: String,
    /// Whose calls.
    pub(crate) kind: SubjectKind,
    /// Which one; empty: each for itself.
    pub(crate) subject: String,
    /// When it is full again.
    pub(crate) window: WindowKind,
    /// The most micro-dollars of a window.
    pub(crate) limit_micros: Option<i64>,
    /// The most tokens of a window.
    pub(crate) limit_tokens: Option<i64>,
    /// The percentages that are told of, ascending.
    pub(crate) thresholds: Vec<u8>,
    /// Calls without a price are refused.
    pub(crate) refuse_unpriced: bool,
    /// Counts the changes, from 1.
    pub(crate) version: i64,
    /// When it was made.
    pub(crate) create_time: i64,
    /// When it was last changed.
    pub(crate) update_time: i64,
}

impl Budget {
    /// Which of its subjects a payer is; `None`: the budget does not limit these calls.
    pub(crate) fn subject_of(&self, payer: &Payer) -> Option<String> {
        let owner = match self.kind {
            SubjectKind::Organisation => self.organisation == payer.organisation,
            _ => self.project == payer.project,
        };
        let subject = subject(self.kind, payer).filter(|_| owner)?;
        (self.subject.is_empty() || self.subject == subject).then_some(subject)
    }

    /// What it is asked after: the wider subject first, then the longer window, then the older budget.
    pub(crate) fn precedence(&self) -> (SubjectKind, std::cmp::Reverse<i16>, Uuid) {
        (self.kind, std::cmp::Reverse(self.window as i16), self.id)
    }

    /// Changes with every change.
    pub(crate) fn etag(&self) -> String {
        self.version.to_string()
    }

    /// The thresholds that were reached since `told` percent were told of.
    pub(crate) fn reached(&self, told: u8, spent: Spent) -> Vec<u8> {
        let over = |percent: u8| {
            let reaches = |spent: i64, limit: Option<i64>| {
                limit.is_some_and(|limit| spent > 0 && i128::from(spent) * 100 >= i128::from(limit) * i128::from(percent))
            };
            reaches(spent.micros, self.limit_micros) || reaches(spent.tokens, self.limit_tokens)
        };
        self.thresholds.iter().copied().filter(|percent| *percent > told && over(*percent)).collect()
    }
}

/// Which subject of a kind a payer is; `None`: the call is for none.
fn subject(kind: SubjectKind, payer: &Payer) -> Option<String> {
    match kind {
        SubjectKind::Organisation | SubjectKind::Project => Some(String::new()),
        SubjectKind::User => Some(payer.user.to_string()),
        SubjectKind::Token => Some(payer.token.to_string()).filter(|t| !t.is_empty()),
        SubjectKind::Conversation => payer.conversation.map(|id| id.to_string()),
        SubjectKind::Plan => payer.plan.map(|id| id.to_string()),
    }
}

/// A subject with its kind, as windows are found by it.
pub(crate) fn subject_key(kind: SubjectKind, subject: &str) -> String {
    format!("{}:{subject}", kind as i16)
}

/// Every subject that a payer is, with its kind.
pub(crate) fn subject_keys(payer: &Payer) -> Vec<String> {
    SubjectKind::ALL.into_iter().filter_map(|kind| Some(subject_key(kind, &subject(kind, payer)?))).collect()
}

/// An amount of money and of tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Spent {
    /// Micro-dollars.
    pub(crate) micros: i64,
    /// Tokens.
    pub(crate) tokens: i64,
}

impl Spent {
    /// Both sums.
    pub(crate) fn plus(self, other: Self) -> Self {
        Self { micros: self.micros.saturating_add(other.micros), tokens: self.tokens.saturating_add(other.tokens) }
    }

    /// Both differences; below zero when they are.
    pub(crate) fn minus(self, other: Self) -> Self {
        Self { micros: self.micros.saturating_sub(other.micros), tokens: self.tokens.saturating_sub(other.tokens) }
    }
}

/// One subject's window of a budget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Which one of the budget's subjects.
    pub(crate) subject: String,
    /// From when to when.
    pub(crate) span: Span,
    /// What ended calls cost.
    pub(crate) spent: Spent,
    /// What is kept for calls under way.
    pub(crate) reserved: Spent,
}

impl Standing {
    /// True when the budget has room for so much more. What costs nothing always fits.
    pub(crate) fn has_room(&self, budget: &Budget, more: Spent) -> bool {
        let taken = self.spent.plus(self.reserved).plus(more);
        let fits = |more: i64, taken: i64, limit: Option<i64>| more == 0 || limit.is_none_or(|limit| taken <= limit);
        fits(more.micros, taken.micros, budget.limit_micros) && fits(more.tokens, taken.tokens, budget.limit_tokens)
    }
}

#[cfg(test)]
mod tests;
