//! Owns the pictures: bars and lines as plain SVG, without a library.

use std::fmt::Write as _;

use crate::samples::short;

const WIDTH: f64 = 720.0;
const LABELS: f64 = 190.0;
const BAR: f64 = 18.0;
const HEIGHT: f64 = 320.0;
const MARGIN: f64 = 60.0;
const COLOURS: [&str; 6] = [
    "#2563eb", "#dc2626", "#16a34a", "#9333ea", "#ea580c", "#0891b2",
];

/// A picture.
#[derive(Debug)]
pub(crate) enum Plot {
    /// A bar for each name.
    Bars {
        title: String,
        unit: &'static str,
        bars: Vec<(String, f64)>,
    },
    /// A line for each name through points (x, y); x is drawn by its logarithm.
    Lines {
        title: String,
        x: &'static str,
        lines: Vec<(String, Vec<(f64, f64)>)>,
    },
}

impl Plot {
    pub(crate) fn title(&self) -> &str {
        match self {
            Self::Bars { title, .. } | Self::Lines { title, .. } => title,
        }
    }

    pub(crate) fn svg(&self) -> String {
        match self {
            Self::Bars { title, unit, bars } => draw_bars(title, unit, bars),
            Self::Lines { title, x, lines } => draw_lines(title, x, lines),
        }
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

fn open(height: f64, title: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"white\"/>\n<text x=\"10\" y=\"20\" font-size=\"14\">{}</text>\n",
        escape(title)
    )
}

fn draw_bars(title: &str, unit: &str, bars: &[(String, f64)]) -> String {
    let most = bars
        .iter()
        .map(|(_, value)| *value)
        .fold(f64::MIN_POSITIVE, f64::max);
    let mut y = 34.0;
    let mut svg = open(
        y + (BAR + 6.0) * f64::from(u32::try_from(bars.len()).unwrap()) + 6.0,
        title,
    );
    for (name, value) in bars {
        let width = (WIDTH - LABELS - 110.0) * value / most;
        let _ = write!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>\n\
             <rect x=\"{LABELS}\" y=\"{y}\" width=\"{width:.1}\" height=\"{BAR}\" fill=\"{}\"/>\n\
             <text x=\"{:.1}\" y=\"{}\">{} {unit}</text>\n",
            LABELS - 8.0,
            y + 13.0,
            escape(name),
            COLOURS[0],
            LABELS + width + 6.0,
            y + 13.0,
            short(*value),
        );
        y += BAR + 6.0;
    }
    svg + "</svg>\n"
}

fn draw_lines(title: &str, x_name: &str, lines: &[(String, Vec<(f64, f64)>)]) -> String {
    let points = || lines.iter().flat_map(|(_, points)| points);
    let most = points().map(|(_, y)| *y).fold(f64::MIN_POSITIVE, f64::max);
    let first = points().map(|(x, _)| *x).fold(f64::MAX, f64::min);
    let last = points().map(|(x, _)| *x).fold(f64::MIN_POSITIVE, f64::max);
    let span = (last / first).ln().max(f64::MIN_POSITIVE);
    let at = |x: f64, y: f64| {
        (
            MARGIN + (WIDTH - 2.0 * MARGIN - 140.0) * (x / first).ln() / span,
            HEIGHT - 40.0 - (HEIGHT - 80.0) * y / most,
        )
    };
    let mut svg = open(HEIGHT, title);
    let mut marks: Vec<f64> = points().map(|(x, _)| *x).collect();
    marks.sort_unstable_by(f64::total_cmp);
    marks.dedup();
    for x in marks {
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            at(x, 0.0).0,
            HEIGHT - 22.0,
            short(x)
        );
    }
    for y in [0.0, most / 2.0, most] {
        let (left, height) = at(first, y);
        let _ = write!(
            svg,
            "<line x1=\"{left}\" x2=\"{}\" y1=\"{height:.1}\" y2=\"{height:.1}\" stroke=\"#ddd\"/>\n\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\n",
            at(last, y).0,
            left - 6.0,
            height + 4.0,
            short(y)
        );
    }
    for (number, (name, points)) in lines.iter().enumerate() {
        let colour = COLOURS[number % COLOURS.len()];
        let path: String = points.iter().fold(String::new(), |mut text, (x, y)| {
            let (x, y) = at(*x, *y);
            let _ = write!(text, "{x:.1},{y:.1} ");
            text
        });
        let _ = write!(
            svg,
            "<polyline points=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\n\
             <text x=\"{}\" y=\"{}\" fill=\"{colour}\">{}</text>\n",
            WIDTH - MARGIN - 130.0,
            40 + 18 * number,
            escape(name)
        );
    }
    let _ = writeln!(
        svg,
        "<text x=\"{}\" y=\"{}\">{}</text>",
        WIDTH / 2.0 - 60.0,
        HEIGHT - 6.0,
        escape(x_name)
    );
    svg + "</svg>\n"
}
