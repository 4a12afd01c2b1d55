//! What the product promises, beside the figures: the bound of each case that has one, and the table for `docs/benchmarks.md`.

use super::Row;

/// A bound.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    /// At most this, in the row's unit.
    AtMost(f64),
    /// Less than this, in the row's unit.
    Below(f64),
    /// At least this, in the row's unit.
    AtLeast(f64),
    /// At least this part of the floor.
    OfFloor(f64),
    /// At most so many times the floor.
    TimesFloor(f64),
}

/// The bound of a row, where there is one.
pub fn of(row: &Row) -> Option<Target> {
    if row.bench == "converge" {
        return of_converge(row);
    }
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

/// What is promised of us alone: a peer's own row has no bound.
fn of_converge(row: &Row) -> Option<Target> {
    let target = match (row.case.as_str(), row.n, row.peer) {
        ("no-change", 1_000 | 10_000, None) => Target::TimesFloor(3.0),
        ("first-converge", 1_000 | 10_000, None) => Target::TimesFloor(1.5),
        ("growth-from-1000", 10_000, None) => Target::AtMost(11.0),
        ("peak", 10_000, None) => Target::AtMost(32.0),
        ("signatures", 10_000, None) => Target::AtMost(2.0),
        ("faster", 1_000, Some(_)) => Target::AtLeast(20.0),
        ("faster", 10_000, Some(_)) => Target::AtLeast(50.0),
        ("mixed-faster", _, Some(_)) => Target::AtLeast(10.0),
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
            Self::AtLeast(bound) => row.value >= bound,
            Self::TimesFloor(bound) => row.ratio.is_some_and(|ratio| ratio <= bound),
            Self::OfFloor(part) => row.ratio.is_some_and(|ratio| ratio >= part),
        }
    }
}

/// Head of the table.
pub const HEAD: &str = "| bench | case | n | figure | floor | ratio | target | kept |\n| --- | --- | ---: | ---: | ---: | ---: | --- | --- |";

/// A row as a line of the table.
pub fn line(row: &Row) -> String {
    if let Some(why) = &row.not_run {
        let peer = row.peer.unwrap_or_default();
        return format!(
            "| {} | {} ({peer}) | {} | NOT_RUN: {why} |  |  |  |  |",
            row.bench, row.case, row.n
        );
    }
    let target = of(row);
    let told = target.map_or_else(String::new, |target| match target {
        Target::AtMost(bound) => format!("≤ {bound} {}", row.unit),
        Target::Below(bound) => format!("< {bound} {}", row.unit),
        Target::AtLeast(bound) => format!("≥ {bound} {}", row.unit),
        Target::TimesFloor(bound) => format!("≤ {bound} × the floor"),
        Target::OfFloor(part) => format!("≥ {part} of the floor"),
    });
    let kept = target.map_or("", |target| if target.is_kept_by(row) { "yes" } else { "**no**" });
    let floor = row
        .floor
        .map_or_else(String::new, |floor| format!("{} {}", number(floor), row.unit));
    let ratio = row.ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}"));
    // Elsewhere a peer is whose figure the floor is; here it has rows of its own.
    let whose = row.peer.filter(|_| row.bench == "converge");
    let whose = whose.map_or_else(String::new, |peer| format!(" ({peer})"));
    format!(
        "| {} | {}{whose} | {} | {} {} | {floor} | {ratio} | {told} | {kept} |",
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
        let slow = Row::new("converge", "no-change", 1_000, 40.0, "ms").against(10.0);
        assert!(line(&slow).ends_with("| 40.0 ms | 10.0 ms | 4.00 | ≤ 3 × the floor | **no** |"));
        let peer = Row::new("converge", "no-change", 1_000, 20.0, "ms").over(10.0, "Other");
        assert!(line(&peer).contains("| no-change (Other) | 1000 | 20.0 ms |"));
        assert_eq!(of(&peer), None, "nothing is promised of others");
        let absent = Row::not_run("converge", "faster", 1_000, "Other", "it is not installed");
        assert!(line(&absent).contains("NOT_RUN: it is not installed") && !line(&absent).contains("yes"));
        assert!(!Target::Below(50.0).is_kept_by(&Row::new("footprint", "start", 1, 50.0, "ms")));
    }
}
