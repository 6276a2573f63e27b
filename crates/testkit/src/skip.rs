//! A test that cannot run says so, in a form that `cargo xtask test` counts.

use std::{fmt::Display, io::Write};

/// Something that a test needs and this machine lacks; the text says what, and what would supply it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Missing(pub String);

/// Says aloud that a test is skipped, and why; the test then returns.
///
/// # Panics
/// Under `CI=true`, because there every server must be present.
pub fn skip(why: impl Display) {
    // The stream itself: the test harness would hold back what eprintln! writes in a test that passes.
    let written = writeln!(std::io::stderr(), "SKIPPED: {why}");
    debug_assert!(written.is_ok(), "stderr takes a line");
    let in_ci = std::env::var("CI").is_ok_and(|value| value == "true");
    assert!(!in_ci, "skipped where CI=true: {why}");
}
