//! The bus contract: scripts of what controllers and agents do to the bus, and of what befalls it, are carried out on the simulated bus and on
//! real ones: nats-server of this generation and of the one before, and a cluster of three. All must answer alike. What reality does and the
//! model cannot, fails here, and the simulator must learn it.

#![expect(
    clippy::indexing_slicing,
    reason = "two agents, four connections, four counters: the script knows them"
)]

#[path = "sim_bus/act.rs"]
mod act;
#[path = "sim_bus/model.rs"]
mod model;
#[path = "sim_bus/real.rs"]
mod real;

use std::path::Path;
use std::time::Duration;

use act::{Act, Answer, by_chance, replacing};
use anyhow::{Context as _, ensure};
use model::Model;
use real::{Kind, Real};
use writ_protocol::nats::{NkeyKind, NkeyPair};
use writ_protocol::subject::Shard;
use writ_tests::nats::{former_program, program};
use writ_tests::sim::bus::Bus;

/// How long the bus remembers ids, as it is declared.
const MEMORY: Duration = Duration::from_secs(120);
/// The same where a test waits for its end; what is published within it has seconds to spare on a busy machine.
const SHORT_MEMORY: Duration = Duration::from_secs(8);
/// How long an act takes in the model: longer than a second, after which what was given back comes again.
const PACE: Duration = Duration::from_millis(1_050);

/// Two agents of different shards.
fn pairs() -> anyhow::Result<Vec<NkeyPair>> {
    let pair = |n: u8| NkeyPair::from_seed_bytes(NkeyKind::User, &[n; 32]);
    let first = pair(1);
    let shard = Shard::of(&first.user_key()?);
    for n in 2..200 {
        if Shard::of(&pair(n).user_key()?) != shard {
            return Ok(vec![first, pair(n)]);
        }
    }
    anyhow::bail!("every key is of one shard")
}

/// Carries a script out on both, and counts the answers that tell of a known id.
async fn compare(kind: &Kind<'_>, pace: Duration, script: &[Act]) -> anyhow::Result<usize> {
    let dir = tempfile::tempdir()?;
    let mut real = Real::start(dir.path(), kind, pairs()?).await?;
    let keys = pairs()?
        .iter()
        .map(NkeyPair::user_key)
        .collect::<Result<_, _>>()?;
    let mut bus = Bus::new(1);
    bus.memory = kind.memory;
    let mut model = Model {
        bus,
        keys,
        now: Duration::ZERO,
        pace,
    };
    let mut duplicates = 0;
    for (place, act) in script.iter().enumerate() {
        let said = model.act(act);
        let is = real.act(act, &said).await;
        let is = is.with_context(|| format!("act {place}: {act:?}; the model says {said:?}"))?;
        ensure!(
            is == said,
            "act {place}: {act:?}: the server says {is:?}, the model {said:?}; before it: {:?}",
            &script[..place]
        );
        duplicates += usize::from(is == Answer::Duplicate(true));
    }
    Ok(duplicates)
}

async fn one_server_is_as_the_model(program: &Path) -> anyhow::Result<()> {
    let kind = Kind {
        program,
        nodes: 1,
        memory: MEMORY,
    };
    let mut duplicates = 0;
    for seed in [1, 2, 3] {
        let script = by_chance(seed, 60, 80);
        let found = compare(&kind, PACE, &script).await;
        duplicates += found.with_context(|| format!("script {seed}"))?;
    }
    ensure!(duplicates > 5, "ids came again: {duplicates}");
    let found = compare(&kind, PACE, &replacing()).await.context("replacing")?;
    ensure!(found > 2, "ids came again: {found}");
    Ok(())
}

#[tokio::test]
async fn the_simulated_bus_answers_as_a_real_one_does() -> anyhow::Result<()> {
    one_server_is_as_the_model(&program()?).await
}

#[tokio::test]
async fn the_simulated_bus_answers_as_one_of_the_generation_before() -> anyhow::Result<()> {
    one_server_is_as_the_model(&former_program()?).await
}

/// An id is remembered for as long as was declared, and a repeat does not begin that anew. A restart does, for messages that are not older.
#[tokio::test]
async fn ids_are_forgotten_when_the_model_forgets_them() -> anyhow::Result<()> {
    let one = Duration::from_secs(1);
    let repeated = [Act::Put(0, 1), Act::Append(0, 1)];
    let pause = |length| [Act::Wait(length)];
    let younger = [
        repeated.as_slice(),
        &pause(2 * one),
        &repeated,
        &[Act::Restart],
        &repeated,
        &pause(5 * one),
        &repeated,
        &pause(4 * one),
        &repeated,
        &[Act::Take(0, true), Act::Get(0)],
    ]
    .concat();
    let older = [
        repeated.as_slice(),
        &pause(one),
        &repeated,
        &pause(SHORT_MEMORY),
        &repeated,
        &pause(SHORT_MEMORY + one),
        &[Act::Restart],
        &repeated,
        &[Act::Take(0, true), Act::Get(0)],
    ]
    .concat();
    let (new, former) = (program()?, former_program()?);
    let kind = |program| Kind {
        program,
        nodes: 1,
        memory: SHORT_MEMORY,
    };
    let (new, former, pace) = (kind(&new), kind(&former), Duration::from_millis(1));
    let (a, b, c, d) = tokio::join!(
        compare(&new, pace, &younger),
        compare(&former, pace, &younger),
        compare(&new, pace, &older),
        compare(&former, pace, &older),
    );
    for (found, what) in [(a, "this generation"), (b, "the generation before")] {
        ensure!(found.with_context(|| format!("{what}, younger messages"))? == 6);
    }
    for (found, what) in [(c, "this generation"), (d, "the generation before")] {
        ensure!(found.with_context(|| format!("{what}, older messages"))? == 2);
    }
    Ok(())
}

#[tokio::test]
async fn a_cluster_is_one_bus_that_the_model_knows() -> anyhow::Result<()> {
    let kind = Kind {
        program: &program()?,
        nodes: 3,
        memory: MEMORY,
    };
    let mut script = by_chance(4, 40, 0);
    script.extend([
        Act::Put(1, 500),
        Act::Put(1, 501),
        Act::Append(1, 500),
        Act::LoseLeader,
        // Those that are left know every id, of messages that were replaced too.
        Act::Put(1, 500),
        Act::Append(1, 500),
        Act::Get(1),
        Act::PutPlain(1, 502),
        Act::Take(1, true),
        Act::Return,
        Act::Get(1),
        Act::Purge(0),
        Act::Get(0),
        Act::Count,
        Act::Put(0, 600),
        Act::Append(0, 600),
        Act::RollBack,
        Act::Get(0),
        Act::Get(1),
        Act::Put(0, 600),
        Act::Append(0, 600),
        Act::Append(0, 600),
        Act::Take(0, true),
        Act::Count,
    ]);
    let found = compare(&kind, PACE, &script).await?;
    ensure!(found > 5, "ids came again: {found}");
    Ok(())
}
