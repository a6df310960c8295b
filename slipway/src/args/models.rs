//! `slipway models`

use clap::{Args, ValueEnum};

/// Which models, or which one to test.
#[derive(Debug, Default, Args)]
pub(crate) struct Models {
    /// Calls one instead (the default one unless named) and tells how it went.
    #[arg(long, value_name = "MODEL", num_args = 0..=1, default_missing_value = "")]
    pub(crate) test: Option<String>,
    /// Only models of this provider.
    #[arg(long, value_name = "NAME", conflicts_with = "test")]
    pub(crate) provider: Option<String>,
    /// Only models that can do this; may be given more than once.
    #[arg(long, value_name = "WHAT", conflicts_with = "test")]
    pub(crate) can: Vec<Ability>,
}

/// Something that not every model can.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Ability {
    /// Call tools.
    Tools,
    /// Take images.
    Images,
    /// Reason before it answers.
    Reasoning,
    /// Be held to a JSON schema.
    Json,
    /// Cost less for prompts that were sent before.
    Cache,
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Cli, Command};

    fn parse(line: &str) -> Result<Models, clap::Error> {
        match Cli::try_parse_from(line.split(' '))?.command {
            Command::Models(models) => Ok(models),
            _ => panic!("models"),
        }
    }

    #[test]
    fn a_model_test_may_leave_the_model_out() {
        let test = |line: &str| parse(line).unwrap().test;
        assert_eq!(test("slipway models"), None);
        assert_eq!(test("slipway models --test").as_deref(), Some(""));
        assert_eq!(test("slipway models --test openai/x").as_deref(), Some("openai/x"));
    }

    #[test]
    fn a_list_has_filters_and_a_test_has_none() {
        let models = parse("slipway models --provider a --can tools --can images").unwrap();
        assert_eq!((models.provider.as_deref(), models.can), (Some("a"), vec![Ability::Tools, Ability::Images]));
        assert!(parse("slipway models --test x --can tools").is_err());
        assert!(parse("slipway models --can fly").is_err());
    }
}
