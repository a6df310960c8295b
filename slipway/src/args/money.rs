//! `slipway usage` and `slipway budget`

use clap::{Args, Subcommand, ValueEnum};

/// What to add up, and how to show it.
#[derive(Debug, Args)]
pub(crate) struct Usage {
    /// What to add up by; may be given more than once.
    #[arg(long, value_enum, default_value = "day")]
    pub(crate) by: Vec<Dimension>,
    /// From this day on, as 2026-11-25, or for so many days, as 7d.
    #[arg(long, default_value = "30d", value_name = "DAY")]
    pub(crate) since: String,
    /// All projects of the organisation; needs an administrator's token that names one.
    #[arg(long)]
    pub(crate) organisation: bool,
    /// Comma-separated values instead of a table, for a spreadsheet.
    #[arg(long, conflicts_with = "json")]
    pub(crate) csv: bool,
}

/// What usage is added up by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Dimension {
    /// The day, in UTC.
    Day,
    /// The model.
    Model,
    /// The provider.
    Provider,
    /// The project.
    Project,
    /// The user.
    User,
    /// The access token.
    Token,
    /// The conversation.
    Conversation,
    /// The plan.
    Plan,
}

/// What to do with budgets.
#[derive(Debug, Subcommand)]
pub(crate) enum Budget {
    /// Limit what calls may cost.
    Create {
        /// A name for people.
        name: String,
        /// Whose calls it limits.
        #[arg(long, value_enum, default_value = "project")]
        of: Subject,
        /// Which user, token, conversation or plan; each of them for itself unless named.
        #[arg(long, default_value = "", value_name = "ID")]
        subject: String,
        /// When it is full again.
        #[arg(long, value_enum, default_value = "month")]
        per: Window,
        /// The most dollars, as 25 or 0.50.
        #[arg(long, value_name = "DOLLARS", value_parser = micros, required_unless_present = "tokens")]
        dollars: Option<i64>,
        /// The most tokens.
        #[arg(long)]
        tokens: Option<i64>,
        /// Percentages at which it is told of; 50, 80 and 100 unless named.
        #[arg(long, value_name = "PERCENT")]
        alert: Vec<u32>,
        /// Refuse models whose price is not known; else they count as 0.
        #[arg(long)]
        refuse_unpriced: bool,
    },
    /// List the budgets of the project and of its organisation.
    List,
    /// Show how much is left; of all unless one is named.
    Status {
        /// The budget's id.
        id: Option<String>,
        /// For a budget of each user, token, conversation or plan: which one; you, unless named.
        #[arg(long, default_value = "", requires = "id")]
        subject: String,
    },
    /// Delete a budget; what was spent stays in the ledger.
    Delete {
        /// The budget's id.
        id: String,
    },
}

/// Whose calls a budget limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Subject {
    /// All projects of the organisation.
    Organisation,
    /// The project.
    Project,
    /// A user.
    User,
    /// An access token.
    Token,
    /// A conversation.
    Conversation,
    /// A plan.
    Plan,
}

/// When a budget is full again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Window {
    /// Every day.
    Day,
    /// Every month.
    Month,
    /// Never.
    Total,
}

/// Dollars as micro-dollars, exactly.
fn micros(text: &str) -> Result<i64, String> {
    let wrong = || format!("\"{text}\" is not an amount of dollars such as 25 or 0.50, with at most six digits after the point");
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || part.len() > 6 || !digits(whole) || !digits(part) {
        return Err(wrong());
    }
    let part = format!("{part:0<6}").parse::<i64>().map_err(|_| wrong())?;
    let whole = whole.parse::<i64>().ok().and_then(|whole| whole.checked_mul(1_000_000)).ok_or_else(wrong)?;
    whole.checked_add(part).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::Cli;

    #[test]
    fn dollars_are_exact() {
        for (text, amount) in [("25", 25_000_000), ("0.50", 500_000), ("0.000001", 1), ("3.", 3_000_000)] {
            assert_eq!(micros(text), Ok(amount));
        }
        for text in ["", ".5", "-1", "1e3", "0.0000001", "1,5", "99999999999999999999"] {
            assert!(micros(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_budget_has_a_limit() {
        assert!(Cli::try_parse_from(["slipway", "budget", "create", "x"]).is_err());
        assert!(Cli::try_parse_from(["slipway", "budget", "create", "x", "--tokens", "5"]).is_ok());
        assert!(Cli::try_parse_from(["slipway", "budget", "create", "x", "--dollars", "5", "--of", "user"]).is_ok());
        assert!(Cli::try_parse_from(["slipway", "usage", "--by", "model", "--by", "day", "--csv"]).is_ok());
        assert!(Cli::try_parse_from(["slipway", "usage", "--csv", "--json"]).is_err());
    }
}
