//! How this program was called, so that the commands it suggests work as they are printed.

use std::sync::LazyLock;

/// What a suggestion begins with after the name of the program.
const COMMANDS: [&str; 8] = ["demo", "dev", "doctor", "dlq", "load", "outbox", "gate", "topics"];

/// What a user types to call this program again: the words that called it, or cargo where that built it.
pub(crate) fn program() -> &'static str {
    static PROGRAM: LazyLock<String> = LazyLock::new(|| {
        let by_cargo = std::env::var_os("CARGO").is_some() && std::env::var_os("CARGO_MANIFEST_DIR").is_some();
        called(std::env::args().next(), by_cargo, cfg!(debug_assertions))
    });
    &PROGRAM
}

fn called(first_word: Option<String>, by_cargo: bool, is_debug: bool) -> String {
    match first_word.filter(|word| !word.is_empty()) {
        Some(_) if by_cargo && is_debug => "cargo run --".to_owned(),
        Some(_) if by_cargo => "cargo run --release --".to_owned(),
        Some(word) => word,
        None => "ctms".to_owned(),
    }
}

/// A text with its suggestions of `ctms …` as this program is called.
pub(crate) fn as_called(text: &str) -> String {
    rewritten(text, program())
}

fn rewritten(text: &str, program: &str) -> String {
    if program == "ctms" {
        return text.to_owned();
    }
    COMMANDS.iter().fold(text.to_owned(), |text, command| {
        text.replace(&format!("ctms {command}"), &format!("{program} {command}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggestions_begin_with_the_words_that_called() {
        assert_eq!(called(Some("ctms".to_owned()), false, false), "ctms");
        assert_eq!(called(Some("target/release/ctms".to_owned()), false, false), "target/release/ctms");
        assert_eq!(called(Some("target/release/ctms".to_owned()), true, false), "cargo run --release --");
        assert_eq!(called(Some("target/debug/ctms".to_owned()), true, true), "cargo run --");
        assert_eq!(called(None, false, false), "ctms");
    }

    #[test]
    fn only_suggestions_are_rewritten() {
        let text = "start one: `ctms dev`; the topic ctms.project.events.v1; then ctms dlq list";
        let expected = "start one: `./ctms dev`; the topic ctms.project.events.v1; then ./ctms dlq list";
        assert_eq!(rewritten(text, "./ctms"), expected);
        assert_eq!(rewritten(text, "ctms"), text);
    }
}
