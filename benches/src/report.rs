//! Owns the report: ratios against targets first, then a section for each subject with its tables
//! and plots.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use crate::plot::Plot;
use crate::samples::short;

/// What a figure should be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target {
    AtMost(f64),
    AtLeast(f64),
}

#[derive(Debug)]
struct Verdict {
    what: String,
    measured: f64,
    target: Target,
    unit: &'static str,
}

impl Verdict {
    fn is_met(&self) -> bool {
        match self.target {
            Target::AtMost(most) => self.measured <= most,
            Target::AtLeast(least) => self.measured >= least,
        }
    }

    fn row(&self) -> [String; 4] {
        let target = match self.target {
            Target::AtMost(most) => format!("≤ {}", short(most)),
            Target::AtLeast(least) => format!("≥ {}", short(least)),
        };
        [
            self.what.clone(),
            format!("{} {}", short(self.measured), self.unit),
            format!("{target} {}", self.unit),
            if self.is_met() { "met" } else { "**missed**" }.to_owned(),
        ]
    }
}

/// Collects what the subjects found.
#[derive(Debug, Default)]
pub(crate) struct Report {
    verdicts: Vec<Verdict>,
    body: String,
    plots: Vec<(String, String)>,
}

impl Report {
    /// A figure with a target.
    pub(crate) fn verdict(
        &mut self,
        what: impl Into<String>,
        measured: f64,
        target: Target,
        unit: &'static str,
    ) {
        let verdict = Verdict {
            what: what.into(),
            measured,
            target,
            unit,
        };
        println!("  {}", verdict.row().join(" · "));
        self.verdicts.push(verdict);
    }

    pub(crate) fn section(&mut self, title: &str) {
        println!("\n{title}");
        let _ = write!(self.body, "\n## {title}\n");
    }

    pub(crate) fn text(&mut self, text: &str) {
        let _ = write!(self.body, "\n{text}\n");
    }

    pub(crate) fn table(&mut self, head: &[&str], rows: &[Vec<String>]) {
        let table = table(head, rows);
        for line in table.lines() {
            println!("  {line}");
        }
        let _ = write!(self.body, "\n{table}");
    }

    /// A picture, beside the report only: the excerpt has tables.
    pub(crate) fn plot(&mut self, name: &str, plot: &Plot) {
        let file = format!("{name}.svg");
        let _ = write!(self.body, "\n![{}]({file})\n", plot.title());
        self.plots.push((file, plot.svg()));
    }

    /// Writes `report.md` with its plots, and `performance.md`, the excerpt without them.
    pub(crate) fn write(&self, folder: &Path, preface: &str, afterword: &str) -> PathBuf {
        fs::create_dir_all(folder).unwrap();
        for (name, svg) in &self.plots {
            fs::write(folder.join(name), svg).unwrap();
        }
        let ratios = self.ratios();
        let text = format!("{preface}\n## Ratios\n\n{ratios}{}{afterword}", self.body);
        let path = folder.join("report.md");
        fs::write(&path, &text).unwrap();
        let mut excerpt: String = text
            .lines()
            .filter(|line| !line.starts_with("!["))
            .fold(String::new(), |text, line| text + line + "\n");
        while excerpt.contains("\n\n\n") {
            excerpt = excerpt.replace("\n\n\n", "\n\n");
        }
        fs::write(folder.join("performance.md"), excerpt).unwrap();
        path
    }

    pub(crate) fn print_ratios(&self) {
        println!("\n{}", self.ratios());
    }

    fn ratios(&self) -> String {
        let rows: Vec<Vec<String>> = self.verdicts.iter().map(|v| v.row().to_vec()).collect();
        table(&["", "Measured", "Target", ""], &rows)
    }
}

fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "| {} |", head.join(" | "));
    let _ = writeln!(text, "|---{}|", "|---:".repeat(head.len() - 1));
    for row in rows {
        let _ = writeln!(text, "| {} |", row.join(" | "));
    }
    text
}
