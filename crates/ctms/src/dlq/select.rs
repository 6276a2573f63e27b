//! Which letters a decision is about: one by its id, or every open one that matches, up to a bound. Pure.

use super::letters::{FoldedLetter, Letters, State};

/// One letter, or the open ones that match every filter.
#[derive(clap::Args, Clone, Debug, Default)]
pub(super) struct Selection {
    /// Its id, or an unambiguous beginning of it.
    #[arg(
        required_unless_present_any = ["all", "event_type", "reason", "project", "group"],
        conflicts_with_all = ["all", "event_type", "reason", "project", "group"]
    )]
    letter: Option<String>,
    /// Every open letter.
    #[arg(long, conflicts_with_all = ["event_type", "reason", "project"])]
    all: bool,
    /// Those of this type of event, e.g. `ProjectStarted`.
    #[arg(long = "type", value_name = "TYPE")]
    event_type: Option<String>,
    /// Those whose cause contains this text, whatever the case.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Those of this project.
    #[arg(long, value_name = "ID")]
    project: Option<String>,
    /// Those of this consumer group, e.g. epro-srv.
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
    /// The most letters at once, the oldest first.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    /// Only show what would be sent. (For one letter `ctms dlq show` does.)
    #[arg(long, conflicts_with = "letter")]
    pub(super) dry_run: bool,
    /// Confirms a decision about every letter that matches.
    #[arg(long)]
    pub(super) yes: bool,
}

/// The letters that match.
pub(super) struct Chosen<'a> {
    pub(super) letters: Vec<&'a FoldedLetter>,
    /// How many more match beyond the bound.
    pub(super) left: usize,
}

impl Selection {
    /// The id, where one letter is meant.
    pub(super) fn letter(&self) -> Option<&str> {
        self.letter.as_deref()
    }

    /// The open letters that match, the oldest first.
    ///
    /// # Errors
    /// None matches.
    pub(super) fn choose<'a>(&self, letters: &'a Letters) -> anyhow::Result<Chosen<'a>> {
        let mut matching: Vec<_> = letters.iter().filter(|letter| self.matches(letter)).collect();
        anyhow::ensure!(!matching.is_empty(), "no open dead letter matches; see `ctms dlq list`");
        let left = matching.len().saturating_sub(usize::try_from(self.limit).unwrap_or(usize::MAX));
        matching.truncate(matching.len() - left);
        Ok(Chosen { letters: matching, left })
    }

    fn matches(&self, letter: &FoldedLetter) -> bool {
        let is = |wanted: &Option<String>, actual: Option<String>| wanted.is_none() || *wanted == actual;
        let reason = self.reason.as_ref().map(|reason| reason.to_lowercase());
        letter.state == State::Open
            && is(&self.event_type, letter.header("ce_type"))
            && is(&self.project, letter.project())
            && is(&self.group, Some(letter.letter.group.clone()))
            && reason.is_none_or(|reason| letter.letter.cause.to_lowercase().contains(&reason))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::letters::tests::letters_of;
    use super::*;

    fn chosen(selection: &Selection) -> Vec<String> {
        let letters = letters_of(&[
            ("a1", "ProjectStarted", "P-1", "no such Site"),
            ("b2", "ProjectSuspended", "P-1", "timed out"),
            ("c3", "ProjectStarted", "P-2", "no such site"),
        ]);
        let limited =
            Selection { limit: if selection.limit == 0 { 1000 } else { selection.limit }, ..selection.clone() };
        let Ok(chosen) = limited.choose(&letters) else { return vec![] };
        let mut ids: Vec<_> = chosen.letters.iter().map(|letter| letter.letter.letter_id.clone()).collect();
        ids.extend((chosen.left > 0).then(|| format!("and {} more", chosen.left)));
        ids
    }

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        selection: Selection,
    }

    #[test]
    fn a_dry_run_is_never_taken_for_a_decision() {
        let line = |args: &[&str]| Line::try_parse_from([&["dlq"], args].concat()).map(|line| line.selection.dry_run);
        assert!(line(&["--all", "--dry-run"]).unwrap());
        assert!(!line(&["a1"]).unwrap());
        let refused = line(&["a1", "--dry-run"]).unwrap_err();
        assert_eq!(refused.kind(), clap::error::ErrorKind::ArgumentConflict, "one letter is sent without being shown");
    }

    #[test]
    fn every_filter_narrows_and_the_bound_counts_the_rest() {
        let text = |text: &str| Some(text.to_owned());
        let none = Selection::default;
        assert_eq!(chosen(&Selection { all: true, ..none() }), ["a1", "b2", "c3"]);
        assert_eq!(chosen(&Selection { event_type: text("ProjectStarted"), ..none() }), ["a1", "c3"]);
        assert_eq!(chosen(&Selection { reason: text("NO SUCH SITE"), ..none() }), ["a1", "c3"]);
        assert_eq!(chosen(&Selection { project: text("P-1"), reason: text("site"), ..none() }), ["a1"]);
        assert_eq!(chosen(&Selection { group: text("finance-srv"), ..none() }), Vec::<String>::new());
        assert_eq!(chosen(&Selection { all: true, limit: 2, ..none() }), ["a1", "b2", "and 1 more"]);
    }
}
