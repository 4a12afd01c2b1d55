//! Logins on a test bus, each with exactly the claims that the product would issue.

use std::fs;
use std::path::{Path, PathBuf};

use async_nats::Client;
use writ_chassis::clock::{Clock as _, SystemClock};
use writ_chassis::config::Secret;
use writ_chassis::nats::{Capacities, Credentials, NatsEvents, NatsOptions, connect};
use writ_protocol::nats::claims::{self, UserGrant, UserLimits};
use writ_protocol::nats::{NkeyKind, NkeyPair, UserKey, access};
use writ_protocol::subject;
use writ_protocol::time::Timestamp;

use super::NatsServer;

/// A user of the bus.
#[derive(Debug)]
pub struct Login {
    /// Its key.
    pub nkey: NkeyPair,
    /// Its claims.
    pub jwt: String,
}

impl Login {
    /// Its name on the bus.
    ///
    /// # Panics
    /// Never: a login's key is a user key.
    #[expect(
        clippy::expect_used,
        reason = "a test harness, and a login's key is a user key"
    )]
    pub fn key(&self) -> UserKey {
        self.nkey.user_key().expect("a user key")
    }

    /// Writes the claims and the seed as files, as a controller's configuration names them.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn write(&self, dir: &Path, name: &str) -> anyhow::Result<(PathBuf, PathBuf)> {
        let (jwt, seed) = (dir.join(format!("{name}.jwt")), dir.join(format!("{name}.seed")));
        fs::write(&jwt, &self.jwt)?;
        fs::write(&seed, self.nkey.seed().as_bytes())?;
        Ok((jwt, seed))
    }
}

impl NatsServer {
    /// A controller's login in CORE.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn controller(&self) -> anyhow::Result<Login> {
        self.in_core("controller", &[])
    }

    /// The login of a person in CORE who may also delete consumers and empty streams, which no controller may.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn administrator(&self) -> anyhow::Result<Login> {
        self.in_core(
            "administrator",
            &["$JS.API.CONSUMER.DELETE.>", "$JS.API.STREAM.PURGE.>"],
        )
    }

    fn in_core(&self, name: &str, more: &[&str]) -> anyhow::Result<Login> {
        let nkey = NkeyPair::generate(NkeyKind::User)?;
        let mut allow = access::controller_allow(&subject::inbox(&nkey.user_key()?));
        allow
            .publish
            .extend(more.iter().map(|subject| (*subject).to_owned()));
        let grant = UserGrant {
            name,
            user: &nkey.public(),
            account: &self.keys().core.public(),
            expires_at: None,
            allow: Some((allow, UserLimits::NONE)),
        };
        let jwt = claims::user(&grant, &self.keys().core_signer, SystemClock.now())?;
        Ok(Login { nkey, jwt })
    }

    /// A controller's login in the system account, which pushes account claims.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn system(&self) -> anyhow::Result<Login> {
        let nkey = NkeyPair::generate(NkeyKind::User)?;
        let allow = access::system_allow(&subject::inbox(&nkey.user_key()?));
        let grant = UserGrant {
            name: "controller-system",
            user: &nkey.public(),
            account: &self.keys().system.public(),
            expires_at: None,
            allow: Some((allow, UserLimits::NONE)),
        };
        let jwt = claims::user(&grant, &self.keys().system_signer, SystemClock.now())?;
        Ok(Login { nkey, jwt })
    }

    /// A new agent's login.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn agent(&self, expires_at: Option<Timestamp>) -> anyhow::Result<Login> {
        self.agent_with(NkeyPair::generate(NkeyKind::User)?, expires_at)
    }

    /// The login of an agent whose key is known.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn agent_with(&self, nkey: NkeyPair, expires_at: Option<Timestamp>) -> anyhow::Result<Login> {
        let grant = UserGrant {
            name: "agent",
            user: &nkey.public(),
            account: &self.keys().agents.public(),
            expires_at,
            allow: None,
        };
        let jwt = claims::user(&grant, &self.keys().agents_signer, SystemClock.now())?;
        Ok(Login { nkey, jwt })
    }

    /// The login of one who holds a join token.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn joiner(&self) -> anyhow::Result<Login> {
        let nkey = NkeyPair::generate(NkeyKind::User)?;
        let grant = UserGrant {
            name: "join",
            user: &nkey.public(),
            account: &self.keys().enrol.public(),
            expires_at: None,
            allow: None,
        };
        let jwt = claims::user(&grant, &self.keys().enrol_signer, SystemClock.now())?;
        Ok(Login { nkey, jwt })
    }

    /// The options with which a login connects.
    pub fn options(&self, login: &Login) -> NatsOptions {
        NatsOptions {
            servers: vec![self.url()],
            credentials: Credentials::Jwt {
                jwt: login.jwt.clone(),
                seed: Secret::new(login.nkey.seed().to_string()),
            },
            ca_pem: Some(self.ca_pem().to_owned()),
            inbox_prefix: subject::inbox(&login.key()),
            reconnect_window: std::time::Duration::from_millis(50),
            capacities: Capacities::CONTROLLER,
            ..NatsOptions::default()
        }
    }

    /// Connects a login. Keep polling the events when the test loses servers on purpose.
    ///
    /// # Errors
    /// When the server does not let it in.
    pub async fn connect(&self, login: &Login) -> anyhow::Result<(Client, NatsEvents)> {
        Ok(connect(self.options(login), 7).await?)
    }
}
