//! An agent's connection to the simulated bus: what the product's `Transport` asks for, with all that can become of a message.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use writ_agent::link::{Answer, Incoming, LinkError, Reply, Transport};
use writ_protocol::subject::Rpc;

use super::host::Host;
use super::trace::mark;
use super::world::{World, lock};

/// How soon a client notices that there is no connection.
const NOTICE: Duration = Duration::from_millis(100);

/// The connection of one life of an agent.
#[derive(Debug)]
pub struct SimLink {
    /// The world.
    pub world: Arc<World>,
    /// The machine.
    pub host: Arc<Host>,
    /// Whether the process lives.
    pub alive: Arc<AtomicBool>,
}

fn unavailable(why: &'static str) -> LinkError {
    LinkError::Unavailable(why.into())
}

impl SimLink {
    /// One way of a message; an error when there is no way, for ever when it gets lost.
    async fn travel(&self, loses: bool) -> Result<(), LinkError> {
        let (delay, is_down, is_lost) = {
            let mut bus = lock(&self.world.bus);
            let loss = if loses {
                bus.weather.loss
            } else {
                bus.weather.ack_loss
            };
            (bus.delay(), bus.is_down, bus.chance.hit(loss))
        };
        if self.world.is_circling() {
            std::future::pending::<()>().await;
        }
        if is_down || self.host.is_cut() {
            tokio::time::sleep(NOTICE).await;
            return Err(unavailable("no connection"));
        }
        tokio::time::sleep(delay).await;
        if is_lost || self.host.is_cut() {
            std::future::pending::<()>().await;
        }
        Ok(())
    }

    async fn ask(&self, subject: &str, payload: &Bytes) -> Result<Reply, LinkError> {
        let me = &self.host.who.name.user_key;
        self.travel(true).await?;
        let reply = if subject.starts_with("$JS.API.DIRECT.GET") {
            let found = lock(&self.world.bus).get(me);
            found.map_or(
                Reply {
                    status: Some(404),
                    ..Reply::default()
                },
                |bytes| Reply {
                    payload: bytes.into(),
                    ..Reply::default()
                },
            )
        } else {
            let rpc = [Rpc::Hello, Rpc::Manifest]
                .into_iter()
                .find(|rpc| rpc.subject(me) == subject);
            let rpc = rpc.ok_or_else(|| LinkError::Refused("nobody answers this".to_owned()))?;
            match super::controller::answer(&self.world, rpc, me, payload).await {
                Ok(bytes) => Reply {
                    payload: bytes.into(),
                    ..Reply::default()
                },
                Err(Some(code)) => Reply {
                    refusal: Some(code.to_string()),
                    ..Reply::default()
                },
                Err(None) => return Err(unavailable("nobody answers")),
            }
        };
        self.travel(false).await?;
        if self.alive.load(Ordering::SeqCst) {
            let word = lock(&self.world.witness).heard(&reply.payload);
            self.host.extend(&self.world, &word.leases);
        }
        Ok(reply)
    }

    async fn hand_over(&self, id: &str, payload: &Bytes) -> Result<(), LinkError> {
        let me = &self.host.who.name.user_key;
        self.travel(true).await?;
        let stored = lock(&self.world.bus).append(me, id, payload, self.world.now());
        self.world.note(format_args!(
            "bus has a batch {:08x} of host {}, duplicate {}",
            mark(payload),
            self.host.number,
            stored.duplicate
        ));
        self.world.arrived.notify_waiters();
        self.travel(false).await
    }
}

impl Transport for SimLink {
    fn request(
        &self,
        subject: String,
        payload: Bytes,
        wait: Duration,
    ) -> Answer<'_, Result<Reply, LinkError>> {
        Box::pin(async move {
            let asked = tokio::time::timeout(wait, self.ask(&subject, &payload));
            asked
                .await
                .unwrap_or_else(|_| Err(unavailable("no answer in time")))
        })
    }

    fn publish_acked(
        &self,
        _subject: String,
        id: String,
        payload: Bytes,
        wait: Duration,
    ) -> Answer<'_, Result<(), LinkError>> {
        Box::pin(async move {
            // A message that is late for its sender arrives all the same.
            let link = Self {
                world: Arc::clone(&self.world),
                host: Arc::clone(&self.host),
                alive: Arc::clone(&self.alive),
            };
            let (tell, told) = tokio::sync::oneshot::channel();
            self.world.life.spawn_contained("bus.publish", async move {
                // Nobody waits any more: it is on the bus, or lost.
                let _gone = tell.send(link.hand_over(&id, &payload).await);
            });
            match tokio::time::timeout(wait, told).await {
                Ok(Ok(done)) => done,
                Ok(Err(_)) | Err(_) => Err(unavailable("no acknowledgement in time")),
            }
        })
    }

    fn publish_lossy(&self, _subject: String, _payload: Bytes) -> Answer<'_, ()> {
        Box::pin(async {})
    }
}

/// Sends something to an agent that nobody waits for: it may be late, twice, in another order, or never.
pub fn hint(world: &Arc<World>, key: &writ_protocol::nats::UserKey, incoming: &Incoming) {
    for host in world.hosts_of(key) {
        let (delay, is_lost, copies) = {
            let mut bus = lock(&world.bus);
            let (loss, twice) = (bus.weather.hint_loss, bus.weather.twice);
            (
                bus.delay(),
                bus.is_down || bus.chance.hit(loss),
                1 + u64::from(bus.chance.hit(twice)),
            )
        };
        if is_lost {
            continue;
        }
        let (incoming, heard_in) = (incoming.clone(), Arc::clone(world));
        world.life.spawn_contained("bus.hint", async move {
            for _ in 0..copies {
                tokio::time::sleep(delay).await;
                if let Incoming::Wake(bytes, _) = &incoming {
                    let word = lock(&heard_in.witness).heard(bytes);
                    host.extend(&heard_in, &word.leases);
                }
                host.tell(incoming.clone());
            }
        });
    }
}
