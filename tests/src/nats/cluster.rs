//! Several private servers as one bus: the same keys, the same authority, one cluster. What befalls a bus befalls all of them at once here,
//! but for the loss of one.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use writ_chassis::nats::NatsOptions;

use super::{Login, NatsServer};

/// Where free ports are looked for: below those that the system gives to connections, one of which could take a port while its server is down.
const PORTS: std::ops::Range<u16> = 15_000..32_000;

/// One server or several.
#[derive(Debug)]
pub struct NatsCluster {
    nodes: Vec<NatsServer>,
}

impl NatsCluster {
    /// Starts `count` servers of a program below `dir`; one is a server without a cluster.
    ///
    /// # Errors
    /// When one does not start, or there are no free ports.
    pub fn start(dir: &Path, program: &Path, count: usize) -> anyhow::Result<Self> {
        ensure!(
            program.is_file(),
            "there is no {}; `cargo xtask parts` brings the servers",
            program.display()
        );
        let mut nodes = vec![NatsServer::stopped(
            &folder(dir, 0),
            program.to_owned(),
            count > 1,
        )?];
        for at in 1..count {
            nodes.push(alike(&nodes, &folder(dir, at), program)?);
        }
        if count > 1 {
            let ports = free_ports(2 * count)?;
            let (clients, routes) = ports.split_at(count);
            let all: Vec<String> = routes
                .iter()
                .map(|port| format!("\"nats://127.0.0.1:{port}\""))
                .collect();
            for (at, (node, (client, route))) in nodes.iter_mut().zip(clients.iter().zip(routes)).enumerate()
            {
                node.port = *client;
                let others = format!(
                    "cluster {{ name: writ, listen: \"127.0.0.1:{route}\", no_advertise: true, routes: [{}] }}\n",
                    all.join(", ")
                );
                node.member = Some((format!("writ-test-{at}"), others));
            }
        }
        let mut cluster = Self { nodes };
        cluster.restart()?;
        Ok(cluster)
    }

    /// The options with which a login connects to those that run.
    ///
    /// # Errors
    /// None runs.
    pub fn options(&self, login: &Login) -> anyhow::Result<NatsOptions> {
        let running: Vec<&NatsServer> = self.nodes.iter().filter(|node| node.pid().is_some()).collect();
        let first = running.first().context("no server of the cluster runs")?;
        Ok(NatsOptions {
            servers: running.iter().map(|node| node.url()).collect(),
            ..first.options(login)
        })
    }

    /// One of them, whose keys are those of all.
    ///
    /// # Errors
    /// There is none.
    pub fn first(&self) -> anyhow::Result<&NatsServer> {
        self.nodes.first().context("a cluster without servers")
    }

    /// Whether it is more than one.
    pub fn is_cluster(&self) -> bool {
        self.nodes.len() > 1
    }

    /// Kills the server of this name; the others go on.
    ///
    /// # Errors
    /// There is no such server.
    pub fn kill(&mut self, name: &str) -> anyhow::Result<()> {
        let is_it = |node: &&mut NatsServer| node.member.as_ref().is_some_and(|(own, _)| own == name);
        let node = self.nodes.iter_mut().find(is_it);
        node.with_context(|| format!("there is no server {name}"))?.kill();
        Ok(())
    }

    /// Starts those that do not run.
    ///
    /// # Errors
    /// One does not start.
    pub fn start_missing(&mut self) -> anyhow::Result<()> {
        let mut missing = self.nodes.iter_mut().filter(|node| node.pid().is_none());
        missing.try_for_each(NatsServer::restart)
    }

    /// All are killed, then started.
    ///
    /// # Errors
    /// One does not start.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.while_down(|_| Ok(()))
    }

    /// All are killed and started without their streams.
    ///
    /// # Errors
    /// One does not start.
    pub fn wipe(&mut self) -> anyhow::Result<()> {
        self.while_down(|node| super::remove(&node.store()))
    }

    /// The streams of all are copied while none runs.
    ///
    /// # Errors
    /// The copy fails, or one does not start.
    pub fn snapshot(&mut self, name: &str) -> anyhow::Result<()> {
        self.while_down(|node| node.copy_store(name))
    }

    /// The streams of all go back to what was copied.
    ///
    /// # Errors
    /// There is no such copy, or one does not start.
    pub fn rollback(&mut self, name: &str) -> anyhow::Result<()> {
        self.while_down(|node| node.put_store_back(name))
    }

    fn while_down(&mut self, act: impl Fn(&NatsServer) -> anyhow::Result<()>) -> anyhow::Result<()> {
        self.nodes.iter_mut().for_each(NatsServer::kill);
        self.nodes.iter().try_for_each(act)?;
        self.start_missing()
    }
}

fn folder(dir: &Path, at: usize) -> PathBuf {
    dir.join(format!("node-{at}"))
}

/// A server with the keys, the claims and the certificate of the first.
fn alike(nodes: &[NatsServer], dir: &Path, program: &Path) -> anyhow::Result<NatsServer> {
    let first = nodes.first().context("a cluster without servers")?;
    fs::create_dir_all(dir.join("ports"))?;
    for name in ["ca.pem", "server.pem", "server.key"] {
        fs::copy(first.dir.join(name), dir.join(name))?;
    }
    Ok(NatsServer {
        dir: dir.to_owned(),
        program: program.to_owned(),
        child: None,
        port: 0,
        ca_pem: first.ca_pem.clone(),
        keys: Arc::clone(&first.keys),
        claims: first.claims.clone(),
        memory_resolver: first.memory_resolver,
        member: None,
    })
}

/// Ports that nobody listens on, each process looking from another place on.
fn free_ports(count: usize) -> anyhow::Result<Vec<u16>> {
    let span = u32::from(PORTS.end - PORTS.start);
    let from = std::process::id().wrapping_mul(7_919) % span;
    let tried = (0..span).filter_map(|at| u16::try_from((from + at) % span).ok());
    let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    let found: Vec<u16> = tried
        .map(|offset| PORTS.start + offset)
        .filter(is_free)
        .take(count)
        .collect();
    ensure!(
        found.len() == count,
        "there are no {count} free ports in {PORTS:?}"
    );
    Ok(found)
}
