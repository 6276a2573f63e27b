//! One decision about many letters: shown first, confirmed, sent one by one, the oldest first, and summed up.

use crate::{courier::Courier, decision::DecisionArgs, invocation, output};

use super::{decide, letters::Letters, select::Selection, show};

/// Between two words about how far it is.
const SAY_EVERY: usize = 100;

/// What is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Replay,
    Discard,
}

impl Verdict {
    fn name(self) -> &'static str {
        match self {
            Self::Replay => "replay",
            Self::Discard => "discard",
        }
    }
}

/// Sends the decision about every letter that matches.
///
/// # Errors
/// None matches, it was not confirmed, or the broker did not acknowledge one: those before it are sent.
pub(super) async fn run(
    courier: &Courier,
    letters: &Letters,
    selection: &Selection,
    verdict: Verdict,
    decision: &DecisionArgs,
    json: bool,
) -> anyhow::Result<()> {
    let chosen = selection.choose(letters)?;
    let total = chosen.letters.len();
    let ids: Vec<&str> = chosen.letters.iter().map(|letter| letter.letter.letter_id.as_str()).collect();
    let name = verdict.name();
    if selection.dry_run {
        if json {
            return output::json(
                &serde_json::json!({ "ok": true, "dry_run": true, "would_send": name, "letter_ids": ids, "left": chosen.left }),
            );
        }
        show::list(&chosen.letters, false, false)?;
        output::line(&format!("{name}: {total} letters would be sent, {} more match; nothing was sent", chosen.left));
        return Ok(());
    }
    anyhow::ensure!(
        selection.yes,
        "{total} dead letters match; look at them with --dry-run, then confirm the {name} with --yes"
    );
    for (done, letter) in chosen.letters.iter().enumerate() {
        let sent = match verdict {
            Verdict::Replay => decide::replay(courier, letter, None, decision).await,
            Verdict::Discard => decide::discard(courier, letter, decision).await,
        };
        sent.map_err(|error| error.context(format!("stopped after {done} of {total} letters, which are sent")))?;
        if (done + 1) % SAY_EVERY == 0 {
            output::progress(&format!("{} of {total} sent", done + 1));
        }
    }
    if json {
        return output::json(
            &serde_json::json!({ "ok": true, "sent": name, "count": total, "letter_ids": ids, "left": chosen.left }),
        );
    }
    let more =
        if chosen.left > 0 { format!("; {} more match, run it again for them", chosen.left) } else { String::new() };
    output::line(&invocation::as_called(&format!(
        "{name}: {total} letters are on their way{more}; see what became of them: ctms dlq list"
    )));
    Ok(())
}
