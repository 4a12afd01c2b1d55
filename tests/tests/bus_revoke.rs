//! Removed agents lose the bus: the real server cuts them off, keeps them out, is told again after it forgot, and lets all others work.

use std::fs;
use std::time::Duration;

use anyhow::{bail, ensure};
use writ_chassis::clock::{Clock as _, SystemClock};
use writ_chassis::nats::{NatsEvent, NatsEvents};
use writ_controller::bus::revoke::{AgentsAccount, RevokeError, Revoker};
use writ_protocol::nats::UserKey;
use writ_protocol::subject::{self, Rpc};
use writ_protocol::time::Timestamp;
use writ_tests::nats::{Login, NatsServer};

const PATIENCE: Duration = Duration::from_secs(30);
/// How far ahead of the clock a removed agent's claims are refused.
const AHEAD: Duration = Duration::from_secs(300);

async fn revoker(server: &NatsServer) -> anyhow::Result<(Revoker, NatsEvents)> {
    let (system, events) = server.connect(&server.system()?).await?;
    let keys = server.keys();
    let account = AgentsAccount {
        core: keys.core.public(),
        account: keys.agents.public(),
        signer: keys.agents_signer.public(),
    };
    let operator = writ_protocol::nats::NkeyPair::from_seed(
        writ_protocol::nats::NkeyKind::Operator,
        &keys.operator_signer.seed(),
    )?;
    Ok((Revoker::new(system, operator, account), events))
}

async fn refused(events: &mut NatsEvents) -> anyhow::Result<()> {
    let told = async {
        loop {
            match events.next().await {
                Some(NatsEvent::Refused(_)) => return Ok(()),
                Some(_) => {}
                None => bail!("the events ended"),
            }
        }
    };
    tokio::time::timeout(PATIENCE, told).await?
}

fn gone(login: &Login) -> Vec<(UserKey, Timestamp)> {
    vec![(login.key(), SystemClock.now().plus(AHEAD))]
}

#[tokio::test]
async fn a_removed_agent_is_cut_and_kept_out_and_the_server_is_told_once() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let server = NatsServer::start(dir.path())?;
    let (revoker, _system) = revoker(&server).await?;
    let (removed, later, kept) = (server.agent(None)?, server.agent(None)?, server.agent(None)?);
    let (first, mut first_events) = server.connect(&removed).await?;
    let (second, mut second_events) = server.connect(&later).await?;
    let (stays, _stays_events) = server.connect(&kept).await?;
    first.flush().await?;
    second.flush().await?;

    let mut all = gone(&removed);
    let now = SystemClock.now();
    ensure!(revoker.ensure(&[], now).await? == 0, "nobody was removed");
    ensure!(revoker.ensure(&all, now).await? == 1);
    refused(&mut first_events).await?;
    ensure!(server.connect(&removed).await.is_err(), "it does not come back");
    let renewed = server.agent_with(removed.nkey, None)?;
    ensure!(server.connect(&renewed).await.is_err(), "nor with claims of now");
    ensure!(revoker.ensure(&all, now).await? == 0, "the server knows it");

    // Within the same second, and by a controller whose clock is behind: claims still count as newer, and the first stays out.
    all.extend(gone(&later));
    ensure!(
        revoker
            .ensure(&all, now.minus(Duration::from_secs(3_600)))
            .await?
            == 1
    );
    refused(&mut second_events).await?;
    ensure!(server.connect(&renewed).await.is_err(), "the first stays out");
    stays.flush().await?;
    let (again, _again_events) = server.connect(&kept).await?;
    again.publish(Rpc::Hello.subject(&kept.key()), "".into()).await?;
    again.subscribe(subject::inbox(&kept.key()) + ".x").await?;
    again.flush().await?;
    Ok(())
}

#[tokio::test]
async fn a_server_that_forgot_is_told_again() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let mut server = NatsServer::start(dir.path())?;
    let login = server.agent(None)?;
    {
        let (revoker, _system) = revoker(&server).await?;
        ensure!(revoker.ensure(&gone(&login), SystemClock.now()).await? == 1);
        ensure!(server.connect(&login).await.is_err());
    }
    server.restart()?;
    ensure!(server.connect(&login).await.is_err(), "a restart forgets nothing");

    server.kill();
    fs::remove_dir_all(dir.path().join("accounts"))?;
    server.restart()?;
    let (client, mut events) = server.connect(&login).await?;
    client.flush().await?;
    let (revoker, _system) = revoker(&server).await?;
    ensure!(revoker.ensure(&gone(&login), SystemClock.now()).await? == 1);
    refused(&mut events).await?;
    ensure!(server.connect(&login).await.is_err());
    Ok(())
}

#[tokio::test]
async fn a_server_that_takes_no_pushes_is_a_failure_and_not_a_success() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let server = NatsServer::start_with(dir.path(), true)?;
    let (revoker, _system) = revoker(&server).await?;
    let login = server.agent(None)?;
    let error = revoker.ensure(&gone(&login), SystemClock.now()).await;
    ensure!(
        matches!(
            error,
            Err(RevokeError::Silent(_) | RevokeError::NoAccount(_) | RevokeError::Refused(_))
        ),
        "{error:?}"
    );
    Ok(())
}
