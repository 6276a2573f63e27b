//! The page with the figures, its plots beside it: what `--page` writes.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};

use super::{
    arm::Arm,
    plan::{PACE, PACED_S, PACED_SKIP_S},
    results::{Figure, Results},
    table,
};
use crate::{
    arms::Workload,
    chart::{self, Bar, Group, Scale},
    host::Host,
};

const ARMS: &str = "\
| arm | what it is | settings |
|---|---|---|
| ours | kafka-worker-pool, order by key, contiguous commits | its defaults; `workers` = concurrency |
| ours-blocking | the same, its handler marked `blocking`: it sleeps on the thread it runs on | as ours |
| raw | one thread, `BaseConsumer::poll`, no pool | `fetch.queue.backoff.ms` 20, `queued.min.messages` 100,000, `fetch.wait.max.ms` 100 |
| naive | `StreamConsumer::recv`, `detach`, one tokio channel of 100, its receiver behind a mutex, as many tasks as the concurrency, `store_offset` for each record; no order | as raw |
| naive-keyed | the same with a channel for each task, chosen by the hash of the key | as raw |
| kq | go-queue kq 1.2.2; no order | `Processors` = concurrency, `Consumers` = min(concurrency, 8), `ForceCommit`, queue capacity 10,000, max wait 100 ms, commit interval 1 s, logs off |
| parallel-consumer-key, -unordered | Confluent's Parallel Consumer 0.5.3.3, `KEY` and `UNORDERED`, core module with blocking handlers | `maxConcurrency` = concurrency, `PERIODIC_CONSUMER_ASYNCHRONOUS` at 1 s, message buffer max(20 × concurrency, 20,000), retry delay 100 ms, `fetch.max.wait.ms` 100, `-Xms2g -Xmx2g` |
| franz-go | a `PollFetches` loop, no pool: what the wire allows | auto-commit 1 s, max wait 100 ms |
| bare | as many tokio tasks as the concurrency, each looping on the workload's timer; no Kafka | |
";

/// Writes `pool.md` and the plots into the folder.
///
/// # Errors
/// When a file cannot be written.
pub(super) fn write(folder: &Path, host: &Host, results: &Results, command: &str) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let figures = results.figures();
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    };
    let plots = plots(&figures);
    for plot in &plots {
        write(&plot.file, &plot.svg)?;
    }
    write("pool.md", &page(host, results, &figures, &plots, command))
}

/// A plot and where it belongs.
struct Plot {
    workload: Workload,
    file: String,
    title: String,
    svg: String,
}

fn page(host: &Host, results: &Results, figures: &[Figure], plots: &[Plot], command: &str) -> String {
    let mut text = format!(
        "# The worker pool beside its peers\n\n\
         Written by `{command}`. 1,000,000 records of 200 bytes, 10,000 keys, 8 partitions, uncompressed, drained by each arm in a fresh\n\
         group and a process of its own, the broker beside it on the same machine; the arms of one workload take turns, and each round begins with\n\
         another. Figures are medians over the rounds with their range. Throughput and client CPU (user and system) are taken from the first record's\n\
         start to the last one's end; memory is the peak of the process. Every arm reads the id of each record.\n\n"
    );
    text.push_str(&host.markdown());
    text.push_str(&disturbances(figures));
    for failure in results.failures() {
        text.push_str(&format!("\n{} was skipped: {}\n", failure.arm.name(), failure.why));
    }
    text.push_str("\n## Arms\n\n");
    text.push_str(ARMS);
    let mut rest = figures;
    while let Some(first) = rest.first() {
        let (block, after) =
            rest.split_at(rest.iter().position(|one| one.workload != first.workload).unwrap_or(rest.len()));
        rest = after;
        text.push_str(&format!("\n## {}\n\n{}\n\n", first.workload.name(), meaning(first.workload)));
        for plot in plots.iter().filter(|plot| plot.workload == first.workload) {
            text.push_str(&format!("![{}]({})\n\n", plot.title, plot.file));
        }
        text.push_str(table::markdown(block).trim_start());
    }
    text
}

/// What must be said of runs beside which the machine did other things.
fn disturbances(figures: &[Figure]) -> String {
    let (runs, disturbed) =
        figures.iter().fold((0, 0), |(runs, disturbed), one| (runs + one.rounds, disturbed + one.disturbed));
    if disturbed == 0 {
        return format!(
            "\nDuring none of the {runs} runs was more than 0.2 of a core busy with anything but the arm and the broker.\n"
        );
    }
    format!(
        "\n**Other work ran on the machine**: during {disturbed} of {runs} runs more than 0.2 of a core was busy with something that is neither the arm nor the\n\
         broker. Ratios within a block are between runs side by side; absolute figures are lower than on a quiet machine.\n"
    )
}

fn meaning(workload: Workload) -> String {
    match workload {
        Workload::Noop => "The handler does nothing. `× raw` compares with the client loop of the same block.".to_owned(),
        Workload::Cpu20us => "The handler computes for about 20 µs.".to_owned(),
        Workload::Sleep1ms | Workload::Sleep10ms => {
            "The handler sleeps. tokio's timer counts whole milliseconds, so the reference is `bare`; Go's is finer, and kq's figure no target."
                .to_owned()
        }
        Workload::SlowKeys => format!(
            "{PACE} records/s for {PACED_S} s; the handler of 1% of the keys sleeps 500 ms, that of the others does nothing. p99 is the delay of the others, \
             from produced to done; the first {PACED_SKIP_S} s do not count. The raw loop sleeps in line and is cut."
        ),
        Workload::Paced => format!(
            "{PACE} records/s for {PACED_S} s, nothing to do. p99 is the delay of all records from produced to done; the first {PACED_SKIP_S} s do not count."
        ),
        Workload::Fail2 => "1% of the records fail twice and then succeed; a retry waits 100 ms or more. kq does not try again: it drops the record."
            .to_owned(),
        Workload::Steps => "The handler of the correctness trials.".to_owned(),
    }
}

fn plots(figures: &[Figure]) -> Vec<Plot> {
    let mut plots = Vec::new();
    let mut workloads: Vec<Workload> = figures.iter().map(|figure| figure.workload).collect();
    workloads.dedup();
    for workload in workloads {
        let of: Vec<&Figure> = figures.iter().filter(|figure| figure.workload == workload).collect();
        let name = workload.name();
        if workload.is_paced() {
            let of: Vec<&Figure> = of.into_iter().filter(|figure| figure.p99_ms.is_some()).collect();
            let p99 = |figure: &Figure| {
                let value = figure.p99_ms.unwrap_or_default();
                (value, figure.p99_ms_range.unwrap_or([value; 2]), format!("{value:.1} ms"))
            };
            plots.push(plot(
                workload,
                "p99",
                &format!("{name}: p99 of the delay, ms, logarithmic; less is better"),
                Scale::Logarithmic,
                &of,
                p99,
            ));
            continue;
        }
        let rate = |figure: &Figure| (figure.msgs_per_s, figure.msgs_per_s_range, table::rate(figure.msgs_per_s));
        plots.push(plot(
            workload,
            "rate",
            &format!("{name}: records per second; more is better"),
            Scale::Linear,
            &of,
            rate,
        ));
        if workload == Workload::Noop {
            let cpu = |figure: &Figure| {
                (figure.cpu_us_per_msg, figure.cpu_us_per_msg_range, format!("{:.2} µs", figure.cpu_us_per_msg))
            };
            plots.push(plot(
                workload,
                "cpu",
                &format!("{name}: client CPU per record, µs, logarithmic; less is better"),
                Scale::Logarithmic,
                &of,
                cpu,
            ));
        }
    }
    plots
}

fn plot(
    workload: Workload,
    metric: &str,
    title: &str,
    scale: Scale,
    figures: &[&Figure],
    value: impl Fn(&Figure) -> (f64, [f64; 2], String),
) -> Plot {
    let mut groups: Vec<Group> = Vec::new();
    for figure in figures {
        let heading = format!("concurrency {}", figure.concurrency);
        let (value, range, shown) = value(figure);
        let bar = Bar {
            label: figure.arm.name().to_owned(),
            value,
            range,
            shown,
            is_ours: matches!(figure.arm, Arm::Ours | Arm::OursBlocking),
        };
        match groups.last_mut().filter(|group| group.heading == heading) {
            Some(group) => group.bars.push(bar),
            None => groups.push(Group { heading, bars: vec![bar] }),
        }
    }
    Plot {
        workload,
        file: format!("pool-{}-{metric}.svg", workload.name()),
        title: title.to_owned(),
        svg: chart::svg(title, scale, &groups),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::results::tests::{cell, run};

    fn results() -> Results {
        let mut results = Results::default();
        for (workload, arm, rate) in
            [(Workload::Noop, Arm::Ours, 3e6), (Workload::Noop, Arm::Raw, 2e6), (Workload::Paced, Arm::Ours, 2e3)]
        {
            let cell = cell(workload, arm);
            results.add(cell, run(&cell, rate, 0.5));
        }
        results.fail(Arm::Kq, "go is not on this machine".to_owned());
        results
    }

    #[test]
    fn the_page_names_its_plots_its_command_and_what_was_skipped() {
        let folder = std::env::temp_dir().join(format!("bench-page-{}", std::process::id()));
        let host = Host::now("Kafka of the test".to_owned()).expect("a temporary folder");
        write(&folder, &host, &results(), "cargo xtask bench pool --quick").expect("written");
        let page = fs::read_to_string(folder.join("pool.md")).expect("the page");
        for wanted in ["cargo xtask bench pool --quick", "Kafka of the test", "kq was skipped: go is not", "## paced"] {
            assert!(page.contains(wanted), "{wanted}: {page}");
        }
        for file in ["pool-noop-rate.svg", "pool-noop-cpu.svg", "pool-paced-p99.svg"] {
            assert!(page.contains(file) && folder.join(file).exists(), "{file}");
        }
        fs::remove_dir_all(folder).expect("it was there");
    }

    #[test]
    fn disturbed_runs_are_confessed() {
        let mut disturbed = results().figures();
        assert!(disturbances(&disturbed).contains("none of the 3 runs"));
        disturbed[0].disturbed = 1;
        assert!(disturbances(&disturbed).contains("**Other work ran on the machine**: during 1 of 3 runs"));
    }
}
