//! Limits of text fields, as the contract states them.

use service_kit::status::FieldViolations;

/// A text that must be there, of at most `max` characters.
pub(super) fn required(field: &str, text: &str, max: usize, violations: &mut FieldViolations) {
    if text.trim().is_empty() {
        violations.add(field, format!("is empty; give 1-{max} characters"));
    } else {
        optional(field, text, max, violations);
    }
}

/// A text of at most `max` characters. No control characters but line breaks and tabs: they have no place in a log or on
/// a page, and U+0000 none in PostgreSQL.
pub(super) fn optional(field: &str, text: &str, max: usize, violations: &mut FieldViolations) {
    let chars = text.chars().count();
    if chars > max {
        violations.add(field, format!("has {chars} characters; give at most {max}"));
    }
    if text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
        violations.add(field, "contains a control character; remove it");
    }
}

/// A country as two capital letters (ISO 3166-1 alpha-2), or empty.
pub(super) fn country(field: &str, text: &str, violations: &mut FieldViolations) {
    let is_code = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_uppercase());
    if !text.is_empty() && !is_code {
        violations.add(field, format!("{text:?} is not two capital letters such as \"DE\" (ISO 3166-1 alpha-2)"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_count_characters_and_refuse_control_characters() {
        let wrong = |check: &dyn Fn(&mut FieldViolations)| {
            let mut violations = FieldViolations::new();
            check(&mut violations);
            violations.iter().count()
        };
        assert_eq!(wrong(&|v| required("f", "Übung", 5, v)), 0);
        assert_eq!(wrong(&|v| required("f", "Übungs", 5, v)), 1);
        assert_eq!(wrong(&|v| required("f", "  ", 5, v)), 1);
        assert_eq!(wrong(&|v| optional("f", "a\nb", 5, v)), 0);
        assert_eq!(wrong(&|v| optional("f", "a\0b", 5, v)), 1);
        assert_eq!(wrong(&|v| country("f", "DE", v)) + wrong(&|v| country("f", "", v)), 0);
        assert_eq!(wrong(&|v| country("f", "de", v)) + wrong(&|v| country("f", "DEU", v)), 2);
    }
}
