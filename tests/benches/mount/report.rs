//! The rows of a report, as a table for people and as a list for programs.

use std::fmt::Write as _;

use serde::Serialize;

use crate::places::Place;

/// Which way is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    More,
    Less,
}

/// What a row is held against, and the ratio that it is to reach.
#[derive(Clone, Copy, Debug)]
pub enum Goal {
    /// Of the empty file system on FUSE.
    Empty(f64),
    /// Of the plain directory.
    Plain(f64),
    /// Of the best other system, which does so many.
    Peer(f64, f64),
}

/// One number of each file system.
pub struct Row {
    pub name: &'static str,
    pub unit: &'static str,
    pub better: Better,
    /// Per round: bucket, empty, plain.
    pub rounds: Vec<[f64; 3]>,
    pub goals: &'static [Goal],
}

#[derive(Serialize)]
struct Item {
    name: &'static str,
    against: &'static str,
    value: f64,
    unit: &'static str,
    baseline: f64,
    ratio: f64,
    target: Option<f64>,
    met: Option<bool>,
}

fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        count => f64::midpoint(values[(count - 1) / 2], values[count / 2]),
    }
}

impl Row {
    fn value(&self, place: Place) -> f64 {
        middle(self.rounds.iter().map(|round| round[place as usize]).collect())
    }

    /// The middle of the ratios of the rounds: what slows a round down falls on both sides.
    fn ratio(&self, to: Place) -> f64 {
        middle(self.rounds.iter().map(|round| round[Place::Bucket as usize] / round[to as usize]).collect())
    }

    fn is_met(&self, ratio: f64, target: f64) -> bool {
        match self.better {
            Better::More => ratio >= target,
            Better::Less => ratio <= target,
        }
    }

    fn items(&self) -> Vec<Item> {
        let value = self.value(Place::Bucket);
        let item = |against, baseline, ratio, target: Option<f64>| Item {
            name: self.name,
            against,
            value,
            unit: self.unit,
            baseline,
            ratio,
            target,
            met: target.map(|target| self.is_met(ratio, target)),
        };
        let target = |wanted: fn(&Goal) -> Option<f64>| self.goals.iter().find_map(wanted);
        let plain = target(|goal| if let Goal::Plain(ratio) = goal { Some(*ratio) } else { None });
        let empty = target(|goal| if let Goal::Empty(ratio) = goal { Some(*ratio) } else { None });
        let mut items = vec![
            item("plain", self.value(Place::Plain), self.ratio(Place::Plain), plain),
            item("empty fuse", self.value(Place::Empty), self.ratio(Place::Empty), empty),
        ];
        for goal in self.goals {
            if let Goal::Peer(best, ratio) = goal {
                items.push(item("best peer", *best, value / best, Some(*ratio)));
            }
        }
        items
    }
}

/// A list of every ratio.
pub fn json(rows: &[Row]) -> anyhow::Result<String> {
    let items: Vec<Item> = rows.iter().flat_map(Row::items).collect();
    Ok(serde_json::to_string_pretty(&items)?)
}

/// One line per row, at most 80 columns.
pub fn table(rows: &[Row]) -> String {
    let mut text =
        format!("{:<27}{:>9}{:>9}{:>9}{:>8}{:>8}{:>8}\n", "", "bucket", "empty", "plain", "/empty", "/plain", "/peer");
    for row in rows {
        let items = row.items();
        let name = format!("{}, {}", row.name, row.unit);
        let peer = items.get(2).map_or(String::new(), ratio);
        writeln!(
            text,
            "{name:<27}{:>9}{:>9}{:>9}{:>8}{:>8}{peer:>8}",
            number(items[0].value),
            number(items[1].baseline),
            number(items[0].baseline),
            ratio(&items[1]),
            ratio(&items[0]),
        )
        .expect("a String takes everything");
    }
    let missed: Vec<_> = rows.iter().flat_map(Row::items).filter(|item| item.met == Some(false)).collect();
    let goals = rows.iter().flat_map(Row::items).filter(|item| item.met.is_some()).count();
    write!(text, "\n{} of {goals} targets met", goals - missed.len()).expect("a String takes everything");
    for item in missed {
        let target = item.target.unwrap_or_default();
        write!(text, "\nmissed: {}: {:.2} of {}, target {target:.2}", item.name, item.ratio, item.against)
            .expect("a String takes everything");
    }
    text
}

/// Three digits that matter; a star when its target is missed.
fn ratio(item: &Item) -> String {
    let star = if item.met == Some(false) { "*" } else { "" };
    format!("{}{star}", number(item.ratio))
}

fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}
