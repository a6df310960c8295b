//! What a Claude can do by its generation, which its name tells.

use crate::model::Effort;

/// A generation; a name that tells none counts as the newest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Generation(u32, u32);

const NEWEST: Generation = Generation(u32::MAX, 0);

/// How a model is told to reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Thinking {
    /// Not at all.
    Off,
    /// Up to so many tokens.
    Budget(u32),
    /// As it sees fit, with this effort.
    Adaptive(&'static str),
}

impl Generation {
    /// `claude-3-7-sonnet-20250219`, `claude-opus-4-20250514`, `claude-sonnet-4-5`: the short numbers are the generation.
    pub(super) fn of(model: &str) -> Self {
        let name = model.rsplit('/').next().unwrap_or(model);
        if !name.starts_with("claude") {
            return NEWEST;
        }
        let mut numbers = name.split(['-', '.', '@']).filter(|p| p.len() <= 2).filter_map(|p| p.parse().ok());
        numbers.next().map_or(NEWEST, |major| Self(major, numbers.next().unwrap_or(0)))
    }

    /// True when it can reason.
    pub(super) fn reasons(self) -> bool {
        self >= Self(3, 7)
    }

    /// True when the provider holds it to a JSON schema.
    pub(super) fn has_forms(self) -> bool {
        self >= Self(4, 5) && self != NEWEST
    }

    /// True when it takes a temperature.
    pub(super) fn takes_temperature(self) -> bool {
        self < Self(4, 7) || self == NEWEST
    }

    /// How it is told to reason this much.
    pub(super) fn thinking(self, effort: Option<Effort>) -> Thinking {
        let Some(effort) = effort.filter(|e| *e != Effort::None && self.reasons()) else { return Thinking::Off };
        if self >= Self(4, 6) {
            return Thinking::Adaptive(match effort {
                Effort::None | Effort::Minimal | Effort::Low => "low",
                Effort::Medium => "medium",
                Effort::High => "high",
            });
        }
        Thinking::Budget(match effort {
            Effort::None | Effort::Minimal => 1_024,
            Effort::Low => 4_096,
            Effort::Medium => 10_240,
            Effort::High => 24_576,
        })
    }

    /// What it may write when nobody says: the API wants a limit, and refuses one over the model's own.
    pub(super) fn usual_limit(self) -> u32 {
        match self {
            g if g < Self(3, 5) => 4_096,
            g if g < Self(4, 0) => 8_192,
            _ => 32_000,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_the_generation() {
        let cases = [
            ("claude-3-opus-20240229", (3, 0)),
            ("claude-3-5-haiku-20241022", (3, 5)),
            ("anthropic/claude-3.7-sonnet", (3, 7)),
            ("claude-opus-4-20250514", (4, 0)),
            ("claude-sonnet-4-5@20250929", (4, 5)),
            ("claude-opus-4-7", (4, 7)),
        ];
        for (name, (major, minor)) in cases {
            assert_eq!(Generation::of(name), Generation(major, minor), "{name}");
        }
        assert_eq!(Generation::of("my-alias"), NEWEST);
    }

    #[test]
    fn each_generation_is_told_in_its_words() {
        let told = |name| Generation::of(name).thinking(Some(Effort::Medium));
        assert_eq!(told("claude-3-5-sonnet-latest"), Thinking::Off);
        assert_eq!(told("claude-sonnet-4-5"), Thinking::Budget(10_240));
        assert_eq!(told("claude-opus-4-6"), Thinking::Adaptive("medium"));
        assert_eq!(Generation::of("claude-opus-4-6").thinking(Some(Effort::None)), Thinking::Off);
        assert_eq!(Generation::of("claude-opus-4-6").thinking(None), Thinking::Off);
    }
}
