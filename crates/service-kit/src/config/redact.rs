//! Takes passwords out of text before it is printed or logged.

const HIDDEN: &str = "***";

/// `postgres://user:secret@host/db` → `postgres://user:***@host/db`, also `password=` in the query; text without a password stays as it is.
#[must_use]
pub fn redact_url(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let (authority, tail) = match rest.find(['/', '?', '#']) {
        Some(end) => rest.split_at(end),
        None => (rest, ""),
    };
    // A raw password may itself hold `/`, `?` or `@`: then the user information ends at the last `@` of the whole rest.
    let (user_info, host) = match (authority.rsplit_once('@'), rest.rsplit_once('@')) {
        (_, Some((user_info, host))) if user_info.contains(':') => (Some(user_info), host.to_owned()),
        (Some((user_info, host)), _) => (Some(user_info), format!("{host}{tail}")),
        (None, _) => (None, rest.to_owned()),
    };
    let host = redact_query(&host);
    match user_info {
        None => format!("{scheme}://{host}"),
        Some(user_info) => match user_info.split_once(':') {
            Some((user, _)) => format!("{scheme}://{user}:{HIDDEN}@{host}"),
            None => format!("{scheme}://{user_info}@{host}"),
        },
    }
}

fn redact_query(text: &str) -> String {
    let Some((path, query)) = text.split_once('?') else {
        return text.to_owned();
    };
    let pairs: Vec<String> = query
        .split('&')
        .map(|pair| match pair.split_once('=') {
            Some((key, _)) if is_secret_key(key) => format!("{key}={HIDDEN}"),
            _ => pair.to_owned(),
        })
        .collect();
    format!("{path}?{}", pairs.join("&"))
}

/// `sasl.password=x` → `sasl.password=***`; other `key=value` pairs stay as they are.
#[must_use]
pub fn redact_property(pair: &str) -> String {
    match pair.split_once('=') {
        Some((key, _)) if is_secret_key(key) => format!("{key}={HIDDEN}"),
        _ => pair.to_owned(),
    }
}

/// Whether a client property or query key holds a secret by its name.
pub(super) fn is_secret_key(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    ["password", "secret", "token", "jaas", ".key", "sasl.oauthbearer.config", "pem"]
        .iter()
        .any(|mark| key.contains(mark))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_leave_and_everything_else_stays() {
        for (given, shown) in [
            ("postgres://epro:s3cret@db:5432/epro", "postgres://epro:***@db:5432/epro"),
            ("postgres://epro:a/b?c@d@db:5432/epro", "postgres://epro:***@db:5432/epro"),
            ("postgres://epro@db/epro", "postgres://epro@db/epro"),
            ("postgres://db/epro?user=x&password=y", "postgres://db/epro?user=x&password=***"),
            ("sqlite://data/project.db?mode=rwc", "sqlite://data/project.db?mode=rwc"),
            ("127.0.0.1:50051", "127.0.0.1:50051"),
        ] {
            assert_eq!(redact_url(given), shown);
        }
        assert_eq!(redact_property("sasl.password=x"), "sasl.password=***");
        assert_eq!(redact_property("linger.ms=5"), "linger.ms=5");
    }
}
