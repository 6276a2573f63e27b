//! The services, as their own `/readyz` describes them.

use std::time::Duration;

use serde_json::Value;

use super::{Examination, Finding, Reach};

const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// Asks every service.
///
/// # Errors
/// The HTTP client cannot be made.
pub(super) async fn examine(admin_urls: &[String], reach: &Reach, examination: &mut Examination) -> anyhow::Result<()> {
    let client = reqwest::Client::builder().timeout(ANSWER_TIMEOUT).build()?;
    for url in admin_urls {
        let url = url.trim_end_matches('/');
        match client.get(format!("{url}/readyz")).send().await {
            Err(error) => examination.find(Finding::problem(
                format!("service at {url}"),
                format!("does not answer: {}", service_kit::sentence(&anyhow::Error::new(error.without_url()))),
                "start it: ctms dev, docker compose up --wait, or the service itself; name another address: --admin-url URL",
            )),
            Ok(answer) => {
                let ready = answer.status().is_success();
                let detail = answer.json::<Value>().await.unwrap_or_default();
                components(url, ready, &detail, reach, examination);
            }
        }
    }
    Ok(())
}

/// What is not well in the detail of a `/readyz`.
fn components(url: &str, ready: bool, detail: &Value, reach: &Reach, examination: &mut Examination) {
    let mut sound = true;
    for (name, component) in detail["components"].as_object().into_iter().flatten() {
        let text = |key: &str| component[key].as_str().unwrap_or_default().to_owned();
        let (state, why) = (text("state"), text("detail"));
        let part = format!("{name} of the service at {url}");
        match state.as_str() {
            "down" => {
                let remedy = format!("{}; the service goes on by itself then", remedy(name, &why, reach));
                examination.find(Finding::problem(part, why, remedy));
            }
            "degraded" => {
                let remedy = format!("the service works, but see to it: {}", remedy(name, &why, reach));
                examination.find(Finding::advice(part, why, remedy));
            }
            _ => continue,
        }
        sound = false;
    }
    if sound && ready {
        examination.healthy(format!("service at {url} is ready"));
    } else if sound {
        examination.find(Finding::problem(format!("service at {url}"), "is not ready", "see its log"));
    }
}

/// The command that leads on: the one that the service itself names, or one by what is not well.
fn remedy(component: &str, why: &str, reach: &Reach) -> String {
    reach.named_in(why).unwrap_or_else(|| match component {
        "consumer" | "relay" => reach.on("ctms topics check"),
        "pushes" => "set --webhook-url (CTMS_WEBHOOK_URL) of epro-srv and start it again".to_owned(),
        "database" => "start its database, or correct its --database-url".to_owned(),
        _ => "see its log".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_down_is_a_problem_and_what_is_degraded_is_not() {
        let mut examination = Examination::default();
        let detail = json!({"components": {
            "consumer": {"state": "ok"},
            "database": {"state": "down", "detail": "connection refused"},
            "relay": {"state": "degraded", "detail": "3 events wait for Kafka"},
        }});
        components("http://x", false, &detail, &Reach::default(), &mut examination);
        let found: Vec<_> =
            examination.findings.iter().map(|finding| (finding.severity, finding.found.as_str())).collect();
        assert_eq!(
            found,
            [
                (super::super::Severity::Problem, "connection refused"),
                (super::super::Severity::Advice, "3 events wait for Kafka")
            ]
        );
        assert!(examination.healthy.is_empty());
    }

    #[test]
    fn the_remedy_of_a_gap_fills_it() {
        let mut examination = Examination::default();
        let why = "stream P waits for number 3 since 40 s; `ctms outbox republish --project P --group g` fills the gap";
        let detail = json!({"components": {"gate": {"state": "degraded", "detail": why}}});
        components("http://x", true, &detail, &Reach::default(), &mut examination);
        let remedy = &examination.findings[0].remedy;
        assert!(remedy.contains(" outbox republish --project P --group g --database"), "{remedy}");
    }

    #[test]
    fn a_sound_service_is_said_to_be_ready() {
        let mut examination = Examination::default();
        components(
            "http://x",
            true,
            &json!({"components": {"database": {"state": "ok"}}}),
            &Reach::default(),
            &mut examination,
        );
        assert_eq!(examination.healthy, ["service at http://x is ready"]);
    }
}
