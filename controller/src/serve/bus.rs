//! The controller's connections to the bus: its own in CORE, and where it may revoke agents, one in the system account.

use std::path::Path;

use writ_chassis::config;
use writ_chassis::lifecycle::LifecycleHandle;
use writ_chassis::nats::{NatsEvent, NatsEvents};
use writ_protocol::nats::peek::Peeked;
use writ_protocol::nats::{NkeyKind, NkeyPair, NkeyPublic};

use super::ServeError;
use crate::bus::Client;
use crate::bus::revoke::{AgentsAccount, Revoker};
use crate::config::{Config, LoginError, LoginFiles};

/// Connects as `login` and tells of what happens to the connection.
pub(super) async fn connect(
    config: &Config,
    (login, name): (&LoginFiles, &'static str),
    seed: u64,
    life: &LifecycleHandle,
) -> Result<Client, ServeError> {
    let options = config.bus.options(login, name)?;
    let (client, events) = writ_chassis::nats::connect(options, seed).await?;
    life.spawn_contained("bus.events", watch(name, events, life.clone()));
    Ok(client)
}

async fn watch(name: &'static str, mut events: NatsEvents, life: LifecycleHandle) {
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            () = life.stopping() => return,
        };
        match event {
            Some(event @ (NatsEvent::Connected | NatsEvent::LameDuck)) => {
                tracing::info!(connection = name, ?event, "bus");
            }
            Some(event) => tracing::warn!(connection = name, ?event, "bus"),
            None => return,
        }
    }
}

/// What revokes agents, where the configuration gives a key for it. `agents` is the account of agents and its signing key.
pub(super) async fn revoker(
    config: &Config,
    agents: &(NkeyPublic, NkeyPublic),
    seed: u64,
    life: &LifecycleHandle,
) -> Result<Option<Revoker>, ServeError> {
    let Some((operator, keys, login)) = revocation(config, agents)? else {
        return Ok(None);
    };
    let system = connect(config, (login, "writ-controller-system"), seed, life).await?;
    Ok(Some(Revoker::new(system, operator, keys)))
}

/// What the configuration says of revoking, read and checked.
pub(super) fn revocation<'a>(
    config: &'a Config,
    (account, signer): &(NkeyPublic, NkeyPublic),
) -> Result<Option<(NkeyPair, AgentsAccount, &'a LoginFiles)>, ServeError> {
    let bus = &config.bus;
    let (Some(key), Some(login)) = (&bus.revocation_key_file, &bus.system_credentials) else {
        return Ok(None);
    };
    let operator = operator(key)?;
    let claims = config::read_secret_file(&bus.credentials.jwt_file).map_err(LoginError::from)?;
    let core = Peeked::read(claims.expose())
        .and_then(|claims| claims.issuer_account())
        .ok_or_else(|| LoginError::NoAccount(bus.credentials.jwt_file.clone()))?;
    let keys = AgentsAccount {
        core,
        account: *account,
        signer: *signer,
    };
    Ok(Some((operator, keys, login)))
}

fn operator(path: &Path) -> Result<NkeyPair, LoginError> {
    let seed = config::read_secret_file(path)?;
    NkeyPair::from_seed(NkeyKind::Operator, seed.expose().trim()).map_err(|source| LoginError::Operator {
        path: path.to_owned(),
        source,
    })
}
