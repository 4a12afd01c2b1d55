//! What the product promises, beside the figures: the bound of each case that has one, and the table for `docs/benchmarks.md`.

use super::Row;

/// A bound.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    /// At most this, in the row's unit.
    AtMost(f64),
    /// Less than this, in the row's unit.
    Below(f64),
    /// At least this part of the floor.
    OfFloor(f64),
}

/// The bound of a row, where there is one.
pub fn of(row: &Row) -> Option<Target> {
    let target = match (row.bench, row.case.as_str()) {
        ("latency", "p50") if row.n <= 100 => Target::AtMost(25.0),
        ("latency", "p99") if row.n <= 100 => Target::AtMost(250.0),
        ("swarm", "accepted") if row.n == 10_000 => Target::AtMost(5.0),
        ("swarm", "back") if row.n == 10_000 => Target::AtMost(60.0),
        ("halt", "confirmed-p99" | "soft-confirmed-p99") if row.n <= 200 => Target::AtMost(0.5),
        ("drift", "event-p50") => Target::AtMost(20.0),
        ("drift", "event-p99") => Target::AtMost(200.0),
        ("drift", "scheduled-p99" | "scheduled-max") => Target::Below(300.0),
        ("sandbox", "strict" | "strict-large") => Target::AtMost(1.2),
        ("ingest", _) => Target::OfFloor(0.5),
        ("footprint", "rss") => Target::AtMost(10.0),
        ("footprint", "cpu") => Target::Below(0.05),
        ("footprint", "start") => Target::Below(50.0),
        _ => return None,
    };
    Some(target)
}

impl Target {
    /// Whether a row keeps it.
    pub fn is_kept_by(self, row: &Row) -> bool {
        match self {
            Self::AtMost(bound) => row.value <= bound,
            Self::Below(bound) => row.value < bound,
            Self::OfFloor(part) => row.ratio.is_some_and(|ratio| ratio >= part),
        }
    }
}

/// Head of the table.
pub const HEAD: &str = "| bench | case | n | figure | floor | ratio | target | kept |\n| --- | --- | ---: | ---: | ---: | ---: | --- | --- |";

/// A row as a line of the table.
pub fn line(row: &Row) -> String {
    let target = of(row);
    let told = target.map_or_else(String::new, |target| match target {
        Target::AtMost(bound) => format!("≤ {bound} {}", row.unit),
        Target::Below(bound) => format!("< {bound} {}", row.unit),
        Target::OfFloor(part) => format!("≥ {part} of the floor"),
    });
    let kept = target.map_or("", |target| if target.is_kept_by(row) { "yes" } else { "**no**" });
    let floor = row
        .floor
        .map_or_else(String::new, |floor| format!("{} {}", number(floor), row.unit));
    let ratio = row.ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}"));
    format!(
        "| {} | {} | {} | {} {} | {floor} | {ratio} | {told} | {kept} |",
        row.bench,
        row.case,
        row.n,
        number(row.value),
        row.unit
    )
}

/// Three figures or so.
fn number(value: f64) -> String {
    let digits = match value.abs() {
        v if v >= 100.0 => 0,
        v if v >= 1.0 => 1,
        _ => 3,
    };
    format!("{value:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_stands_beside_its_target_and_says_whether_it_is_kept() {
        let fine = Row::new("latency", "p50", 100, 12.34, "ms");
        assert_eq!(
            line(&fine),
            "| latency | p50 | 100 | 12.3 ms |  |  | ≤ 25 ms | yes |"
        );
        let short = Row::new("ingest", "output", 1_000, 40.0, "rows/s").over(100.0, "bare");
        assert!(line(&short).ends_with("| 100 rows/s | 0.40 | ≥ 0.5 of the floor | **no** |"));
        let free = Row::new("latency", "p50", 1_000, 900.0, "ms");
        assert_eq!(of(&free), None, "the promise ends at a hundred agents");
        assert!(!Target::Below(50.0).is_kept_by(&Row::new("footprint", "start", 1, 50.0, "ms")));
    }
}
