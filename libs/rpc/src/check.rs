//! [`Check`]: validates a request's fields and collects every violation, so that a caller mends all of them at once.

use uuid::Uuid;

use crate::Fault;

/// What is wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The field's path, for example `conversation.title` or `changes[2].write.path`.
    pub field: String,
    /// What is wrong, readable after the field's name.
    pub description: String,
}

/// Collects violations; [`Check::finish`] turns them into one INVALID_ARGUMENT.
#[derive(Debug, Default)]
pub struct Check {
    violations: Vec<Violation>,
}

impl Check {
    /// Nothing is wrong yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A required UUID. The nil UUID when it is not one.
    pub fn uuid(&mut self, field: &str, value: &str) -> Uuid {
        if value.is_empty() {
            self.fail(field, "is required");
            return Uuid::nil();
        }
        self.optional_uuid(field, value).unwrap_or_default()
    }

    /// A UUID that may be left out.
    pub fn optional_uuid(&mut self, field: &str, value: &str) -> Option<Uuid> {
        if value.is_empty() {
            return None;
        }
        // Only the form that the API sends: one id, one spelling.
        let parsed = Uuid::try_parse(value).ok().filter(|_| value.len() == 36);
        if parsed.is_none() {
            self.fail(field, "is not a UUID");
        }
        parsed
    }

    /// Text of `min` to `max` characters without control characters other than line ends and tabs.
    pub fn text(&mut self, field: &str, value: &str, min: usize, max: usize) -> String {
        let count = value.chars().count();
        if count < min {
            self.fail(field, if count == 0 { "is required".to_owned() } else { format!("is shorter than {min} characters") });
        } else if count > max {
            self.fail(field, format!("is longer than {max} characters"));
        } else if min > 0 && value.trim().is_empty() {
            self.fail(field, "is blank");
        } else if let Some(c) = value.chars().find(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
            self.fail(field, format!("holds the control character U+{:04X}", u32::from(c)));
        }
        value.to_owned()
    }

    /// A page size: `default` for 0, at most `max`.
    pub fn page_size(&mut self, field: &str, value: u32, default: u32, max: u32) -> u32 {
        if value > max {
            self.fail(field, format!("is over {max}"));
        }
        if value == 0 { default } else { value.min(max) }
    }

    /// Records a violation unless `holds`.
    pub fn ensure(&mut self, holds: bool, field: &str, description: impl Into<String>) {
        if !holds {
            self.fail(field, description);
        }
    }

    /// Records a violation.
    pub fn fail(&mut self, field: &str, description: impl Into<String>) {
        self.violations.push(Violation { field: field.to_owned(), description: description.into() });
    }

    /// INVALID_ARGUMENT with every violation, or nothing.
    pub fn finish(self) -> Result<(), Fault> {
        if self.violations.is_empty() { Ok(()) } else { Err(Fault::invalid(self.violations)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_violation_is_named() {
        let mut check = Check::new();
        check.uuid("a", "");
        check.uuid("b", "nonsense");
        check.text("c", "x\0y", 1, 10);
        check.text("d", "   ", 1, 10);
        check.text("e", "12345678901", 0, 10);
        check.page_size("f", 2000, 50, 1000);
        let fault = check.finish().unwrap_err();
        let fields: Vec<_> = fault.violations().iter().map(|v| v.field.as_str()).collect();
        assert_eq!(fields, ["a", "b", "c", "d", "e", "f"]);
    }

    #[test]
    fn good_fields_pass() {
        let mut check = Check::new();
        let id = Uuid::now_v7();
        assert_eq!(check.uuid("id", &id.to_string()), id);
        assert_eq!(check.optional_uuid("other", ""), None);
        assert_eq!(check.text("text", "a\n\tb", 1, 10), "a\n\tb");
        assert_eq!(check.page_size("page_size", 0, 50, 1000), 50);
        check.finish().unwrap();
    }

    #[test]
    fn an_id_has_one_spelling() {
        let mut check = Check::new();
        check.uuid("id", &Uuid::now_v7().simple().to_string());
        assert!(check.finish().is_err());
    }
}
