//! The configuration file: TOML or YAML, flattened to the long flag names.
//! Knows names and shapes only; whether a value is right is for the flag's own parser to say.

use std::path::Path;

use serde_json::Value;

use super::Problems;

/// One key of the file with its values (several for a repeatable flag).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The long flag's name.
    pub(super) flag: String,
    /// Values as they would stand on a command line.
    pub(super) values: Vec<String>,
}

/// A flag the file may set.
pub(super) struct KnownFlag {
    pub(super) name: String,
    pub(super) repeatable: bool,
}

/// Reads and parses the file by its extension.
pub(super) fn read(path: &Path) -> Result<Value, String> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| {
        format!("cannot read the configuration file {shown}: {error}; check the path and its permissions")
    })?;
    parse(&text, path.extension().and_then(|e| e.to_str()).unwrap_or_default())
        .map_err(|wrong| format!("the configuration file {shown} {wrong}"))
}

fn parse(text: &str, extension: &str) -> Result<Value, String> {
    let value = match extension.to_ascii_lowercase().as_str() {
        "toml" => toml::from_str::<toml::Table>(text)
            .map_err(|error| format!("is no valid TOML: {error}"))
            .and_then(|table| serde_json::to_value(table).map_err(|error| format!("cannot be taken over: {error}")))?,
        "yaml" | "yml" if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) => {
            Value::Object(serde_json::Map::new())
        }
        "yaml" | "yml" => serde_saphyr::from_str(text).map_err(|error| format!("is no valid YAML: {error}"))?,
        other => return Err(format!("ends in {other:?}; name it .toml, .yaml or .yml")),
    };
    if value.is_object() { Ok(value) } else { Err("is no table of keys; write `key: value` lines".to_owned()) }
}

/// Joins nested tables with `-`, and finds each key among the known flags; what is wrong goes to `problems`, all of it.
pub(super) fn flatten(file: &Value, path: &Path, known: &[KnownFlag], problems: &mut Problems) -> Vec<Entry> {
    let mut entries = Vec::new();
    walk(file, "", path, known, problems, &mut entries);
    entries
}

fn walk(
    value: &Value,
    prefix: &str,
    path: &Path,
    known: &[KnownFlag],
    problems: &mut Problems,
    entries: &mut Vec<Entry>,
) {
    let Value::Object(table) = value else { return };
    for (key, value) in table {
        let key = key.replace('_', "-");
        let name = if prefix.is_empty() { key } else { format!("{prefix}-{key}") };
        let flag = known.iter().find(|flag| flag.name == name);
        let place = || format!("{}: key {name:?}", path.display());
        match (flag, value) {
            (_, Value::Null) => {}
            (Some(flag), _) => match values_of(flag, value) {
                Ok(values) if entries.iter().any(|entry| entry.flag == name) => {
                    let _ = values;
                    problems.add_line(format!(
                        "{}: it is there twice (`-`, `_` and nested tables mean the same); keep one",
                        place()
                    ));
                }
                Ok(values) => entries.push(Entry { flag: name, values }),
                Err(wrong) => problems.add_line(format!("{}: {wrong}", place())),
            },
            (None, Value::Object(_)) if known.iter().any(|flag| flag.name.starts_with(&format!("{name}-"))) => {
                walk(value, &name, path, known, problems, entries);
            }
            (None, _) => {
                let nearest = nearest(&name, known);
                problems.add_line(format!("{}: no such setting; did you mean {nearest:?}? --help lists all", place()));
            }
        }
    }
}

fn values_of(flag: &KnownFlag, value: &Value) -> Result<Vec<String>, String> {
    match value {
        Value::Array(items) if flag.repeatable => items.iter().map(scalar).collect(),
        Value::Object(table) if flag.repeatable => {
            table.iter().map(|(key, value)| scalar(value).map(|value| format!("{key}={value}"))).collect()
        }
        Value::Array(_) => Err("it takes one value, not a list".to_owned()),
        Value::Object(_) => Err("it takes a value, not a table".to_owned()),
        _ => scalar(value).map(|value| vec![value]),
    }
}

fn scalar(value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Bool(_) | Value::Number(_) => Ok(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => {
            Err("a list may hold only texts, numbers and true/false".to_owned())
        }
    }
}

fn nearest<'a>(name: &str, known: &'a [KnownFlag]) -> &'a str {
    known.iter().min_by_key(|flag| edit_distance(name, &flag.name)).map_or("", |flag| flag.name.as_str())
}

/// Levenshtein's distance by the two-row method.
fn edit_distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, r) in right.iter().enumerate() {
            let substitute = diagonal + usize::from(l != *r);
            diagonal = row[j + 1];
            row[j + 1] = substitute.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Vec<KnownFlag> {
        [("grpc-listen", false), ("database-url", false), ("kafka-property", true)]
            .map(|(name, repeatable)| KnownFlag { name: name.to_owned(), repeatable })
            .into()
    }

    fn check(text: &str, extension: &str) -> (Vec<Entry>, Problems) {
        let mut problems = Problems::default();
        let value = parse(text, extension).expect("the text parses");
        let entries = flatten(&value, Path::new("ctms.toml"), &known(), &mut problems);
        (entries, problems)
    }

    fn entry(flag: &str, values: &[&str]) -> Entry {
        Entry { flag: flag.to_owned(), values: values.iter().map(ToString::to_string).collect() }
    }

    #[test]
    fn nested_tables_underscores_and_flat_keys_mean_the_same() {
        for (text, extension) in [
            ("grpc-listen = '1'", "toml"),
            ("grpc_listen = '1'", "toml"),
            ("[grpc]\nlisten = 1", "toml"),
            ("grpc:\n  listen: 1\n", "yml"),
            ("grpc_listen: '1'", "yaml"),
        ] {
            let (entries, problems) = check(text, extension);
            assert!(problems.is_empty(), "{text}: {problems}");
            assert_eq!(entries, vec![entry("grpc-listen", &["1"])], "{text}");
        }
    }

    #[test]
    fn a_repeatable_flag_takes_a_list_or_a_table() {
        let (entries, _) = check("kafka-property = ['a.b=1', 'c=2']", "toml");
        assert_eq!(entries, vec![entry("kafka-property", &["a.b=1", "c=2"])]);
        let (entries, _) = check("[kafka.property]\n'a.b' = 1\n", "toml");
        assert_eq!(entries, vec![entry("kafka-property", &["a.b=1"])]);
    }

    #[test]
    fn every_wrong_key_is_named_with_its_file_and_the_nearest_setting() {
        let (_, problems) = check("grpc-listn = '1'\n[database]\nurll = 'x'\n", "toml");
        assert_eq!(problems.lines().len(), 2, "{problems}");
        let text = problems.to_string();
        assert!(
            text.contains("ctms.toml: key \"grpc-listn\"") && text.contains("did you mean \"grpc-listen\""),
            "{text}"
        );
        assert!(text.contains("\"database-urll\"") && text.contains("did you mean \"database-url\""), "{text}");
    }

    #[test]
    fn a_key_twice_a_list_for_one_value_and_an_unknown_extension_are_refused() {
        assert!(!check("grpc-listen = '1'\n[grpc]\nlisten = '2'", "toml").1.is_empty());
        assert!(!check("grpc-listen = ['1']", "toml").1.is_empty());
        assert!(parse("", "json").is_err());
        assert!(parse("- a\n", "yaml").is_err());
        assert!(check("# nothing\n", "yaml").0.is_empty());
    }
}
