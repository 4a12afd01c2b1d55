//! What holds for the whole config: version, project, targets, budget, rollout, limits.

use writ_protocol::exec::{Limits, RunMode};
use writ_protocol::limits::{LABELS_MAX, OUTPUT_BYTES_MAX};

use super::{Budget, check};
use crate::config::quantity::{self, Refused};
use crate::config::{CONFIG_VERSION, Config, LimitSet};
use crate::diagnostic::{Mark, Problem, Sink, code};
use crate::rollout::{Rollout, Share};
use crate::selector::Selector;
use crate::yaml::read::{Text, Whole};

/// Most hosts named by one config.
const HOSTS_MAX: usize = 10_000;

const DAY_MS: u64 = 86_400_000;
const MIB: u64 = 1 << 20;
const TIB: u64 = 1 << 40;
/// Most processes of one step: what a pid namespace holds by default.
const PROCESSES_MAX: u64 = 32_768;
/// Fewest open files with which a program starts at all.
const OPEN_FILES_MIN: u64 = 8;
/// Most open files: the kernel's own bound for one process.
const OPEN_FILES_MAX: u64 = 1 << 20;

pub(super) fn check_version(config: &Config, sink: &mut Sink<'_>) {
    if let Some(version) = config.version.filter(|version| version.value != CONFIG_VERSION) {
        let message = format!(
            "config version {} is not supported; this Writ reads version {CONFIG_VERSION}",
            version.value
        );
        sink.push(
            Problem::new(code::VERSION, version.mark, message)
                .hint("write `version: 1`, or use the Writ that the config was written for"),
        );
    }
}

pub(super) fn project(config: &Config, sink: &mut Sink<'_>) -> Option<String> {
    let project = config.project.as_ref()?;
    check::name(&project.value, project.mark, "project", sink)
}

pub(super) fn targets(config: &Config, at: Mark, sink: &mut Sink<'_>) -> Option<Selector> {
    let targets = config.targets.as_ref()?;
    let mut selector = Selector::default();
    for (key, value) in targets.labels.iter().flat_map(|labels| &labels.0) {
        let label = check::name(&key.text, key.mark, "label", sink);
        let value = check::name(&value.value, value.mark, "value of a label", sink);
        if let (Some(label), Some(value)) = (label, value) {
            selector.labels.insert(label, value);
        }
    }
    for host in targets.hosts.iter().flatten() {
        selector
            .hosts
            .extend(check::name(&host.value, host.mark, "host", sink));
    }
    selector.hosts.sort();
    selector.hosts.dedup();
    let labels = targets.labels.as_ref().map_or(0, |labels| labels.0.len());
    let hosts = targets.hosts.as_ref().map_or(0, Vec::len);
    if labels == 0 && hosts == 0 && targets.whole() {
        let hint = "name labels (`labels: { role: web }`) or hosts (`hosts: [web-1]`)";
        sink.push(Problem::new(code::TARGETS, at, "`targets` selects no host").hint(hint));
    }
    if labels > LABELS_MAX || hosts > HOSTS_MAX {
        let message = format!("`targets` takes at most {LABELS_MAX} labels and {HOSTS_MAX} hosts");
        sink.push(Problem::new(code::TOO_MANY, at, message));
    }
    Some(selector)
}

pub(super) fn budget(config: &Config, sink: &mut Sink<'_>) -> Option<Budget> {
    let budget = config.budget.as_ref()?;
    let currency = &budget.currency;
    let known = currency.value.len() == 3 && currency.value.bytes().all(|b| b.is_ascii_uppercase());
    if !known {
        let message = format!(
            "currency {:?} is not a currency code",
            check::short(&currency.value)
        );
        sink.push(
            Problem::new(code::MONEY, currency.mark, message)
                .hint("write three capital letters, such as `USD`"),
        );
    }
    match quantity::money_micros(&budget.amount.value) {
        Ok(amount_micros) => Some(Budget {
            amount_micros,
            currency: currency.value.clone(),
        })
        .filter(|_| known),
        Err(refused) => {
            sink.push(Problem::new(code::MONEY, budget.amount.mark, refused.message).hint(refused.hint));
            None
        }
    }
}

pub(super) fn rollout(config: &Config, at: Mark, sink: &mut Sink<'_>) -> Option<Rollout> {
    let said = config.rollout.as_ref()?;
    let before = sink.count();
    let mut share = |text: &Text| match text.value.parse::<Share>() {
        Ok(share) => Some(share),
        Err(bad) => {
            let message = format!("{:?} is no number of hosts", check::short(&bad.text));
            sink.push(
                Problem::new(code::ROLLOUT, text.mark, message)
                    .hint("write a whole number such as `10`, or a part of the targets such as `\"20%\"`"),
            );
            None
        }
    };
    let rollout = Rollout {
        concurrency: said.concurrency.as_ref().and_then(&mut share),
        error_threshold: said.error_threshold.as_ref().and_then(&mut share),
        waves: said.waves.iter().flatten().filter_map(&mut share).collect(),
    };
    if sink.count() != before {
        return None;
    }
    if let Some(problem) = rollout.problem() {
        sink.push(Problem::new(code::ROLLOUT, at, problem).hint(
            "for example `rollout: { concurrency: 10, error_threshold: \"5%\", waves: [1, \"10%\"] }`",
        ));
        return None;
    }
    Some(rollout)
}

/// How a run is carried out: as the command line says, else as the config does. A word that is no mode counts as none; [`check_mode`] tells it.
pub(super) fn mode_of(config: &Config, given: Option<RunMode>) -> RunMode {
    let written = config.runtime.as_ref().and_then(|runtime| runtime.mode.as_ref());
    given.or_else(|| RunMode::of(&written?.value)).unwrap_or_default()
}

pub(super) fn check_mode(config: &Config, sink: &mut Sink<'_>) {
    let written = config.runtime.as_ref().and_then(|runtime| runtime.mode.as_ref());
    if let Some(text) = written.filter(|text| RunMode::of(&text.value).is_none()) {
        let message = format!("{:?} is no mode of a run", check::short(&text.value));
        let known = [RunMode::Strict, RunMode::DevFast].map(RunMode::name);
        sink.push(
            Problem::new(code::CHOICE, text.mark, message)
                .meant(&text.value, known)
                .hint("write `strict` or `dev-fast`"),
        );
    }
}

/// The limits of a set, each that it does not name taken from `base`.
pub(super) fn limits(set: Option<&LimitSet>, base: Limits, sink: &mut Sink<'_>) -> Limits {
    let mut limits = base;
    let Some(set) = set else { return limits };
    let duration = Reader {
        parse: quantity::duration_ms,
        low: 1,
        high: 7 * DAY_MS,
    };
    let memory = Reader {
        parse: quantity::size_bytes,
        low: MIB,
        high: TIB,
    };
    let file_size = Reader { low: 0, ..memory };
    let output = Reader {
        low: 0,
        high: u64::try_from(OUTPUT_BYTES_MAX).unwrap_or(u64::MAX),
        ..memory
    };
    let processes = Reader {
        parse: quantity::count,
        low: 1,
        high: PROCESSES_MAX,
    };
    let open_files = Reader {
        parse: quantity::count,
        low: OPEN_FILES_MIN,
        high: OPEN_FILES_MAX,
    };
    duration.read("cpu", set.cpu.as_ref(), &mut limits.cpu_ms, sink);
    memory.read("memory", set.memory.as_ref(), &mut limits.memory_bytes, sink);
    duration.read("wall", set.wall.as_ref(), &mut limits.wall_ms, sink);
    processes.read("processes", set.processes.as_ref(), &mut limits.processes, sink);
    open_files.read(
        "open_files",
        set.open_files.as_ref(),
        &mut limits.open_files,
        sink,
    );
    file_size.read("file_size", set.file_size.as_ref(), &mut limits.file_bytes, sink);
    output.read("output", set.output.as_ref(), &mut limits.output_bytes, sink);
    limits
}

/// How one kind of limit is read, and its range, both ends included.
#[derive(Clone, Copy)]
struct Reader {
    parse: fn(&str) -> Result<u64, Refused>,
    low: u64,
    high: u64,
}

impl Reader {
    fn read(self, name: &str, text: Option<&Text>, into: &mut u64, sink: &mut Sink<'_>) {
        let Some(text) = text else { return };
        match (self.parse)(&text.value) {
            Err(refused) => {
                let message = format!("`{name}`: {}", refused.message);
                sink.push(Problem::new(code::QUANTITY, text.mark, message).hint(refused.hint));
            }
            Ok(value) if value < self.low || value > self.high => {
                let message = format!("`{name}` {:?} is out of range", check::short(&text.value));
                let hint = range_words(name, (self.low, self.high));
                sink.push(Problem::new(code::QUANTITY, text.mark, message).hint(hint));
            }
            Ok(value) => *into = value,
        }
    }
}

fn range_words(name: &str, (low, high): (u64, u64)) -> String {
    let unit: fn(u64) -> String = match name {
        "cpu" | "wall" => |ms| {
            if ms % 3_600_000 == 0 {
                format!("{}h", ms / 3_600_000)
            } else {
                format!("{ms}ms")
            }
        },
        "processes" | "open_files" => |count| count.to_string(),
        _ => |bytes| match bytes {
            TIB => "1TiB".to_owned(),
            MIB => "1MiB".to_owned(),
            _ => format!("{}KiB", bytes >> 10),
        },
    };
    format!("`{name}` goes from {} to {}", unit(low), unit(high))
}
