//! Page sizes and page tokens. A token is opaque: it carries the query it belongs to and the last key of the page.

use service_kit::status::FieldViolations;
use uuid::Uuid;

/// Items of a page when the caller names no number.
const DEFAULT_SIZE: u64 = 50;
/// The most items of a page.
const MAX_SIZE: u64 = 1_000;

/// How many items to return: 0 is the default, more than the most is the most.
pub(super) fn size(asked: i32, violations: &mut FieldViolations) -> u64 {
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
pub(super) fn token(query: &str, last_key: &str) -> String {
    use std::fmt::Write as _;
    format!("{query}\n{last_key}").bytes().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The last key of the page before that of `token`; `None` for the first page.
fn key_after(token: &str, query: &str, violations: &mut FieldViolations) -> Option<String> {
    if token.is_empty() {
        return None;
    }
    let text = decode(token);
    match text.as_deref().and_then(|text| text.split_once('\n')) {
        Some((of, key)) if of == query => return Some(key.to_owned()),
        Some(_) => violations.add(
            "page_token",
            "belongs to another query; keep study and filter between pages, or leave it empty for the first page",
        ),
        None => violations.add("page_token", "was not given out by this service; leave it empty for the first page"),
    }
    None
}

/// The id that the page of `token` goes on before; `None` for the first page.
pub(super) fn id_before(token: &str, query: &str, violations: &mut FieldViolations) -> Option<Uuid> {
    let key = key_after(token, query, violations)?;
    let id = key.parse().ok();
    if id.is_none() {
        violations.add("page_token", "was not given out by this service; leave it empty for the first page");
    }
    id
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
        let token = token("check runs P-1 QUEUED", "p-17");
        assert_eq!(key_after(&token, "check runs P-1 QUEUED", &mut violations).as_deref(), Some("p-17"));
        assert_eq!(key_after("", "check runs P-1 QUEUED", &mut violations), None);
        assert!(violations.finish().is_ok());
        for (token, query) in
            [(token.as_str(), "check runs P-1 "), ("zz", "check runs P-1 "), ("abc", "check runs P-1 "), ("é", "check runs P-1 ")]
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
        size(-1, &mut violations);
        assert!(violations.finish().is_err());
    }
}
