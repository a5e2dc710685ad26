//! Charts as inline SVG: numbers in, text out. Colours are the page's, by class, so that light, dark and print follow it.

use std::fmt::Write as _;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 270.0;
const LEFT: f64 = 76.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 30.0;
const BOTTOM: f64 = 40.0;

/// About so many labels stand on an axis.
const TICKS: f64 = 5.0;

/// What stands around the data.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    /// What the chart shows, for those who do not see it.
    pub label: &'a str,
    /// Unit of the horizontal axis.
    pub x_unit: &'a str,
    /// Unit of the vertical axis.
    pub y_unit: &'a str,
}

/// One line of a chart.
#[derive(Debug, Clone)]
pub struct Line {
    /// CSS class that colours it.
    pub class: &'static str,
    /// Points from left to right.
    pub points: Vec<(f64, f64)>,
}

struct Scale {
    x_from: f64,
    x_to: f64,
    y_to: f64,
}

impl Scale {
    fn of(points: impl Iterator<Item = (f64, f64)>) -> Option<Self> {
        let mut scale: Option<Self> = None;
        for (x, y) in points.filter(|(x, y)| x.is_finite() && y.is_finite()) {
            let found = scale.get_or_insert(Self { x_from: x.min(0.0), x_to: x, y_to: 0.0 });
            found.x_from = found.x_from.min(x);
            found.x_to = found.x_to.max(x);
            found.y_to = found.y_to.max(y);
        }
        let mut scale = scale?;
        if scale.x_to <= scale.x_from {
            scale.x_to = scale.x_from + 1.0;
        }
        let step = step(scale.y_to.max(1.0));
        scale.y_to = (scale.y_to.max(1.0) / step).ceil() * step;
        Some(scale)
    }

    fn x(&self, x: f64) -> f64 {
        LEFT + (x - self.x_from) / (self.x_to - self.x_from) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, y: f64) -> f64 {
        HEIGHT - BOTTOM - y / self.y_to * (HEIGHT - TOP - BOTTOM)
    }
}

/// 1, 2 or 5 times a power of ten, so that about [`TICKS`] steps fit.
fn step(span: f64) -> f64 {
    let rough = span / TICKS;
    let power = 10_f64.powf(rough.log10().floor());
    [1.0, 2.0, 5.0].into_iter().map(|times| times * power).find(|step| *step >= rough).unwrap_or(10.0 * power)
}

fn number(value: f64, step: f64) -> String {
    let decimals = (-step.log10().floor()).clamp(0.0, 3.0) as usize;
    let text = format!("{value:.decimals$}");
    match text.split_once('.') {
        Some((whole, fraction)) => format!("{}.{fraction}", grouped(whole)),
        None => grouped(&text),
    }
}

/// Thousands apart by commas.
pub(crate) fn grouped(digits: &str) -> String {
    let (sign, digits) = match digits.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", digits),
    };
    let mut text = String::from(sign);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn open(frame: Frame<'_>, scale: &Scale) -> String {
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\" xmlns=\"http://www.w3.org/2000/svg\">",
        frame.label
    );
    let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
    let y_step = step(scale.y_to);
    let mut value = 0.0;
    while value <= scale.y_to + y_step / 1e3 {
        let y = scale.y(value);
        let _ =
            write!(svg, "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>");
        let text = number(value, y_step);
        let _ =
            write!(svg, "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>", LEFT - 8.0, y + 4.0);
        value += y_step;
    }
    let x_step = step(scale.x_to - scale.x_from);
    // Adding 0 turns the negative zero into the positive one.
    let mut value = (scale.x_from / x_step).ceil() * x_step + 0.0;
    while value <= scale.x_to + x_step / 1e3 {
        let text = number(value, x_step);
        let x = scale.x(value);
        let _ =
            write!(svg, "<text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{text}</text>", bottom + 18.0);
        value += x_step;
    }
    let _ = write!(
        svg,
        "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{bottom}\" y2=\"{bottom}\"/>\
         <text x=\"{right}\" y=\"{}\" text-anchor=\"end\">{}</text>\
         <text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>",
        bottom + 34.0,
        frame.x_unit,
        LEFT - 8.0,
        TOP - 16.0,
        frame.y_unit
    );
    svg
}

/// Lines over a common time; nothing where there are no points.
pub fn lines(frame: Frame<'_>, lines: &[Line]) -> String {
    let Some(scale) = Scale::of(lines.iter().flat_map(|line| line.points.iter().copied())) else {
        return String::new();
    };
    let mut svg = open(frame, &scale);
    for line in lines {
        let _ = write!(svg, "<polyline class=\"line {}\" points=\"", line.class);
        for (x, y) in line.points.iter().filter(|(x, y)| x.is_finite() && y.is_finite()) {
            let _ = write!(svg, "{:.1},{:.1} ", scale.x(*x), scale.y(*y));
        }
        svg.push_str("\"/>");
    }
    svg.push_str("</svg>");
    svg
}

/// Bars of one width, each from its x on; nothing where there are none.
pub fn bars(frame: Frame<'_>, width: f64, bars: &[(f64, f64)]) -> String {
    let ends = bars.iter().flat_map(|(x, y)| [(*x, *y), (*x + width, *y)]);
    let Some(scale) = Scale::of(ends) else { return String::new() };
    let mut svg = open(frame, &scale);
    for (x, y) in bars.iter().filter(|(x, y)| x.is_finite() && *y > 0.0 && y.is_finite()) {
        let (from, to, top) = (scale.x(*x), scale.x(*x + width), scale.y(*y));
        let _ = write!(
            svg,
            "<rect class=\"bar\" x=\"{from:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\"/>",
            (to - from - 1.0).max(0.5),
            HEIGHT - BOTTOM - top
        );
    }
    svg.push_str("</svg>");
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Frame<'static> = Frame { label: "a chart", x_unit: "s", y_unit: "messages" };

    #[test]
    fn ticks_are_round_and_few() {
        for (span, expected) in [(1.0, 0.2), (7.3, 2.0), (10_000.0, 2_000.0), (0.02, 0.005), (26.0, 10.0)] {
            assert!((step(span) - expected).abs() < expected * 1e-9, "{span}: {}", step(span));
        }
        assert_eq!(number(12_000.0, 2_000.0), "12,000");
        assert_eq!(number(0.15, 0.05), "0.15");
        assert_eq!(grouped("-1234567"), "-1,234,567");
    }

    #[test]
    fn everything_is_inside_of_the_frame() {
        let points: Vec<_> = (-2..=100).map(|x| (f64::from(x) / 10.0, f64::from(x * x))).collect();
        let svg = lines(FRAME, &[Line { class: "a", points }]);
        let points = svg.split("points=\"").nth(1).unwrap().split('"').next().unwrap();
        for point in points.split_whitespace() {
            let (x, y) = point.split_once(',').unwrap();
            let (x, y): (f64, f64) = (x.parse().unwrap(), y.parse().unwrap());
            assert!((LEFT..=WIDTH - RIGHT).contains(&x) && (TOP..=HEIGHT - BOTTOM).contains(&y), "{point}");
        }
    }

    #[test]
    fn zero_has_no_sign() {
        let points = vec![(-0.03, 0.0), (8.2, 10.0)];
        let svg = lines(FRAME, &[Line { class: "a", points }]);
        assert!(svg.contains(">0</text>") && !svg.contains(">-0</text>"), "{svg}");
    }

    #[test]
    fn no_data_no_chart_and_odd_data_no_panic() {
        assert_eq!(lines(FRAME, &[Line { class: "a", points: Vec::new() }]), "");
        assert_eq!(bars(FRAME, 1.0, &[]), "");
        let odd = vec![(f64::NAN, 1.0), (0.0, f64::INFINITY), (0.0, 0.0)];
        assert!(lines(FRAME, &[Line { class: "a", points: odd }]).ends_with("</svg>"));
    }
}
