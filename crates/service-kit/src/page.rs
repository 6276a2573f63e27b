//! Page sizes and page tokens of listing calls (AIP-158). A token is opaque: it carries the query it belongs to and the last key of the page.

use std::str::FromStr;

use crate::status::FieldViolations;

/// Items of a page when the caller names no number.
const DEFAULT_SIZE: u64 = 50;
/// The most items of a page.
const MAX_SIZE: u64 = 1_000;

const NOT_OURS: &str = "was not given out by this service; leave it empty for the first page";

/// How many items to return: 0 is the default, more than the most is the most.
#[must_use]
pub fn size(asked: i32, violations: &mut FieldViolations) -> u64 {
    match u64::try_from(asked) {
        Ok(0) => DEFAULT_SIZE,
        Ok(size) => size.min(MAX_SIZE),
        Err(_) => {
            violations.add("page_size", format!("{asked} is negative; 0 means {DEFAULT_SIZE}, at most {MAX_SIZE}"));
            DEFAULT_SIZE
        }
    }
}

/// The token of the page after `last_key` of `query`.
#[must_use]
pub fn token(query: &str, last_key: &str) -> String {
    use std::fmt::Write as _;
    format!("{query}\n{last_key}").bytes().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The key that the page of `token` begins after; `None` for the first page.
#[must_use]
pub fn key_after(token: &str, query: &str, violations: &mut FieldViolations) -> Option<String> {
    if token.is_empty() {
        return None;
    }
    let text = decode(token);
    match text.as_deref().and_then(|text| text.split_once('\n')) {
        Some((of, key)) if of == query => return Some(key.to_owned()),
        Some(_) => violations.add(
            "page_token",
            "belongs to another query; keep the filters between pages, or leave it empty for the first page",
        ),
        None => violations.add("page_token", NOT_OURS),
    }
    None
}

/// The same, as a number or an id; `None` for the first page, and with a violation for a key that is neither.
#[must_use]
pub fn parsed_after<T: FromStr>(token: &str, query: &str, violations: &mut FieldViolations) -> Option<T> {
    let key = key_after(token, query, violations)?;
    let parsed = key.parse().ok();
    if parsed.is_none() {
        violations.add("page_token", NOT_OURS);
    }
    parsed
}

fn decode(token: &str) -> Option<String> {
    let digits: Option<Vec<u8>> =
        token.chars().map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
    let bytes = digits?
        .chunks(2)
        .map(|pair| <[u8; 2]>::try_from(pair).map(|[high, low]| high << 4 | low))
        .collect::<Result<_, _>>();
    String::from_utf8(bytes.ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_reads_back_for_its_own_query_only() {
        let mut violations = FieldViolations::new();
        let token = token("projects STARTED", "p-17");
        assert_eq!(key_after(&token, "projects STARTED", &mut violations).as_deref(), Some("p-17"));
        assert_eq!(key_after("", "projects STARTED", &mut violations), None);
        assert!(violations.finish().is_ok());
        for (token, query) in
            [(token.as_str(), "projects "), ("zz", "projects "), ("abc", "projects "), ("é", "projects ")]
        {
            let mut violations = FieldViolations::new();
            assert_eq!(key_after(token, query, &mut violations), None);
            assert!(violations.finish().is_err(), "{token}");
        }
    }

    #[test]
    fn sizes_have_a_default_and_a_bound() {
        let mut violations = FieldViolations::new();
        assert_eq!([0, 7, 5_000].map(|asked| size(asked, &mut violations)), [DEFAULT_SIZE, 7, MAX_SIZE]);
        assert!(violations.finish().is_ok());
        let mut violations = FieldViolations::new();
        let _ = size(-1, &mut violations);
        assert!(violations.finish().is_err());
    }
}
