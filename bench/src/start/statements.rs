//! The statements of one start, as project-srv runs them on PostgreSQL: the project under its lock, then everything that is written, as one
//! statement. The texts are those of project-srv's and the outbox's stores.

/// The project under its lock.
pub(super) const LOCK: &str = "SELECT id, name, protocol_number, protocol_title, sponsor, state, version, stream_epoch, event_seq, \
     last_event_id, checklist, sites, created_at, updated_at, started_at, ended_at FROM project WHERE id = $1 FOR UPDATE";

/// State, audit, event and answer.
pub(super) const WRITE: &str = "WITH write_0 AS (UPDATE project SET state = $2, version = $3, event_seq = $4, last_event_id = $5, \
     updated_at = $6, started_at = $7, ended_at = $8 WHERE id = $1) , write_1 AS (INSERT INTO project_audit \
     (project_id, version, at, actor, action, from_state, to_state, reason, fact, event_id) \
     VALUES ($9,$10,$11,$12,$13,$14,$15,$16,$17,$18)) , write_2 AS (INSERT INTO outbox (event_id, stream_id, stream_epoch, stream_seq, \
     event_type, topic, record_key, payload, headers, created_at) VALUES ($19,$20,$21,$22,$23,$24,$25,$26,$27,$28)) \
     INSERT INTO request_log (method, request_id, request_hash, response, created_at) VALUES ($29,$30,$31,$32,$33)";

/// What is written of every start.
pub(super) const FACT: &str = r#"{"fact":"started"}"#;
pub(super) const METHOD: &str = "ctms.project.v1.ProjectService";
pub(super) const TOPIC: &str = contracts::topics::PROJECT_EVENTS;

/// The event's payload and headers for a project.
pub(super) fn payload(id: &str) -> String {
    format!(
        r#"{{"projectId":"{id}","startTime":1767225600,"sites":[{{"siteId":"S1","activatedAt":"2026-01-01T00:00:00Z"}}]}}"#
    )
}

/// As the outbox keeps them.
pub(super) fn headers(id: &str, event_id: &str) -> String {
    let pairs = [
        ("content-type", "application/json"),
        ("ce_specversion", "1.0"),
        ("ce_id", event_id),
        ("ce_source", "ctms/project-srv"),
        ("ce_type", "ProjectStarted"),
        ("ce_subject", id),
        ("ce_streamepoch", "0"),
        ("ce_partitionkey", id),
        ("ce_time", "2026-01-01T00:00:00.000000Z"),
        ("ce_sequence", "8"),
    ];
    serde_json::to_string(&pairs).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_placeholder_of_the_write_is_there_once() {
        for number in 1..=33 {
            let named = format!("${number}");
            let found = WRITE
                .match_indices(&named)
                .filter(|(at, _)| !WRITE.as_bytes().get(at + named.len()).is_some_and(u8::is_ascii_digit));
            assert_eq!(found.count(), 1, "{named}");
        }
    }

    #[test]
    fn headers_are_pairs() {
        let pairs: Vec<(String, String)> = serde_json::from_str(&headers("P-1", "e")).unwrap();
        assert!(pairs.contains(&("ce_id".to_owned(), "e".to_owned())));
    }
}
