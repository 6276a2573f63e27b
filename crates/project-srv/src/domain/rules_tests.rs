//! The rules as sentences: given a project, when something is asked, then a fact or a refusal.

use proptest::prelude::*;
use time::macros::datetime;

use super::*;

/// A project with one planned site, as `create` makes it.
fn project() -> Project {
    let profile = Profile {
        name: "Hypertension".into(),
        protocol_number: "HYP-1".into(),
        protocol_title: String::new(),
        sponsor: String::new(),
    };
    let planned = Site { name: "Charité".into(), country_code: "DE".into(), activation: None };
    create(id(), profile, [(site("S-1"), planned)], &occurrence())
}

fn id() -> ProjectId {
    "P-1".parse().unwrap()
}

fn site(id: &str) -> SiteId {
    id.parse().unwrap()
}

fn occurrence() -> Occurrence {
    Occurrence {
        at: datetime!(2026-03-01 10:00 UTC),
        actor: "dr.weber".into(),
        reason: String::new(),
        event_id: Uuid::from_u128(7),
    }
}

fn complete(item: Item) -> Command {
    Command::CompleteStartupItem { item, reference: "doc-1".into() }
}

fn activate(id: &str, name: &str) -> Command {
    Command::ActivateSite { site_id: site(id), name: name.into(), country_code: "FR".into() }
}

/// What readies a project for its start.
fn readying() -> Vec<Command> {
    let by_hand = Item::ALL.into_iter().filter(|item| item.is_completed_by_hand()).map(complete);
    by_hand.chain([activate("S-1", "")]).collect()
}

fn after(project: Project, commands: &[Command]) -> Project {
    commands.iter().fold(project, |project, command| {
        let fact = decide(&project, command).unwrap();
        evolve(project, &fact, &occurrence())
    })
}

fn ready() -> Project {
    after(project(), &readying())
}

#[test]
fn a_new_project_prepares_with_version_and_event_one() {
    let project = project();
    assert_eq!((project.state, project.version, project.event_seq), (State::Preparing, 1, 1));
    assert_eq!(project.open_items(), Item::ALL);
    assert_eq!(project.etag(), "0-1");
}

#[test]
fn a_ready_project_starts_and_knows_when() {
    let started = after(ready(), &[Command::Start]);
    assert_eq!((started.state, started.started_at), (State::Started, Some(occurrence().at)));
    assert_eq!(started.version, started.event_seq);
}

#[test]
fn a_start_is_refused_with_every_open_item() {
    for missing in 0..readying().len() {
        let mut commands = readying();
        let left_out = match commands.remove(missing) {
            Command::CompleteStartupItem { item, .. } => item,
            _ => Item::SiteActivated,
        };
        let refusal = decide(&after(project(), &commands), &Command::Start).unwrap_err();
        assert_eq!(refusal, Refusal::ChecklistOpen { project_id: id(), open: vec![left_out] });
    }
}

#[test]
fn a_second_start_is_refused_by_the_state_with_what_it_needs() {
    let refusal = decide(&after(ready(), &[Command::Start]), &Command::Start).unwrap_err();
    assert_eq!(refusal.to_string(), "project P-1 is STARTED; StartProject needs it to be PREPARING");
    assert_eq!(refusal.remedy(), "bring the project to PREPARING first");
}

#[test]
fn an_item_is_completed_once_by_somebody() {
    let project = after(project(), &[complete(Item::EthicsApproval)]);
    let completion = project.completion(Item::EthicsApproval).unwrap();
    assert_eq!((completion.by.as_str(), completion.reference.as_str()), ("dr.weber", "doc-1"));
    let again = decide(&project, &complete(Item::EthicsApproval)).unwrap_err();
    assert!(matches!(again, Refusal::ItemAlreadyCompleted { item: Item::EthicsApproval, .. }), "{again}");
}

#[test]
fn a_planned_site_keeps_its_description_when_it_is_activated() {
    let project = after(project(), &[activate("S-1", "another name")]);
    assert_eq!(project.sites[&site("S-1")].name, "Charité");
    assert_eq!(project.completion(Item::SiteActivated).unwrap().reference, "S-1");
}

#[test]
fn an_unplanned_site_needs_a_name() {
    let refusal = decide(&project(), &activate("S-2", "")).unwrap_err();
    assert_eq!(refusal, Refusal::UnknownSite { project_id: id(), site_id: site("S-2") });
    assert_eq!(after(project(), &[activate("S-2", "Necker")]).sites[&site("S-2")].country_code, "FR");
}

#[test]
fn a_site_is_activated_once() {
    let refusal = decide(&after(project(), &[activate("S-1", "")]), &activate("S-1", "")).unwrap_err();
    assert!(matches!(refusal, Refusal::SiteAlreadyActivated { .. }), "{refusal}");
}

#[test]
fn a_site_may_open_after_the_start_but_not_after_the_end() {
    let started = after(ready(), &[Command::Start]);
    assert!(decide(&started, &activate("S-2", "Necker")).is_ok());
    let ended = after(started, &[Command::Complete]);
    assert_eq!(ended.ended_at, Some(occurrence().at));
    assert!(matches!(decide(&ended, &activate("S-2", "Necker")), Err(Refusal::WrongState { .. })));
}

#[test]
fn the_number_of_sites_is_bounded() {
    let mut full = project();
    let planned = full.sites[&site("S-1")].clone();
    full.sites = (0..MAX_SITES).map(|n| (site(&format!("S-{n}")), planned.clone())).collect();
    assert!(decide(&full, &activate("S-1", "")).is_ok(), "a planned one adds none");
    assert_eq!(decide(&full, &activate("S-new", "x")), Err(Refusal::TooManySites { project_id: id() }));
}

#[test]
fn a_start_that_the_sites_allow_fits_into_one_event() {
    let name = "\"𝄞".repeat(100);
    let mut full = ready();
    let activated = Site { name: name.clone(), ..full.sites[&site("S-1")].clone() };
    let candidates = (0..MAX_SITES).map(|n| (site(&format!("{n:0>128}")), activated.clone()));
    for (id, described) in candidates {
        if decide(&full, &activate(id.as_str(), &name)).is_err() {
            break;
        }
        full.sites.insert(id, described);
    }
    assert!(full.sites.len() < MAX_SITES, "the bytes were the limit");
    let bytes = super::super::event(&full, &Fact::Started, &occurrence()).to_json().len();
    assert!((MAX_SITES_BYTES - 50_000..=850_000).contains(&bytes), "{bytes}");
}

#[test]
fn facts_are_stored_under_names_that_stay() {
    let json = |fact: &Fact| serde_json::to_string(fact).unwrap();
    assert_eq!(json(&Fact::Started), r#"{"fact":"started"}"#);
    let opened = decide(&project(), &activate("S-1", "")).unwrap();
    let text = r#"{"fact":"siteActivated","siteId":"S-1","name":"Charité","countryCode":"DE"}"#;
    assert_eq!(json(&opened), text);
    assert_eq!(serde_json::from_str::<Fact>(text).unwrap(), opened);
}

fn any_command() -> impl Strategy<Value = Command> {
    let items: Vec<Item> = Item::ALL.into_iter().filter(|item| item.is_completed_by_hand()).collect();
    prop_oneof![
        proptest::sample::select(items).prop_map(complete),
        (0..4, prop_oneof![Just(""), Just("a name")]).prop_map(|(n, name)| activate(&format!("S-{n}"), name)),
        Just(Command::Start),
        Just(Command::Suspend),
        Just(Command::Resume),
        Just(Command::Complete),
        Just(Command::Terminate),
    ]
}

proptest! {
    /// Whatever is asked in whatever order: the state follows the table, versions and events have no gaps, and nothing
    /// runs that was not ready.
    #[test]
    fn any_history_keeps_the_laws(prepared: bool, commands in proptest::collection::vec(any_command(), 0..40)) {
        let mut project = if prepared { ready() } else { project() };
        for command in commands {
            let before = project.clone();
            match decide(&project, &command) {
                Ok(fact) => {
                    project = evolve(project, &fact, &occurrence());
                    prop_assert_eq!(Some(project.state), command.action().next(before.state));
                    prop_assert_eq!(project.version, before.version + 1);
                    prop_assert_eq!(project.event_seq, before.event_seq + 1);
                    prop_assert_ne!(project.etag(), before.etag());
                    prop_assert_eq!(super::super::event(&project, &fact, &occurrence()).event_type(), fact.event_type());
                }
                Err(_) => prop_assert_eq!(&project, &before),
            }
            if matches!(project.state, State::Started | State::Suspended | State::Completed) {
                prop_assert!(project.open_items().is_empty());
            }
        }
    }
}
