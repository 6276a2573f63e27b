//! pgbench with the statements of a start: what the server does when nothing but the protocol stands before it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use super::{Reading, statements};

/// Runs it; each transaction takes a project at random and whatever state it is in, for the statements do the same.
pub(super) fn run(database: &str, projects: u32, clients: usize, length: Duration) -> Result<Reading> {
    let folder = testkit::target_dir().join(format!("bench-start-{}", std::process::id()));
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let path = folder.join("start.sql");
    fs::write(&path, script(projects)).with_context(|| format!("cannot write {}", path.display()))?;
    let output = Command::new(program()?)
        .args(["--no-vacuum", "--protocol=prepared", "--log"])
        .arg(format!("--log-prefix={}", folder.join("log").display()))
        .arg(format!("--client={clients}"))
        .arg(format!("--jobs={}", clients.min(2)))
        .arg(format!("--time={}", length.as_secs()))
        .arg(format!("--file={}", path.display()))
        .arg(database)
        .output()
        .context("cannot run pgbench")?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        bail!("pgbench failed: {}{said}", String::from_utf8_lossy(&output.stderr));
    }
    let mut took_us = latencies_us(&folder)?;
    fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    took_us.sort_unstable();
    let starts_per_s = tps(&said).with_context(|| format!("pgbench did not tell its rate: {said}"))?;
    Ok(Reading::of(&took_us, starts_per_s))
}

fn program() -> Result<PathBuf> {
    let packaged = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = packaged
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse::<u32>().ok()?, entry.path().join("bin/pgbench"))))
        .filter(|(_, program)| program.exists())
        .max();
    if let Some((_, program)) = newest {
        return Ok(program);
    }
    let in_path =
        std::env::var_os("PATH").into_iter().flat_map(|path| std::env::split_paths(&path).collect::<Vec<_>>());
    in_path.map(|folder| folder.join("pgbench")).find(|program| program.exists()).context(
        "pgbench is in no /usr/lib/postgresql/*/bin and not in PATH; install postgresql-15 (or postgresql-contrib)",
    )
}

/// pgbench's `\gset` gives the locked row's values to the write, as a server has them.
fn script(projects: u32) -> String {
    let lock = statements::LOCK.replace("$1", "'bench-' || (:n)::text");
    let values = [
        "'bench-' || (:n)::text".to_owned(),
        "'STARTED'".to_owned(),
        "(:p_version)::bigint + 1".to_owned(),
        "(:p_event_seq)::bigint + 1".to_owned(),
        "gen_random_uuid()".to_owned(),
        "now()".to_owned(),
        "now()".to_owned(),
        "NULL".to_owned(),
        "'bench-' || (:n)::text".to_owned(),
        "(:p_version)::bigint + 1".to_owned(),
        "now()".to_owned(),
        "'bench'".to_owned(),
        "'StartProject'".to_owned(),
        "'PREPARING'".to_owned(),
        "'STARTED'".to_owned(),
        "''".to_owned(),
        format!("'{}'", statements::FACT),
        "gen_random_uuid()".to_owned(),
        "gen_random_uuid()::text".to_owned(),
        "'bench-' || (:n)::text".to_owned(),
        "0".to_owned(),
        "(:p_event_seq)::bigint + 1".to_owned(),
        "'ProjectStarted'".to_owned(),
        format!("'{}'", statements::TOPIC),
        "convert_to('bench-' || (:n)::text, 'UTF8')".to_owned(),
        format!("convert_to('{}', 'UTF8')", statements::payload("bench-000000")),
        format!("'{}'", statements::headers("bench-000000", "00000000-0000-7000-8000-000000000000")),
        "now()".to_owned(),
        format!("'{}'", statements::METHOD),
        "(:r)::text".to_owned(),
        "sha256('request')".to_owned(),
        format!("convert_to(repeat('x', {}), 'UTF8')", super::bare::ANSWER_BYTES),
        "now()".to_owned(),
    ];
    // From the last one down, so that $3 is not found in $33.
    let write = (1..)
        .zip(values)
        .collect::<Vec<_>>()
        .into_iter()
        .rev()
        .fold(statements::WRITE.to_owned(), |text, (number, value): (u32, String)| {
            text.replace(&format!("${number}"), &value)
        });
    // Above those that the servers start, each of them once.
    let (first, last) = (u64::from(projects) + 1, u64::from(projects) * 2);
    format!(
        "\\set n random({first}, {last})\n\\set r random(1, 9000000000000000000)\nBEGIN;\n{lock} \\gset p_\n{write};\nCOMMIT;\n"
    )
}

fn tps(said: &str) -> Option<f64> {
    said.lines().find_map(|line| line.strip_prefix("tps = ")?.split_whitespace().next()?.parse().ok())
}

/// Of each transaction: `client_id transaction_no time script_no time_epoch time_us`.
fn latencies_us(folder: &Path) -> Result<Vec<u64>> {
    let mut took_us = Vec::new();
    for entry in fs::read_dir(folder).context("cannot read pgbench's logs")?.flatten() {
        if !entry.file_name().to_string_lossy().starts_with("log") {
            continue;
        }
        let text = fs::read_to_string(entry.path()).context("cannot read pgbench's log")?;
        took_us.extend(text.lines().filter_map(|line| line.split_whitespace().nth(2)?.parse::<u64>().ok()));
    }
    Ok(took_us)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_has_no_placeholder_left() {
        let script = script(10);
        assert!(!script.contains('$'), "{script}");
        assert!(script.contains("random(11, 20)") && script.contains("FOR UPDATE \\gset p_"));
    }

    #[test]
    fn the_rate_is_read_from_what_pgbench_says() {
        let said = "latency average = 1.0 ms\ninitial connection time = 3 ms\ntps = 1234.5 (without initial connection time)\n";
        assert_eq!(tps(said), Some(1234.5));
        assert_eq!(tps("nothing"), None);
    }
}
