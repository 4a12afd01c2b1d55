//! One host and a config: our local apply beside the bare loop over the same files, and beside the tools that a user could take instead.
//!
//! What is timed of us is the whole of `writ apply --local`: two processes, the config read and compiled, a signed bundle, journal, signed records and
//! a pack of evidence on disk. What is timed of a peer is its whole process. The loop runs inside this one, so it pays for no start; its files are warm,
//! as everybody's are, and everybody takes turns.

mod mixed;
mod ours;
mod peer;
mod place;
mod tree;

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use writ_cli::dev::{lab, programs};
use writ_protocol::envelope::Envelope;
use writ_protocol::key::SigningKey;
use writ_protocol::statement::PAYLOAD_TYPE;

use self::mixed::Mixed;
pub use self::mixed::Size as MixedSize;
use self::ours::Ours;
use self::peer::{PEERS, Peer, Told};
use self::place::{Ended, Place};
use self::tree::Tree;
use super::bed::tell;
use super::stopwatch::{Stopwatch, rate};
use super::{Row, percentile};

const BENCH: &str = "converge";
/// Why nobody else is started where no time is given.
const NO_TIME: &str = "peers are given no time";
/// A peer that is faster than this is measured more than once.
const PEER_QUICK: Duration = Duration::from_secs(20);
/// How often then.
const PEER_ROUNDS: usize = 3;
/// Bytes of a signed statement about a batch of records, which is what is signed most.
const SIGNED_BYTES: usize = 1_024;
/// Signatures of a run beside those of its batches: bundle, manifests, hellos and their answers, the end of the order, the pack.
const OTHER_SIGNATURES: usize = 12;

/// What is measured.
#[derive(Clone, Debug)]
pub struct Size {
    /// Numbers of files, growing.
    pub files: Vec<usize>,
    /// Runs of each that count.
    pub rounds: usize,
    /// The longest that one run of a peer may take; one that would take longer, by its last figure, is not run. Nothing: no peer is.
    pub patience: Duration,
    /// The mixed host.
    pub mixed: MixedSize,
}

impl Default for Size {
    fn default() -> Self {
        Self {
            files: vec![100, 1_000, 10_000],
            rounds: 5,
            patience: Duration::from_secs(120),
            mixed: MixedSize {
                files: 200,
                users: 20,
                commands: 50,
            },
        }
    }
}

/// One case at one size: a loop's, ours, and a peer's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Case {
    FirstConverge,
    NoChange,
}

impl Case {
    const fn name(self) -> &'static str {
        match self {
            Self::FirstConverge => "first-converge",
            Self::NoChange => "no-change",
        }
    }
}

/// Measures everything.
///
/// # Errors
/// When the programs are not built, or a run of ours does not do what it is to do. A peer that does not is a row that says so.
pub fn run(size: &Size, mut report: impl FnMut(Row)) -> anyhow::Result<()> {
    let scratch = tempfile::Builder::new().prefix("writ-converge-").tempdir()?;
    let mut last: Vec<(Peer, usize, Duration)> = Vec::new();
    let mut small: Option<(usize, f64)> = None;
    for files in &size.files {
        let folder = scratch.path().join(files.to_string());
        let tree = Tree::new(&folder.join("tree"), *files)?;
        let ours = Ours::new(&folder, &tree.resources())?;
        let n = *files as u64;
        tell(&format!("{files} files"));
        let (first, first_floor) = first_converge(&tree, &ours, size.rounds)?;
        report(Row::new(BENCH, Case::FirstConverge.name(), n, first, "ms").against(first_floor));
        let (same, floor) = no_change(&tree, &ours, size.rounds)?;
        report(Row::new(BENCH, Case::NoChange.name(), n, same, "ms").against(floor));
        if let Some((before, then)) = small {
            report(Row::new(
                BENCH,
                format!("growth-from-{before}"),
                n,
                same / then,
                "times",
            ));
        }
        small = Some((*files, same));
        memory_and_signatures(&ours, n, same, &mut report)?;
        let figures = Figures {
            tree: &tree,
            floors: (first_floor, floor),
            ours: same,
        };
        peers(size, &folder, &figures, &mut last, &mut report)?;
    }
    mixed_host(size, scratch.path(), &mut report)
}

/// The medians of ours and of the loop that writes, milliseconds.
fn first_converge(tree: &Tree, ours: &Ours, rounds: usize) -> anyhow::Result<(f64, f64)> {
    // The first run of all makes keys and enrols; that is no part of converging.
    ours.run(&Place::Here)?;
    let (mut times, mut floors): (Vec<Duration>, Vec<Duration>) = Default::default();
    for _ in 0..rounds {
        tree.empty()?;
        let watch = Stopwatch::start();
        tree.write()?;
        floors.push(watch.elapsed());
        tree.empty()?;
        let (time, changed) = ours.run(&Place::Here)?;
        ensure!(
            changed.len() == tree.files(),
            "{} of {} files were made",
            changed.len(),
            tree.files()
        );
        times.push(time);
        tree.look()?;
    }
    Ok((percentile(&mut times, 0.5), percentile(&mut floors, 0.5)))
}

/// The medians of ours and of the loop that looks, milliseconds.
fn no_change(tree: &Tree, ours: &Ours, rounds: usize) -> anyhow::Result<(f64, f64)> {
    let (mut times, mut floors): (Vec<Duration>, Vec<Duration>) = Default::default();
    for round in 0..=rounds {
        let watch = Stopwatch::start();
        tree.look()?;
        let floor = watch.elapsed();
        let (time, changed) = ours.run(&Place::Here)?;
        ensure!(changed.is_empty(), "changed where nothing was to be: {changed:?}");
        // The first of each warms what the others find warm.
        if round > 0 {
            floors.push(floor);
            times.push(time);
        }
    }
    Ok((percentile(&mut times, 0.5), percentile(&mut floors, 0.5)))
}

/// What a run in which nothing changes has resident, and how much of its time its signatures are.
fn memory_and_signatures(ours: &Ours, n: u64, took: f64, report: &mut impl FnMut(Row)) -> anyhow::Result<()> {
    let before = ours.batches()?;
    let peak = ours.peak()?;
    let batches = ours.batches()?.saturating_sub(before);
    for (case, kib) in [
        ("peak", peak.writ + peak.agent),
        ("peak-writ", peak.writ),
        ("peak-agent", peak.agent),
    ] {
        let mib = f64::from(u32::try_from(kib)?) / 1_024.0;
        report(Row::new(BENCH, case, n, mib, "MiB"));
    }
    let key = SigningKey::from_seed(&[7; 32]);
    let payload = vec![b'x'; SIGNED_BYTES];
    let envelope = Envelope::sign(PAYLOAD_TYPE, payload.clone(), &[&key])?.to_json()?;
    let sign = rate(|| {
        black_box(Envelope::sign(PAYLOAD_TYPE, payload.clone(), &[&key]).ok());
    });
    let public = key.public();
    let verify = rate(|| {
        black_box(
            Envelope::parse(&envelope)
                .and_then(|e| e.verify(PAYLOAD_TYPE, &[public], 1))
                .ok(),
        );
    });
    // A batch is signed by the agent, verified when it is kept and again when it is packed; the watermark that answers it is signed and verified.
    let signed = f64::from(u32::try_from(2 * batches + OTHER_SIGNATURES)?);
    let verified = f64::from(u32::try_from(3 * batches + OTHER_SIGNATURES)?);
    let share = (signed / sign + verified / verify) * 1e3 / took * 100.0;
    report(Row::new(BENCH, "signatures", n, share, "%"));
    Ok(())
}

/// What peers are measured against.
struct Figures<'a> {
    tree: &'a Tree,
    floors: (f64, f64),
    ours: f64,
}

fn peers(
    size: &Size,
    folder: &Path,
    figures: &Figures<'_>,
    last: &mut Vec<(Peer, usize, Duration)>,
    report: &mut impl FnMut(Row),
) -> anyhow::Result<()> {
    let files = figures.tree.files();
    let mut fastest: Option<(f64, &'static str)> = None;
    for peer in PEERS {
        let before = last.iter().rfind(|(of, ..)| *of == peer);
        let told = match before.and_then(|(_, at, took)| too_long(size.patience, (*at, *took), files)) {
            Some(why) => Err(why),
            None if size.patience.is_zero() => Err(NO_TIME.to_owned()),
            None => peer.of_tree(folder, figures.tree),
        };
        let measured = match told {
            Ok(told) => peer_over_tree(&told, figures.tree, size.patience)?,
            Err(why) => Err(why),
        };
        let (first, same) = match measured {
            Ok(measured) => measured,
            Err(why) => {
                for case in [Case::FirstConverge, Case::NoChange] {
                    report(Row::not_run(BENCH, case.name(), files as u64, peer.name(), &why));
                }
                continue;
            }
        };
        last.push((peer, files, first.max(same)));
        let row = |case: Case, time: Duration, floor: f64| {
            let row = Row::new(BENCH, case.name(), files as u64, time.as_secs_f64() * 1e3, "ms");
            row.over(floor, peer.name())
        };
        report(row(Case::FirstConverge, first, figures.floors.0));
        report(row(Case::NoChange, same, figures.floors.1));
        let same = same.as_secs_f64() * 1e3;
        if fastest.is_none_or(|(time, _)| same < time) {
            fastest = Some((same, peer.name()));
        }
    }
    if let Some((time, name)) = fastest {
        report(faster("faster", files as u64, (figures.ours, time), name));
    }
    Ok(())
}

/// How many times as fast as the fastest peer we are.
fn faster(case: &str, n: u64, (ours, theirs): (f64, f64), peer: &'static str) -> Row {
    let mut row = Row::new(BENCH, case, n, theirs / ours, "times");
    row.peer = Some(peer);
    row
}

/// Why a peer is not run at a size, by what it took at a smaller one: at least as long for each file.
fn too_long(patience: Duration, (files, took): (usize, Duration), wanted: usize) -> Option<String> {
    let factor = u32::try_from(wanted / files.max(1)).unwrap_or(u32::MAX);
    let expected = took.saturating_mul(factor);
    (expected > patience).then(|| {
        format!(
            "{files} files took it {:.1} s: this would be {} s or more, and {} s are allowed",
            took.as_secs_f64(),
            expected.as_secs(),
            patience.as_secs()
        )
    })
}

/// A peer's first converge and its median when nothing changes, or why there is none.
fn peer_over_tree(
    told: &Told,
    tree: &Tree,
    patience: Duration,
) -> anyhow::Result<Result<(Duration, Duration), String>> {
    tell(&format!("{} over {} files", told.peer().name(), tree.files()));
    tree.empty()?;
    let first = match told.run(&Place::Here, patience)? {
        Ended::Well(time) => time,
        Ended::Badly(why) => return Ok(Err(why)),
    };
    if let Err(error) = tree.look() {
        return Ok(Err(format!("it did not make the tree: {error:#}")));
    }
    let same = peer_again(told, &Place::Here, patience)?;
    tree.look().context("the peer changed the tree")?;
    Ok(same.map(|same| (first, same)))
}

/// A peer where nothing is to be done any more: the median of some runs, of one where it is slow.
fn peer_again(told: &Told, place: &Place, patience: Duration) -> anyhow::Result<Result<Duration, String>> {
    let mut times = Vec::new();
    while times.len() < PEER_ROUNDS {
        match told.run(place, patience)? {
            Ended::Well(time) => times.push(time),
            Ended::Badly(why) => return Ok(Err(why)),
        }
        if times.iter().any(|time| *time > PEER_QUICK) {
            break;
        }
    }
    Ok(Ok(Duration::from_secs_f64(percentile(&mut times, 0.5) / 1e3)))
}

/// A host with files, users, groups and guarded commands, on a lab host where accounts may be made.
fn mixed_host(size: &Size, scratch: &Path, report: &mut impl FnMut(Row)) -> anyhow::Result<()> {
    const CASE: &str = "mixed-no-change";
    let folder = scratch.join("mixed");
    std::fs::create_dir_all(&folder)?;
    let mixed = Mixed::new(Path::new("/srv"), size.mixed);
    let n = mixed.count() as u64;
    if let Err(why) = lab::available() {
        report(Row::not_run(BENCH, CASE, n, "ours", &why));
        return Ok(());
    }
    tell("a mixed host");
    let ours = Ours::new(&folder, &mixed.resources())?;
    let folders = folders_of_lab(&folder)?;
    let place = Place::lab(scratch, "ours", &folders)?;
    let (_, changed) = ours.run(&place)?;
    ensure!(
        changed.len() == mixed.count(),
        "{} of {n} resources were made",
        changed.len()
    );
    let mut times = Vec::new();
    for _ in 0..size.rounds {
        let (time, changed) = ours.run(&place)?;
        ensure!(changed.is_empty(), "changed where nothing was to be: {changed:?}");
        times.push(time);
    }
    let took = percentile(&mut times, 0.5);
    report(Row::new(BENCH, CASE, n, took, "ms"));
    let mut fastest: Option<(f64, &'static str)> = None;
    for peer in PEERS {
        let told = if size.patience.is_zero() {
            Err(NO_TIME.to_owned())
        } else {
            peer.of_mixed(&folder, &mixed)
        };
        if told.is_ok() {
            tell(&format!("{} over a mixed host", peer.name()));
        }
        let measured = match told {
            Ok(told) => {
                let place = Place::lab(scratch, peer.name(), &folders)?;
                // A lab host is another machine, to which an agent of this one refuses to belong.
                let own = folder.join(format!("after-{}", peer.name()));
                std::fs::create_dir_all(&own)?;
                let ours = Ours::new(&own, &mixed.resources())?;
                peer_over_mixed(&told, &ours, &place, size.patience)?
            }
            Err(why) => Err(why),
        };
        match measured {
            Err(why) => report(Row::not_run(BENCH, CASE, n, peer.name(), &why)),
            Ok(time) => {
                let time = time.as_secs_f64() * 1e3;
                let mut row = Row::new(BENCH, CASE, n, time, "ms");
                row.peer = Some(peer.name());
                report(row);
                if fastest.is_none_or(|(best, _)| time < best) {
                    fastest = Some((time, peer.name()));
                }
            }
        }
    }
    if let Some((time, name)) = fastest {
        report(faster("mixed-faster", n, (took, time), name));
    }
    Ok(())
}

/// What of the machine a lab host is to see besides the system: our programs, what is measured, and peers that lie where it has folders of its own.
fn folders_of_lab(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let own = programs::own("writ")?;
    let mut folders = vec![folder.to_owned()];
    folders.extend(own.parent().map(Path::to_owned));
    // A peer that is installed for itself lies in `bin` of a folder of its own.
    let found = PEERS.iter().filter_map(|peer| peer.find().ok());
    let homes = found.filter_map(|program| Some(program.parent()?.parent()?.to_owned()));
    folders.extend(homes.filter(|home| home.starts_with("/tmp") || home.starts_with("/run")));
    Ok(folders)
}

/// A peer on a host where nothing is yet, and its median when all is. It counts only where we find nothing left to do after it.
fn peer_over_mixed(
    told: &Told,
    ours: &Ours,
    place: &Place,
    patience: Duration,
) -> anyhow::Result<Result<Duration, String>> {
    if let Ended::Badly(why) = told.run(place, patience)? {
        return Ok(Err(why));
    }
    let same = peer_again(told, place, patience)?;
    let (_, left) = ours.run(place)?;
    if let Some(one) = left.first() {
        let count = left.len();
        return Ok(Err(format!(
            "it did not make the host: {count} resources were left to us, such as {one}"
        )));
    }
    Ok(same)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_would_take_too_long_is_not_run_and_it_is_said_why() {
        let patience = Duration::from_secs(120);
        let took = Duration::from_secs(59);
        let why = too_long(patience, (100, took), 1_000).expect("ten times as much is too long");
        assert_eq!(
            why,
            "100 files took it 59.0 s: this would be 590 s or more, and 120 s are allowed"
        );
        assert_eq!(too_long(patience, (100, took), 200), None);
    }
}
