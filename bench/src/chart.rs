//! Plots as SVG, written by hand: horizontal bars in groups, each with the range of its rounds.

use std::fmt::Write as _;

const WIDTH: f64 = 780.0;
/// Where bars begin, and how long the longest is.
const LEFT: f64 = 215.0;
const LENGTH: f64 = 430.0;
const ROW: f64 = 20.0;
const BAR: f64 = 13.0;
const GROUP_HEADING: f64 = 26.0;
const HEADING: f64 = 40.0;
const OURS: &str = "#1a66c2";
const OTHERS: &str = "#a9b4c0";
const INK: &str = "#24292f";

/// How values become lengths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scale {
    Linear,
    /// Each tenfold has the same length; for values that lie far apart. The shortest bar is a tenth of the smallest value.
    Logarithmic,
}

/// One value.
#[derive(Debug, Clone)]
pub(crate) struct Bar {
    pub(crate) label: String,
    pub(crate) value: f64,
    pub(crate) range: [f64; 2],
    /// The value in words.
    pub(crate) shown: String,
    pub(crate) is_ours: bool,
}

/// Bars under one heading.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    pub(crate) heading: String,
    pub(crate) bars: Vec<Bar>,
}

/// The plot.
pub(crate) fn svg(title: &str, scale: Scale, groups: &[Group]) -> String {
    let height = HEADING + groups.iter().map(|group| GROUP_HEADING + ROW * group.bars.len() as f64).sum::<f64>() + 12.0;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"system-ui, sans-serif\" font-size=\"12\" fill=\"{INK}\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"12\" y=\"24\" font-size=\"15\" font-weight=\"600\">{}</text>\n",
        escaped(title)
    );
    let length = lengths(scale, groups);
    let mut y = HEADING;
    for group in groups {
        line(
            &mut text,
            &format!("<text x=\"12\" y=\"{}\" font-weight=\"600\">{}</text>", y + 17.0, escaped(&group.heading)),
        );
        y += GROUP_HEADING;
        for bar in &group.bars {
            draw(&mut text, bar, y, &length);
            y += ROW;
        }
    }
    text.push_str("</svg>\n");
    text
}

fn draw(text: &mut String, bar: &Bar, y: f64, length: &impl Fn(f64) -> f64) {
    let (end, from, to) = (length(bar.value), length(bar.range[0]), length(bar.range[1]));
    let color = if bar.is_ours { OURS } else { OTHERS };
    let weight = if bar.is_ours { " font-weight=\"600\"" } else { "" };
    let (base, middle) = (y + BAR - 2.0, y + BAR / 2.0);
    line(
        text,
        &format!("<text x=\"{}\" y=\"{base}\" text-anchor=\"end\"{weight}>{}</text>", LEFT - 8.0, escaped(&bar.label)),
    );
    line(text, &format!("<rect x=\"{LEFT}\" y=\"{y}\" width=\"{end:.1}\" height=\"{BAR}\" fill=\"{color}\"/>"));
    let (from, to, top) = (LEFT + from, LEFT + to, middle - 3.0);
    line(
        text,
        &format!(
            "<path d=\"M{from:.1} {middle}H{to:.1}M{from:.1} {top}v6M{to:.1} {top}v6\" stroke=\"{INK}\" fill=\"none\"/>"
        ),
    );
    let after = (LEFT + end).max(to) + 6.0;
    line(text, &format!("<text x=\"{after:.1}\" y=\"{base}\"{weight}>{}</text>", escaped(&bar.shown)));
}

/// The length of a value, so that the longest fills the room.
fn lengths(scale: Scale, groups: &[Group]) -> impl Fn(f64) -> f64 {
    let values = || groups.iter().flat_map(|group| &group.bars).flat_map(|bar| [bar.value, bar.range[0], bar.range[1]]);
    let most = values().fold(f64::MIN_POSITIVE, f64::max);
    let least = values().filter(|value| *value > 0.0).fold(most, f64::min) / 10.0;
    move |value| {
        let part = match scale {
            Scale::Linear => value / most,
            Scale::Logarithmic => (value.max(least) / least).log10() / (most / least).log10(),
        };
        LENGTH * part.clamp(0.0, 1.0)
    }
}

fn line(text: &mut String, element: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{element}");
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(label: &str, value: f64) -> Bar {
        Bar {
            label: label.to_owned(),
            value,
            range: [value, value],
            shown: format!("{value}"),
            is_ours: label == "ours",
        }
    }

    fn groups(values: &[(&str, f64)]) -> Vec<Group> {
        let bars = values.iter().map(|(label, value)| bar(label, *value)).collect();
        vec![Group { heading: "C < 64 & more".to_owned(), bars }]
    }

    #[test]
    fn every_bar_is_drawn_and_marked_up_text_is_escaped() {
        let text = svg("noop", Scale::Linear, &groups(&[("ours", 2.0), ("raw", 1.0)]));
        assert_eq!(text.matches("<rect x=").count(), 2);
        assert!(text.contains("C &lt; 64 &amp; more") && text.contains(OURS) && text.ends_with("</svg>\n"), "{text}");
    }

    #[test]
    fn linear_lengths_are_in_proportion() {
        let groups = groups(&[("ours", 200.0), ("raw", 50.0)]);
        let length = lengths(Scale::Linear, &groups);
        assert_eq!((length(200.0), length(50.0), length(0.0)), (LENGTH, LENGTH / 4.0, 0.0));
    }

    #[test]
    fn logarithmic_lengths_are_even_steps() {
        let groups = groups(&[("ours", 1.0), ("raw", 1_000.0)]);
        let length = lengths(Scale::Logarithmic, &groups);
        let steps = [length(1.0), length(10.0) - length(1.0), length(1_000.0) - length(100.0)];
        assert!(steps.iter().all(|step| (step - LENGTH / 4.0).abs() < 1e-6), "{steps:?}");
        assert_eq!(length(0.0), 0.0);
    }

    #[test]
    fn nothing_measured_is_no_failure() {
        assert!(svg("noop", Scale::Logarithmic, &[]).contains("noop"));
    }
}
