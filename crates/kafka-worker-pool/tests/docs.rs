//! What the documents name exists: each test of the guarantees, each option of the tuning.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// All Rust text of these folders of the crates.
fn sources(folders: &[&str]) -> String {
    let mut text = String::new();
    for folder in folders {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder);
        for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.expect("a folder lists its files").path();
            if path.extension().is_some_and(|extension| extension == "rs") {
                text += &fs::read_to_string(&path).expect("a source is text");
            }
        }
    }
    text
}

#[test]
fn each_test_that_shows_a_guarantee_exists() {
    let ours = sources(&["kafka-worker-pool/tests", "kafka-worker-pool/src"]);
    let engines = sources(&["worker-pool/tests", "worker-pool/src"]);
    let mut named = 0;
    let guarantees = include_str!("../docs/guarantees.md");
    for paragraph in guarantees.split("\n\n").filter_map(|text| text.trim().strip_prefix("Tests: ")) {
        for name in paragraph.split('`').skip(1).step_by(2) {
            let (text, name) = match name.strip_prefix("worker-pool: ") {
                Some(name) => (&engines, name),
                None => (&ours, name),
            };
            assert!(text.contains(&format!("fn {name}(")), "no test is called {name}");
            named += 1;
        }
    }
    assert!(named > 30, "only {named} tests are named");
}

#[test]
fn each_option_is_in_the_tuning() {
    let options = include_str!("../src/options.rs");
    let fields = options.split("pub struct Options {").nth(1).and_then(|text| text.split("\n}").next());
    let names: BTreeSet<&str> = fields
        .expect("options.rs has the struct")
        .lines()
        .filter_map(|line| line.trim().strip_prefix("pub ")?.split_once(':').map(|(name, _)| name))
        .collect();
    assert!(names.len() > 20, "{names:?}");
    let tuning = include_str!("../docs/tuning.md");
    let missing: Vec<_> = names.into_iter().filter(|name| !tuning.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty(), "not in docs/tuning.md: {missing:?}");
}
