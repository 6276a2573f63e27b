//! The services' databases: events that the broker has not, streams with a gap, letters that wait for a decision.

use std::{path::Path, time::Duration};

use ::outbox::{
    db::{self, Database},
    ops,
};

use crate::output::age;

use super::{Examination, Finding, Reach};

/// A gap may close by itself within this time.
const GAP_PATIENCE: Duration = Duration::from_secs(30);
/// The relay sends within this time when the broker is there.
const RELAY_PATIENCE: Duration = Duration::from_secs(10);

/// The SQLite files of a `ctms dev` folder that exist.
pub(super) fn in_folder(folder: &Path) -> Vec<String> {
    ["project", "epro", "finance", "monitor"]
        .iter()
        .map(|service| folder.join(service).join(format!("{service}.db")))
        .filter(|path| path.exists())
        .map(|path| format!("sqlite://{}", path.display()))
        .collect()
}

/// The first of these that holds projects, as it may be shown.
pub(super) async fn publisher(urls: &[String]) -> Option<String> {
    for url in urls {
        let Ok(database) = crate::database::existing(url).await else { continue };
        let has_projects =
            db::query_one(database.reader(), "SELECT count(*) AS projects FROM project", []).await.is_ok();
        database.close().await;
        if has_projects {
            return Some(shown(url));
        }
    }
    None
}

/// Looks at one database.
pub(super) async fn examine(url: &str, reach: &Reach, examination: &mut Examination) {
    let database = match crate::database::existing(url).await {
        Ok(database) => database,
        Err(error) => {
            let found = service_kit::sentence(&error);
            examination.find(Finding::problem("database", found, "start it, or correct --database"));
            return;
        }
    };
    let part = format!("database {}", database.shown());
    let before = examination.findings.len();
    if let Err(error) = look(&database, url, &part, reach, examination).await {
        examination.find(Finding::problem(
            &part,
            format!("cannot be read: {error}"),
            "is it the database of a service? `SERVICE migrate` makes its tables",
        ));
    }
    if examination.findings.len() == before {
        examination.healthy(format!("{part} has nothing unpublished, no gap and no open letter"));
    }
    database.close().await;
}

async fn look(
    database: &Database,
    url: &str,
    part: &str,
    reach: &Reach,
    examination: &mut Examination,
) -> Result<(), db::DbErr> {
    let flag = format!("--database {}", shown(url));
    for row in ops::failed_rows(database).await? {
        examination.find(Finding::problem(
            part,
            format!("the broker refused {} #{} of {}: {}", row.event_type, row.stream_seq, row.stream_id, row.cause),
            format!("mend the cause, then: ctms outbox retry {flag}"),
        ));
    }
    let backlog = ops::unpublished(database).await?;
    if let Some(oldest) = backlog.oldest.filter(|&oldest| db::now() - oldest > RELAY_PATIENCE) {
        examination.find(Finding::problem(
            part,
            format!("{} events wait to be published, the oldest for {}", backlog.pending, age(db::now() - oldest)),
            "see that the service runs and reaches Kafka; it publishes them by itself then",
        ));
    }
    for gap in ops::gaps(database, GAP_PATIENCE).await? {
        examination.find(Finding::problem(
            part,
            format!(
                "#{} of {} has not come; {} later events wait for it for {}",
                gap.missing,
                gap.stream_id,
                gap.parked,
                age(db::now() - gap.since)
            ),
            format!(
                "{}\n      → or, where its event exists nowhere any more, look at {}",
                reach.republish(&gap.stream_id),
                "ctms gate skip --help"
            ),
        ));
    }
    for letter in ops::open_letters(database).await? {
        let event = letter.event_type.unwrap_or_else(|| "a plain record".to_owned());
        let id = letter.letter_id;
        examination.find(Finding::problem(
            part,
            format!("{event} is a dead letter for {}: {}", age(db::now() - letter.since), letter.cause),
            format!(
                "{}\n      → then {}\n      → or   {}",
                reach.on(format_args!("ctms dlq show {id}")),
                reach.on(format_args!("ctms dlq replay {id} --why 'REASON'")),
                reach.on(format_args!("ctms dlq discard {id} --why 'REASON'")),
            ),
        ));
    }
    Ok(())
}

/// The URL as the user may paste it again: without its password.
fn shown(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    match rest.split_once('@') {
        Some((user, server)) => format!("{scheme}://{}@{server}", user.split(':').next().unwrap_or(user)),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        assert_eq!(shown("postgres://u:secret@h/d"), "postgres://u@h/d");
        assert_eq!(shown("sqlite:///tmp/a.db"), "sqlite:///tmp/a.db");
    }
}
