//! An error and its causes as one sentence: many errors name their cause in their own text, which must not be said twice.

/// Joins the chain with `: `, leaving out a cause that the text before it tells already.
#[must_use]
pub fn sentence(error: &anyhow::Error) -> String {
    error.chain().skip(1).fold(error.to_string(), |told, cause| {
        let cause = cause.to_string();
        if told.contains(&cause) { told } else { format!("{told}: {cause}") }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_told_once() {
        let cause = std::io::Error::other("connection refused");
        let names_it = anyhow::Error::new(cause).context("no database (connection refused); start it");
        assert_eq!(sentence(&names_it), "no database (connection refused); start it");
        let silent = anyhow::anyhow!("connection refused").context("no database");
        assert_eq!(sentence(&silent), "no database: connection refused");
    }
}
