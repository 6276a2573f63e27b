//! Holds `proto/events/*.schema.json` and the event types together: same types, same fields, same idea of what is required.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use contracts::events::{
    EVENT_TYPES, LifecycleChange, PlannedSite, ProjectCreated, ProjectEvent, ProjectStarted, SiteActivated,
    StartedSite, StartupItem, StartupItemCompleted,
};
use contracts::ids::{ProjectId, SiteId};
use serde_json::{Value, json};
use time::OffsetDateTime;

/// One event of each type with every field set.
fn full_events() -> Vec<ProjectEvent> {
    let project_id = ProjectId::new("P-1").expect("a valid id");
    let site_id = SiteId::new("S-1").expect("a valid id");
    let at = OffsetDateTime::from_unix_timestamp(1_700_000_000).expect("a time");
    let text = || Some("text".to_owned());
    let country_code = Some("DE".to_owned());
    let change = LifecycleChange { project_id: project_id.clone(), reason: text() };
    vec![
        ProjectEvent::ProjectCreated(ProjectCreated {
            project_id: project_id.clone(),
            name: "text".to_owned(),
            protocol_number: text(),
            protocol_title: text(),
            sponsor: text(),
            sites: vec![PlannedSite { site_id: site_id.clone(), name: text(), country_code: country_code.clone() }],
        }),
        ProjectEvent::StartupItemCompleted(StartupItemCompleted {
            project_id: project_id.clone(),
            item: StartupItem::EthicsApproval,
            reference: text(),
        }),
        ProjectEvent::SiteActivated(SiteActivated {
            project_id: project_id.clone(),
            site_id: site_id.clone(),
            name: text(),
            country_code: country_code.clone(),
            activated_at: Some(at),
        }),
        ProjectEvent::ProjectStarted(ProjectStarted {
            project_id,
            start_time: at,
            name: text(),
            sites: vec![StartedSite { site_id, name: text(), country_code, activated_at: Some(at) }],
        }),
        ProjectEvent::ProjectSuspended(change.clone()),
        ProjectEvent::ProjectResumed(change.clone()),
        ProjectEvent::ProjectCompleted(change.clone()),
        ProjectEvent::ProjectTerminated(change),
    ]
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto/events")
}

fn schema(event_type: &str) -> Value {
    let path = folder().join(format!("{event_type}.schema.json"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|cause| panic!("{}: {cause}", path.display()));
    serde_json::from_str(&text).expect("a schema is JSON")
}

fn keys(object: &Value) -> BTreeSet<String> {
    object.as_object().expect("an object").keys().cloned().collect()
}

fn value_of(event: &ProjectEvent) -> Value {
    serde_json::from_slice(&event.to_json()).expect("events are written as JSON")
}

fn decodes(event_type: &str, value: &Value) -> bool {
    ProjectEvent::decode(event_type, &serde_json::to_vec(value).expect("JSON is written to memory")).is_ok()
}

#[test]
fn there_is_one_schema_for_each_event_type() {
    let files: BTreeSet<_> =
        std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let expected: BTreeSet<_> = EVENT_TYPES.iter().map(|event_type| format!("{event_type}.schema.json")).collect();
    assert_eq!(files, expected);
    let sampled: Vec<_> = full_events().iter().map(ProjectEvent::event_type).collect();
    assert_eq!(sampled, EVENT_TYPES, "every type has a sample in this test");
}

#[test]
fn what_the_code_writes_is_valid_and_comes_back() {
    for event in full_events() {
        let event_type = event.event_type();
        let validator = jsonschema::options().should_validate_formats(true).build(&schema(event_type)).unwrap();
        let value = value_of(&event);
        let errors: Vec<_> = validator.iter_errors(&value).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{event_type}: {errors:?}");
        let back = ProjectEvent::decode(event_type, &event.to_json());
        assert_eq!(back, Ok(Some(event)));
    }
}

#[test]
fn schema_and_code_know_the_same_fields() {
    for event in full_events() {
        let schema = schema(event.event_type());
        let value = value_of(&event);
        assert_eq!(keys(&schema["properties"]), keys(&value), "{}", event.event_type());
        if let Some(site) = value.get("sites").map(|sites| &sites[0]) {
            let described = &schema["properties"]["sites"]["items"]["properties"];
            assert_eq!(keys(described), keys(site), "sites of {}", event.event_type());
        }
    }
}

#[test]
fn schema_and_code_require_the_same_fields() {
    for event in full_events() {
        let event_type = event.event_type();
        let required = &schema(event_type)["required"];
        let full = value_of(&event);
        for field in keys(&full) {
            let mut without = full.clone();
            without.as_object_mut().unwrap().remove(&field);
            let is_required = required.as_array().unwrap().contains(&json!(field));
            assert_eq!(decodes(event_type, &without), !is_required, "{event_type} without {field}");
        }
    }
}

#[test]
fn a_newer_producer_is_understood() {
    for event in full_events() {
        let mut newer = value_of(&event);
        newer["addedLater"] = json!({"a": 1});
        assert!(decodes(event.event_type(), &newer), "{}", event.event_type());
    }
    assert_eq!(ProjectEvent::decode("ProjectRenamed", b"\xff"), Ok(None));
    let item = json!({"projectId": "P-1", "item": "DRUG_SUPPLY"});
    assert!(decodes("StartupItemCompleted", &item));
}

#[test]
fn the_start_is_what_a_plain_go_consumer_reads() {
    let start = full_events().swap_remove(3);
    let value = value_of(&start);
    assert_eq!(value["projectId"], json!("P-1"));
    assert_eq!(value["startTime"], json!(1_700_000_000));
    let from_go = json!({"projectId": "P-1", "startTime": 1_700_000_000, "sites": null});
    assert!(decodes("ProjectStarted", &from_go), "a nil slice is null");
}

#[test]
fn a_broken_payload_says_where_and_why() {
    for (json, reason) in [
        ("{", "EOF"),
        (r#"{"startTime":1}"#, "missing field `projectId`"),
        (r#"{"projectId":7,"startTime":1}"#, "invalid type: integer `7`"),
        (r#"{"projectId":"a b","startTime":1}"#, "1-128 characters of [A-Za-z0-9._:-]"),
        (r#"{"projectId":"P-1","startTime":"1"}"#, "invalid type"),
        (r#"{"projectId":"P-1","startTime":1.5}"#, "invalid type"),
        (r#"{"projectId":"P-1","startTime":-1}"#, "-1 is no time in Unix seconds"),
        (r#"{"projectId":"P-1","startTime":1700000000000}"#, "are these milliseconds?"),
    ] {
        let error = ProjectEvent::decode("ProjectStarted", json.as_bytes()).unwrap_err();
        assert!(error.reason().contains(reason), "{json}: {error}");
    }
}
