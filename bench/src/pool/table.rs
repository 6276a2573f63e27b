//! The figures as a table for people, one block per workload and concurrency.

use std::fmt::Write as _;

use super::{arm::Arm, results::Figure};

/// All of it as Markdown, which reads well on a terminal too.
pub(crate) fn markdown(figures: &[Figure]) -> String {
    let mut text = String::new();
    let mut rest = figures;
    while let Some(first) = rest.first() {
        let is_same = |figure: &Figure| (figure.workload, figure.concurrency) == (first.workload, first.concurrency);
        let (block, after) = rest.split_at(rest.iter().position(|figure| !is_same(figure)).unwrap_or(rest.len()));
        rest = after;
        text.push_str(&title(first));
        text.push_str(&table(block));
    }
    text
}

fn title(figure: &Figure) -> String {
    format!(
        "\n### {}, concurrency {}, {} records\n\n",
        figure.workload.name(),
        figure.concurrency,
        count(figure.records)
    )
}

fn table(block: &[Figure]) -> String {
    let reference = [Arm::Raw, Arm::Bare].into_iter().find_map(|arm| block.iter().find(|figure| figure.arm == arm));
    let beside = reference.map_or("raw", |figure| figure.arm.name());
    let mut rows = vec![
        [
            "arm",
            "msgs/s",
            "range",
            &format!("× {beside}"),
            "CPU µs/msg",
            "range",
            "cores",
            "peak MB",
            "p99 ms",
            "range",
            "runs",
        ]
        .map(str::to_owned),
    ];
    rows.extend(block.iter().map(|figure| row(figure, reference)));
    aligned(&rows)
}

fn row(figure: &Figure, reference: Option<&Figure>) -> [String; 11] {
    let cut = if figure.handled < figure.records { " cut" } else { "" };
    // At a given pace the rate says nothing.
    let compared = reference.filter(|_| !figure.workload.is_paced());
    let ratio = compared.map_or_else(String::new, |one| format!("{:.2}", figure.msgs_per_s / one.msgs_per_s));
    let disturbed = if figure.disturbed > 0 { format!(" ({} disturbed)", figure.disturbed) } else { String::new() };
    [
        figure.arm.name().to_owned(),
        format!("{}{cut}", rate(figure.msgs_per_s)),
        range(figure.msgs_per_s_range, rate),
        ratio,
        format!("{:.2}", figure.cpu_us_per_msg),
        range(figure.cpu_us_per_msg_range, |value| format!("{value:.2}")),
        format!("{:.2}", figure.client_cores),
        format!("{:.0}", figure.peak_rss_mb),
        figure.p99_ms.map_or_else(String::new, milliseconds),
        figure.p99_ms_range.map_or_else(String::new, |both| range(both, milliseconds)),
        format!("{}{disturbed}", figure.rounds),
    ]
}

fn range(both: [f64; 2], show: impl Fn(f64) -> String) -> String {
    format!("{}–{}", show(both[0]), show(both[1]))
}

fn milliseconds(value: f64) -> String {
    if value < 100.0 { format!("{value:.1}") } else { format!("{value:.0}") }
}

/// Three figures at least, with the letter for thousands or millions.
pub(crate) fn rate(value: f64) -> String {
    match value {
        value if value >= 999_500.0 => format!("{:.2} M", value / 1e6),
        value if value >= 99_950.0 => format!("{:.0} k", value / 1e3),
        value if value >= 9_995.0 => format!("{:.1} k", value / 1e3),
        value => format!("{value:.0}"),
    }
}

/// With commas.
pub(crate) fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Rows of Markdown whose columns line up; the first row is the heading.
pub(crate) fn aligned<const COLUMNS: usize>(rows: &[[String; COLUMNS]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..COLUMNS).map(width).collect();
    let mut text = String::new();
    for (place, row) in rows.iter().enumerate() {
        for (cell, width) in row.iter().zip(&widths) {
            let gap = width - cell.chars().count();
            // Writing to a String cannot fail.
            let _ = write!(text, "| {cell}{} ", " ".repeat(gap));
        }
        text.push_str("|\n");
        if place == 0 {
            for width in &widths {
                let _ = write!(text, "|{}", "-".repeat(width + 2));
            }
            text.push_str("|\n");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        arms::Workload,
        pool::results::{
            Results,
            tests::{cell, run},
        },
    };

    #[test]
    fn ratios_are_to_the_raw_loop_of_the_same_block() {
        let mut results = Results::default();
        for (arm, rate) in [(Arm::Ours, 3e6), (Arm::Raw, 2e6)] {
            let cell = cell(Workload::Noop, arm);
            results.add(cell, run(&cell, rate, 0.5));
        }
        let text = markdown(&results.figures());
        assert!(text.contains("### noop, concurrency 64, 1,000,000 records"), "{text}");
        let ours = text.lines().find(|line| line.starts_with("| ours")).expect("a row of ours");
        assert!(ours.contains("3.00 M") && ours.contains("| 1.50"), "{ours}");
        let widths: Vec<usize> =
            text.lines().filter(|line| line.starts_with('|')).map(|line| line.chars().count()).collect();
        assert!(widths.windows(2).all(|two| two[0] == two[1]), "{text}");
    }

    #[test]
    fn figures_keep_three_digits() {
        assert_eq!(rate(2_345_678.0), "2.35 M");
        assert_eq!(rate(999_600.0), "1.00 M");
        assert_eq!(rate(147_200.0), "147 k");
        assert_eq!(rate(46_040.0), "46.0 k");
        assert_eq!(rate(5_712.0), "5712");
        assert_eq!(count(1_000_000), "1,000,000");
        assert_eq!(count(12), "12");
    }
}
