//! The bounds and cross-references of a schedule. Finds every violation at once. Pure.

use std::collections::HashSet;

use contracts::ids::{ID_RULE, is_valid_id};

use super::{Instrument, Item, ItemKind, Schedule, Visit};
use crate::domain::Violation;

/// Most assignments a schedule may ask of one subject: the instruments of all visits together.
pub const MAX_ASSIGNMENTS_PER_SUBJECT: usize = 1_000;

const MAX_INSTRUMENTS: usize = 100;
const MAX_ITEMS: usize = 500;
const MAX_CHOICES: usize = 100;
const MAX_VISITS: usize = 500;
const MAX_REMINDERS: usize = 10;
const MAX_OFFSET_DAYS: u32 = 3_650;
const MAX_WINDOW_DAYS: u32 = 365;
const MAX_REMINDER_HOURS: u32 = 8_760;

/// Everything that is wrong with `schedule`, with fields under `schedule.`; empty when it may be published.
#[must_use]
pub fn check(schedule: &Schedule) -> Vec<Violation> {
    let mut found = Found(Vec::new());
    found.count("schedule.instruments", schedule.instruments.len(), 1, MAX_INSTRUMENTS);
    found.unique(
        schedule
            .instruments
            .iter()
            .enumerate()
            .map(|(at, instrument)| (format!("schedule.instruments[{at}].instrument_id"), instrument.id.as_str())),
    );
    for (at, instrument) in schedule.instruments.iter().enumerate() {
        found.instrument(&format!("schedule.instruments[{at}]"), instrument);
    }
    found.count("schedule.visits", schedule.visits.len(), 1, MAX_VISITS);
    found.unique(
        schedule
            .visits
            .iter()
            .enumerate()
            .map(|(at, visit)| (format!("schedule.visits[{at}].visit_id"), visit.id.as_str())),
    );
    let known: HashSet<&str> = schedule.instruments.iter().map(|instrument| instrument.id.as_str()).collect();
    for (at, visit) in schedule.visits.iter().enumerate() {
        found.visit(&format!("schedule.visits[{at}]"), visit, &known);
    }
    let asked = schedule.assignments_per_subject();
    if asked > MAX_ASSIGNMENTS_PER_SUBJECT {
        found.add(
            "schedule.visits",
            format!("the visits ask {asked} instruments of each subject; at most {MAX_ASSIGNMENTS_PER_SUBJECT}"),
        );
    }
    found.reminders(&schedule.reminder_offsets_hours);
    found.0
}

struct Found(Vec<Violation>);

impl Found {
    fn add(&mut self, field: impl Into<String>, description: impl Into<String>) {
        self.0.push(Violation::new(field, description));
    }

    fn count(&mut self, field: &str, count: usize, least: usize, most: usize) {
        if count < least || count > most {
            self.add(field, format!("{count} entries; there must be {least}-{most}"));
        }
    }

    fn text(&mut self, field: String, text: &str, most_chars: usize) {
        if text.contains('\0') {
            self.add(&field, "must not contain the character U+0000");
        }
        let chars = text.chars().count();
        if text.trim().is_empty() || chars > most_chars {
            self.add(field, format!("{chars} characters; there must be 1-{most_chars}, not all blank"));
        }
    }

    fn id(&mut self, field: String, id: &str) {
        if !is_valid_id(id) {
            self.add(field, format!("{id:?} is not valid: use {ID_RULE}"));
        }
    }

    fn unique<'a>(&mut self, entries: impl Iterator<Item = (String, &'a str)>) {
        let mut seen = HashSet::new();
        for (field, id) in entries {
            if !seen.insert(id) {
                self.add(field, format!("{id:?} is used twice"));
            }
        }
    }

    fn instrument(&mut self, path: &str, instrument: &Instrument) {
        self.id(format!("{path}.instrument_id"), &instrument.id);
        self.text(format!("{path}.version"), &instrument.version, 50);
        self.text(format!("{path}.name"), &instrument.name, 200);
        self.count(&format!("{path}.items"), instrument.items.len(), 0, MAX_ITEMS);
        self.unique(
            instrument
                .items
                .iter()
                .enumerate()
                .map(|(at, item)| (format!("{path}.items[{at}].item_id"), item.id.as_str())),
        );
        for (at, item) in instrument.items.iter().enumerate() {
            self.item(&format!("{path}.items[{at}]"), item);
        }
    }

    fn item(&mut self, path: &str, item: &Item) {
        self.id(format!("{path}.item_id"), &item.id);
        self.text(format!("{path}.prompt"), &item.prompt, 1_000);
        match &item.kind {
            ItemKind::Number { minimum, maximum } => {
                for (name, bound) in [("minimum", minimum), ("maximum", maximum)] {
                    if bound.is_some_and(|bound| !bound.is_finite()) {
                        self.add(format!("{path}.{name}"), "must be a finite number");
                    }
                }
                if let (Some(least), Some(most)) = (minimum, maximum)
                    && least > most
                {
                    self.add(format!("{path}.maximum"), format!("{most} is below the minimum {least}"));
                }
            }
            ItemKind::Choice { choices } => {
                self.count(&format!("{path}.choices"), choices.len(), 1, MAX_CHOICES);
                for (at, choice) in choices.iter().enumerate() {
                    self.text(format!("{path}.choices[{at}]"), choice, 200);
                }
                self.unique(
                    choices.iter().enumerate().map(|(at, choice)| (format!("{path}.choices[{at}]"), choice.as_str())),
                );
            }
            ItemKind::Any | ItemKind::Text | ItemKind::Boolean => {}
        }
    }

    fn visit(&mut self, path: &str, visit: &Visit, known: &HashSet<&str>) {
        self.id(format!("{path}.visit_id"), &visit.id);
        self.text(format!("{path}.name"), &visit.name, 200);
        self.count(&format!("{path}.instrument_ids"), visit.instrument_ids.len(), 1, MAX_INSTRUMENTS);
        self.unique(
            visit
                .instrument_ids
                .iter()
                .enumerate()
                .map(|(at, id)| (format!("{path}.instrument_ids[{at}]"), id.as_str())),
        );
        for (at, id) in visit.instrument_ids.iter().enumerate() {
            if !known.contains(id.as_str()) {
                self.add(format!("{path}.instrument_ids[{at}]"), format!("{id:?} is no instrument of this schedule"));
            }
        }
        if visit.offset_days.unsigned_abs() > MAX_OFFSET_DAYS {
            self.add(
                format!("{path}.offset_days"),
                format!("{} is outside -{MAX_OFFSET_DAYS} to {MAX_OFFSET_DAYS}", visit.offset_days),
            );
        }
        for (name, days) in
            [("window_before_days", visit.window_before_days), ("window_after_days", visit.window_after_days)]
        {
            if days > MAX_WINDOW_DAYS {
                self.add(format!("{path}.{name}"), format!("{days} is outside 0-{MAX_WINDOW_DAYS}"));
            }
        }
    }

    fn reminders(&mut self, offsets_hours: &[u32]) {
        self.count("schedule.reminders", offsets_hours.len(), 0, MAX_REMINDERS);
        let mut seen = HashSet::new();
        for (at, hours) in offsets_hours.iter().enumerate() {
            let field = format!("schedule.reminders[{at}].offset_hours");
            if *hours == 0 || *hours > MAX_REMINDER_HOURS {
                self.add(&field, format!("{hours} is outside 1-{MAX_REMINDER_HOURS}"));
            }
            if !seen.insert(hours) {
                self.add(&field, format!("{hours} is used twice"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::schedule::Anchor;

    fn item(id: &str, kind: ItemKind) -> Item {
        Item { id: id.to_owned(), prompt: "How?".to_owned(), required: false, kind }
    }

    fn schedule() -> Schedule {
        Schedule {
            instruments: vec![Instrument {
                id: "diary".to_owned(),
                version: "1.0".to_owned(),
                name: "Diary".to_owned(),
                items: vec![item("pain", ItemKind::Number { minimum: Some(0.0), maximum: Some(10.0) })],
            }],
            visits: vec![Visit {
                id: "day-1".to_owned(),
                name: "Day 1".to_owned(),
                instrument_ids: vec!["diary".to_owned()],
                anchor: Anchor::Enrolment,
                offset_days: 0,
                window_before_days: 0,
                window_after_days: 2,
            }],
            reminder_offsets_hours: vec![24, 48],
        }
    }

    #[track_caller]
    fn expect(change: impl FnOnce(&mut Schedule), fields: &[&str]) {
        let mut changed = schedule();
        change(&mut changed);
        let found: Vec<String> = check(&changed).into_iter().map(|violation| violation.field).collect();
        assert_eq!(found, fields);
    }

    #[test]
    fn a_sound_schedule_has_no_violation() {
        expect(|_| {}, &[]);
    }

    #[test]
    fn each_rule_names_its_field() {
        expect(|s| s.visits.clear(), &["schedule.visits"]);
        expect(|s| s.visits[0].offset_days = 3_651, &["schedule.visits[0].offset_days"]);
        expect(|s| s.visits[0].offset_days = i32::MIN, &["schedule.visits[0].offset_days"]);
        expect(|s| s.visits[0].window_after_days = 366, &["schedule.visits[0].window_after_days"]);
        expect(|s| s.visits[0].instrument_ids = vec!["diary".to_owned(); 2], &["schedule.visits[0].instrument_ids[1]"]);
        expect(|s| s.visits[0].instrument_ids = vec!["x".to_owned()], &["schedule.visits[0].instrument_ids[0]"]);
        expect(|s| s.visits.push(s.visits[0].clone()), &["schedule.visits[1].visit_id"]);
        expect(|s| s.instruments.push(s.instruments[0].clone()), &["schedule.instruments[1].instrument_id"]);
        expect(|s| s.instruments[0].name = " ".to_owned(), &["schedule.instruments[0].name"]);
        expect(
            |s| s.instruments[0].id = "a b".to_owned(),
            &["schedule.instruments[0].instrument_id", "schedule.visits[0].instrument_ids[0]"],
        );
        expect(|s| s.reminder_offsets_hours = vec![0], &["schedule.reminders[0].offset_hours"]);
        expect(|s| s.reminder_offsets_hours = vec![5, 5], &["schedule.reminders[1].offset_hours"]);
    }

    #[test]
    fn bounds_and_choices_of_an_item_must_make_sense() {
        let number = |minimum, maximum| item("n", ItemKind::Number { minimum, maximum });
        expect(
            |s| s.instruments[0].items = vec![number(Some(2.0), Some(1.0))],
            &["schedule.instruments[0].items[0].maximum"],
        );
        expect(
            |s| s.instruments[0].items = vec![number(Some(f64::NAN), None)],
            &["schedule.instruments[0].items[0].minimum"],
        );
        expect(
            |s| s.instruments[0].items = vec![item("c", ItemKind::Choice { choices: Vec::new() })],
            &["schedule.instruments[0].items[0].choices"],
        );
    }

    #[test]
    fn what_is_asked_of_one_subject_is_bounded() {
        expect(
            |s| {
                s.instruments =
                    (0..3).map(|n| Instrument { id: format!("i{n}"), ..s.instruments[0].clone() }).collect();
                let ids: Vec<String> = s.instruments.iter().map(|instrument| instrument.id.clone()).collect();
                s.visits = (0..400)
                    .map(|n| Visit { id: format!("v{n}"), instrument_ids: ids.clone(), ..s.visits[0].clone() })
                    .collect();
            },
            &["schedule.visits"],
        );
    }
}
