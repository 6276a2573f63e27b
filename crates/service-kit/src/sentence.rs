//! An error and its causes as one sentence: many errors name their cause in their own text, which must not be said twice.

/// Joins the chain with `: `, leaving out a cause that the text before it tells already.
#[must_use]
pub fn sentence(error: &anyhow::Error) -> String {
    let mut chain = error.chain().map(words);
    let first = chain.next().unwrap_or_default();
    chain.fold(first, |told, cause| if told.contains(&cause) { told } else { format!("{told}: {cause}") })
}

/// An error in its own words. A gRPC status shows all of its insides by itself.
fn words(error: &(dyn std::error::Error + 'static)) -> String {
    match error.downcast_ref::<tonic::Status>() {
        Some(status) => format!("{:?}: {}", status.code(), status.message()),
        None => error.to_string(),
    }
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

    #[test]
    fn a_status_is_its_code_and_its_message() {
        let status = tonic::Status::failed_precondition("the study is suspended");
        let error = anyhow::Error::new(status).context("StartProject failed");
        assert_eq!(sentence(&error), "StartProject failed: FailedPrecondition: the study is suspended");
    }
}
