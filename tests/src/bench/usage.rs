//! What each part of a stage costs while something happens: processor time by the kernel's own count, and the most memory seen.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;

/// Pause between two looks. A peak that is shorter may be missed.
const LOOK: Duration = Duration::from_millis(100);

/// A part to be watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its name in the figures.
    pub name: &'static str,
    /// Its process.
    pub pid: u32,
    /// Whether the processes that it has started are part of it, as a database's are.
    pub with_children: bool,
}

/// What a part has cost.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// Time on processors.
    pub cpu: Duration,
    /// Most resident memory that was seen, bytes. What its processes share counts once.
    pub peak: u64,
}

/// Watches parts until it is asked what they cost.
#[derive(Debug)]
pub struct Meter {
    sheet: Arc<Mutex<Sheet>>,
    is_over: Arc<AtomicBool>,
    watcher: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Sheet {
    watched: Vec<(Part, Span)>,
}

/// Processor time at the first and the last look, and the most memory of all.
#[derive(Clone, Copy, Debug)]
struct Span {
    first: u64,
    last: u64,
    peak: u64,
}

/// One look at a part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Seen {
    /// Clock ticks.
    cpu: u64,
    /// Bytes.
    memory: u64,
}

impl Meter {
    /// Begins to watch.
    ///
    /// # Errors
    /// When a part does not run.
    pub fn start(parts: &[Part]) -> anyhow::Result<Self> {
        let mut sheet = Sheet::default();
        for part in parts {
            let seen = look(*part).with_context(|| format!("{} does not run", part.name))?;
            let span = Span {
                first: seen.cpu,
                last: seen.cpu,
                peak: seen.memory,
            };
            sheet.watched.push((*part, span));
        }
        let (sheet, is_over) = (Arc::new(Mutex::new(sheet)), Arc::new(AtomicBool::new(false)));
        let (theirs, over) = (Arc::clone(&sheet), Arc::clone(&is_over));
        let watcher = std::thread::spawn(move || {
            while !over.load(Ordering::SeqCst) {
                lock(&theirs, Sheet::look);
                std::thread::sleep(LOOK);
            }
        });
        Ok(Self {
            sheet,
            is_over,
            watcher: Some(watcher),
        })
    }

    /// Looks once more, before a part ends: what it did since the last look would be lost with it.
    pub fn look(&self) {
        lock(&self.sheet, Sheet::look);
    }

    /// Watches a part that was started since: all that it ever cost counts.
    pub fn add(&self, part: Part) {
        let span = Span {
            first: 0,
            last: 0,
            peak: 0,
        };
        lock(&self.sheet, |sheet| sheet.watched.push((part, span)));
    }

    /// What each part has cost, by its name; one that was started again is one part.
    pub fn end(self) -> BTreeMap<&'static str, Usage> {
        self.look();
        let mut costs: BTreeMap<&'static str, Usage> = BTreeMap::new();
        let spans = lock(&self.sheet, |sheet| sheet.watched.clone());
        for (part, span) in spans {
            let cost = costs.entry(part.name).or_default();
            cost.cpu += time(span.last.saturating_sub(span.first));
            cost.peak = cost.peak.max(span.peak);
        }
        costs
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        if let Some(watcher) = self.watcher.take() {
            drop(watcher.join());
        }
    }
}

impl Sheet {
    fn look(&mut self) {
        for (part, span) in &mut self.watched {
            // One that has ended keeps what was seen of it.
            if let Some(seen) = look(*part) {
                span.last = span.last.max(seen.cpu);
                span.peak = span.peak.max(seen.memory);
            }
        }
    }
}

fn lock<T>(sheet: &Mutex<Sheet>, work: impl FnOnce(&mut Sheet) -> T) -> T {
    work(&mut sheet.lock().unwrap_or_else(PoisonError::into_inner))
}

fn look(part: Part) -> Option<Seen> {
    let root = folder(part.pid);
    let (own, children) = ticks(&root)?;
    let memory = Memory::of(&root)?;
    if !part.with_children {
        return Some(Seen {
            cpu: own,
            memory: memory.all(),
        });
    }
    let (mut cpu, mut total) = (own + children, memory);
    // A child that ends between two lines of this is counted a look later, by its parent.
    for child in children_of(&root, part.pid) {
        let child = folder(child);
        if let (Some((own, children)), Some(memory)) = (ticks(&child), Memory::of(&child)) {
            cpu += own + children;
            total = total.beside(&memory);
        }
    }
    Some(Seen {
        cpu,
        memory: total.all(),
    })
}

fn folder(pid: u32) -> PathBuf {
    Path::new("/proc").join(pid.to_string())
}

fn children_of(process: &Path, pid: u32) -> Vec<u32> {
    let path = process.join("task").join(pid.to_string()).join("children");
    let text = fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .collect()
}

/// Processor time of a process, and of those that it started and that have ended.
fn ticks(process: &Path) -> Option<(u64, u64)> {
    let text = fs::read_to_string(process.join("stat")).ok()?;
    // The name in parentheses may hold anything; what follows the last one is fixed.
    let (_, rest) = text.rsplit_once(") ")?;
    let numbers: Vec<u64> = rest
        .split(' ')
        .skip(11)
        .take(4)
        .filter_map(|field| field.parse().ok())
        .collect();
    let [user, system, theirs_user, theirs_system] = numbers.try_into().ok()?;
    Some((user + system, theirs_user + theirs_system))
}

fn time(ticks: u64) -> Duration {
    let a_second = rustix::param::clock_ticks_per_second().max(1);
    Duration::from_millis(ticks.saturating_mul(1_000) / a_second)
}

/// Resident memory, bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Memory {
    own: u64,
    files: u64,
    shared: u64,
}

impl Memory {
    fn of(process: &Path) -> Option<Self> {
        let text = fs::read_to_string(process.join("status")).ok()?;
        let line = |name: &str| {
            let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
            let kib: u64 = rest.split_whitespace().next()?.parse().ok()?;
            Some(kib * 1024)
        };
        Some(Self {
            own: line("RssAnon:")?,
            files: line("RssFile:")?,
            shared: line("RssShmem:")?,
        })
    }

    /// Together with a process of the same program: each has its own, and the larger part of what is shared is that of both.
    fn beside(self, other: &Self) -> Self {
        Self {
            own: self.own + other.own,
            files: self.files.max(other.files),
            shared: self.shared.max(other.shared),
        }
    }

    const fn all(self) -> u64 {
        self.own + self.files + self.shared
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    fn shell(script: &str) -> Child {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        command.spawn().expect("a shell")
    }

    fn part(child: &Child, with_children: bool) -> Part {
        Part {
            name: "shell",
            pid: child.id(),
            with_children,
        }
    }

    fn line(child: &mut Child) {
        use std::io::Read as _;
        let out = child.stdout.as_mut().expect("its output");
        out.read_exact(&mut [0; 2]).expect("a line");
    }

    #[test]
    fn time_of_a_process_and_of_its_children_is_counted() {
        let busy = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done";
        let mut child = shell(&format!("({busy}; {busy}); echo x; read line"));
        let meter = Meter::start(&[]).expect("starts");
        meter.add(part(&child, true));
        line(&mut child);
        let alone = look(part(&child, false)).expect("it runs");
        let cost = meter.end()["shell"];
        assert!(
            cost.cpu > time(alone.cpu),
            "{cost:?} beside {alone:?}: a child worked"
        );
        assert!(cost.peak > 100_000, "{cost:?}");
        child.kill().expect("ends");
        child.wait().expect("ends");
    }

    #[test]
    fn what_a_part_did_before_does_not_count_and_one_that_ended_keeps_its_cost() {
        let busy = "i=0; while [ $i -lt 400000 ]; do i=$((i+1)); done; echo x; read line";
        let mut child = shell(busy);
        line(&mut child);
        let (early, late) = (
            Meter::start(&[]).expect("starts"),
            Meter::start(&[part(&child, false)]).expect("it runs"),
        );
        early.add(part(&child, false));
        early.look();
        child.kill().expect("ends");
        child.wait().expect("ends");
        let (early, late) = (early.end()["shell"], late.end()["shell"]);
        assert!(early.cpu > Duration::ZERO && early.peak > 0, "{early:?}");
        assert!(late.cpu < early.cpu, "{late:?} is less than {early:?}");
        assert!(
            Meter::start(&[part(&child, false)]).is_err(),
            "a part that does not run is said"
        );
    }
}
