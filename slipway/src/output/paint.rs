//! Colours, where they are wanted.

use owo_colors::{OwoColorize as _, Style};

/// Paints texts, or leaves them as they are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paint {
    on: bool,
}

macro_rules! paints {
    ($($(#[$doc:meta])* $name:ident => $style:expr;)*) => {
        $($(#[$doc])* pub(crate) fn $name(&self, text: impl AsRef<str>) -> String {
            self.style(text.as_ref(), $style)
        })*
    };
}

impl Paint {
    /// Colours if `wanted` and `NO_COLOR` is not set.
    pub(crate) fn new(wanted: bool) -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|v| v == "dumb");
        Self { on: wanted && !refused && !dumb }
    }

    /// Whether texts are painted.
    pub(crate) fn on(&self) -> bool {
        self.on
    }

    paints! {
        /// For headings.
        bold => Style::new().bold();
        /// For what matters less.
        dim => Style::new().dimmed();
        /// For what went well and what was added.
        green => Style::new().green();
        /// For what went wrong and what was removed.
        red => Style::new().red();
        /// For what waits for someone.
        yellow => Style::new().yellow();
        /// For places and names.
        cyan => Style::new().cyan();
    }

    fn style(&self, text: &str, style: Style) -> String {
        if self.on && !text.is_empty() { text.style(style).to_string() } else { text.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::Paint;

    #[test]
    fn no_colour_unless_wanted() {
        assert_eq!(Paint::new(false).green("x"), "x");
        assert_eq!(Paint { on: true }.green("x"), "\u{1b}[32mx\u{1b}[0m");
        assert_eq!(Paint { on: true }.green(""), "");
    }
}
