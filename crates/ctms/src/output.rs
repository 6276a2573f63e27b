//! Where the command line writes: answers to stdout, one line of JSON last where it was asked for, errors to stderr.

use std::io::Write as _;

use serde::Serialize;

/// Prints one line of JSON.
///
/// # Errors
/// The value cannot be written as JSON.
pub(crate) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    line(&serde_json::to_string(value)?);
    Ok(())
}

/// Prints a line of an answer. A reader who has enough (`ctms dlq list | head`) has closed the pipe: that is no failure.
pub(crate) fn line(text: &str) {
    let _closed = writeln!(std::io::stdout(), "{text}");
}

/// Prints an error.
#[expect(clippy::print_stderr, reason = "errors of the command line go to stderr")]
pub(crate) fn error(text: &str) {
    eprintln!("error: {text}");
}

/// Says on stderr what is being done.
#[expect(clippy::print_stderr, reason = "progress of the command line goes to stderr")]
pub(crate) fn progress(text: &str) {
    eprintln!("… {text}");
}

/// A span of time as people say it.
pub(crate) fn age(span: time::Duration) -> String {
    match span.whole_seconds() {
        seconds @ ..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds @ 7200..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} d", seconds / 86_400),
    }
}
