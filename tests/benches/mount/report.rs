//! The rows of a report, as a table for people and as a list for programs.

use std::fmt::Write as _;

use serde::Serialize;

use crate::{
    places::Place,
    targets::{self, Goal},
};

/// Which way is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    More,
    Less,
}

/// What a row measures.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    pub name: &'static str,
    pub unit: &'static str,
    pub better: Better,
}

/// A row that is better when it is more.
pub const fn more(name: &'static str, unit: &'static str) -> Kind {
    Kind { name, unit, better: Better::More }
}

/// A row that is better when it is less.
pub const fn less(name: &'static str, unit: &'static str) -> Kind {
    Kind { name, unit, better: Better::Less }
}

/// One number of each file system.
pub struct Row {
    pub kind: Kind,
    /// Per round: bucket, empty, plain; what is not measured is not a number.
    pub rounds: Vec<[f64; 3]>,
    /// What a reader has to know about this run.
    pub note: Option<String>,
}

#[derive(Serialize)]
struct Item {
    name: &'static str,
    value: f64,
    unit: &'static str,
    against: &'static str,
    baseline: Option<f64>,
    ratio: Option<f64>,
    target: Option<f64>,
    met: Option<bool>,
    /// What holds it back, when it misses its target.
    #[serde(skip_serializing_if = "Option::is_none")]
    held_by: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        count => f64::midpoint(values[(count - 1) / 2], values[count / 2]),
    }
}

impl Row {
    /// A row without a number yet.
    pub fn new(kind: Kind) -> Self {
        Self { kind, rounds: Vec::new(), note: None }
    }

    /// A row of the bucket alone.
    pub fn alone(kind: Kind, value: f64) -> Self {
        Self { rounds: vec![[value, f64::NAN, f64::NAN]], ..Self::new(kind) }
    }

    fn value(&self, place: Place) -> f64 {
        middle(self.rounds.iter().map(|round| round[place as usize]).collect())
    }

    /// The middle of the ratios of the rounds: what slows a round down falls on both sides.
    fn ratio(&self, to: Place) -> f64 {
        middle(self.rounds.iter().map(|round| round[Place::Bucket as usize] / round[to as usize]).collect())
    }

    fn is_met(&self, ratio: f64, target: f64) -> bool {
        match self.kind.better {
            Better::More => ratio >= target,
            Better::Less => ratio <= target,
        }
    }

    /// One for each goal, and one for the plain directory in any case.
    fn items(&self, rows: &[Row]) -> Vec<Item> {
        let value = self.value(Place::Bucket);
        let item = |against, baseline: f64, ratio: f64, target: Option<f64>| {
            let met = target.map(|target| self.is_met(ratio, target));
            Item {
                name: self.kind.name,
                value,
                unit: self.kind.unit,
                against,
                baseline: baseline.is_finite().then_some(baseline),
                ratio: ratio.is_finite().then_some(ratio),
                target,
                met,
                held_by: (met == Some(false)).then(|| targets::held_by(self.kind.name)).flatten(),
                note: self.note.clone(),
            }
        };
        let of = |place: Place, against, target| item(against, self.value(place), self.ratio(place), target);
        let mut items = Vec::new();
        for goal in targets::of(self.kind.name) {
            items.push(match *goal {
                Goal::Plain(ratio) => of(Place::Plain, "plain", Some(ratio)),
                Goal::Empty(ratio) => of(Place::Empty, "empty", Some(ratio)),
                Goal::Peer(best, ratio) => item("peer", best, value / best, Some(ratio)),
                Goal::Fixed(amount) => item("fixed", amount, value / amount, Some(1.0)),
                Goal::FixedOrShare(amount, other, share) => {
                    let other = rows.iter().find(|row| row.kind.name == other);
                    let least = other.map_or(amount, |row| amount.min(share * row.value(Place::Bucket)));
                    item("fixed", least, value / least, Some(1.0))
                }
            });
        }
        for (place, against) in [(Place::Plain, "plain"), (Place::Empty, "empty")] {
            if !self.value(place).is_nan() && !items.iter().any(|item| item.against == against) {
                items.push(of(place, against, None));
            }
        }
        if items.is_empty() {
            items.push(item("-", f64::NAN, f64::NAN, None));
        }
        items
    }
}

fn items(rows: &[Row]) -> impl Iterator<Item = Item> {
    rows.iter().flat_map(|row| row.items(rows))
}

/// A list of every ratio.
pub fn json(rows: &[Row]) -> anyhow::Result<String> {
    Ok(serde_json::to_string_pretty(&items(rows).collect::<Vec<_>>())?)
}

/// One line per ratio, at most 80 columns.
pub fn table(rows: &[Row]) -> String {
    let mut text =
        format!("{:<30}{:>9}  {:<6}{:>9}{:>8}{:>8}  {}\n", "", "bucket", "to", "", "ratio", "target", "result");
    for row in rows {
        for (index, item) in row.items(rows).into_iter().enumerate() {
            let (name, value) = match index {
                0 => ([item.name, item.unit].join(", "), number(Some(item.value))),
                _ => (String::new(), String::new()),
            };
            let result = match item.met {
                None => "",
                Some(true) => "met",
                Some(false) => "MISSED",
            };
            let (baseline, ratio, target) = (number(item.baseline), number(item.ratio), number(item.target));
            let line = format!("{name:<30}{value:>9}  {:<6}{baseline:>9}{ratio:>8}{target:>8}  {result}", item.against);
            text.push_str(line.trim_end());
            text.push('\n');
        }
    }
    text.push_str(&summary(rows));
    text
}

/// How many targets are met, and which are not.
fn summary(rows: &[Row]) -> String {
    let (met, missed): (Vec<_>, Vec<_>) =
        items(rows).filter(|item| item.met.is_some()).partition(|item| item.met == Some(true));
    let mut text = format!("\n{} of {} targets met", met.len(), met.len() + missed.len());
    for item in missed {
        let (ratio, target) = (number(item.ratio), number(item.target));
        write!(text, "\nmissed: {}: {ratio} of {}, target {target}", item.name, item.against)
            .expect("a String takes everything");
        if let Some(why) = item.held_by {
            write!(text, "\n    held by {}", wrapped(why)).expect("a String takes everything");
        }
    }
    for row in rows {
        if let Some(note) = &row.note {
            write!(text, "\n{}: {note}", row.kind.name).expect("a String takes everything");
        }
    }
    text
}

/// A sentence in lines of at most 80 columns, the second and later ones indented.
fn wrapped(sentence: &str) -> String {
    let (mut text, mut column) = (String::new(), "    held by ".len());
    for word in sentence.split(' ') {
        if column + word.len() > 78 {
            text.push_str("\n   ");
            column = 3;
        }
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(word);
        column += word.len() + 1;
    }
    text
}

/// Three digits that matter.
fn number(value: Option<f64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(value) => match value.abs() {
            size if size >= 100.0 => format!("{value:.0}"),
            size if size >= 10.0 => format!("{value:.1}"),
            size if size >= 1.0 => format!("{value:.2}"),
            _ => format!("{value:.3}"),
        },
    }
}
