//! Who acts: the caller's `x-actor` metadata, for the audit trail. It is not authentication.

use crate::status::FieldViolations;
use tonic::metadata::MetadataMap;

const KEY: &str = "x-actor";
/// Who acts when nobody says so.
const ANONYMOUS: &str = "anonymous";
const MAX_CHARS: usize = 200;

/// The actor of a call; a value that cannot be one is a violation.
#[must_use]
pub fn of(metadata: &MetadataMap, violations: &mut FieldViolations) -> String {
    let Some(value) = metadata.get(KEY) else { return ANONYMOUS.to_owned() };
    match value.to_str() {
        Ok(actor) if (1..=MAX_CHARS).contains(&actor.len()) => actor.to_owned(),
        _ => {
            violations.add(KEY, format!("the metadata must be 1-{MAX_CHARS} printable ASCII characters, or absent"));
            ANONYMOUS.to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_actor_is_taken_defaulted_or_refused() {
        let long = "x".repeat(201);
        for (given, expected) in
            [(None, Some("anonymous")), (Some("dr.weber"), Some("dr.weber")), (Some(""), None), (Some(&long), None)]
        {
            let mut metadata = MetadataMap::new();
            if let Some(given) = given {
                metadata.insert(KEY, given.parse().unwrap());
            }
            let mut violations = FieldViolations::new();
            let actor = of(&metadata, &mut violations);
            match expected {
                Some(expected) => assert_eq!((actor.as_str(), violations.is_empty()), (expected, true)),
                None => assert!(!violations.is_empty(), "{given:?} was taken"),
            }
        }
    }
}
