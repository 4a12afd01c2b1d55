//! One run told: the plan is carried out, everything is healed, and the world has a bounded time to come to rest.

use std::sync::Arc;
use std::time::Duration;

use writ_agent::journal::disk::sim as disk;
use writ_agent::link::Incoming;
use writ_protocol::halt::{HaltAction, Scope};
use writ_protocol::key::SigningKey;
use writ_protocol::manifest::{self, Manifest, OrderKind};

use super::books::Books;
use super::bus::Weather;
use super::check;
use super::desk::{self, NewRun};
use super::host::Host;
use super::keys::{AGENTS, NOTARY};
use super::link::hint;
use super::plan::{Deed, Entry, Plan};
use super::store::Trouble;
use super::world::{World, lock};

/// After the healing, everything is at rest within this.
pub const REST_MAX: Duration = Duration::from_secs(1_500);
/// Between two looks whether it is.
const LOOK: Duration = Duration::from_secs(5);

/// Carries the plan out and checks what came of it.
pub async fn tell(world: &Arc<World>, plan: &Plan, span: Duration) {
    for (number, who) in AGENTS.iter().take(plan.agents).enumerate() {
        let host = Host::new(world, number, who.clone());
        lock(&world.hosts).push(Arc::clone(&host));
    }
    for number in 0..plan.controllers as u64 {
        lock(&world.controllers).push(super::controller::Controller::new(number));
    }
    world.all_controllers().iter().for_each(|c| c.start(world));
    world.all_hosts().iter().for_each(|h| h.start(world));
    let mut run = 0;
    for (place, entry) in plan.entries.iter().copied().enumerate() {
        if matches!(entry.deed, Deed::Order { .. }) {
            run = place as u64;
        }
        let act = Act {
            world: Arc::clone(world),
            entry,
            place: place as u64,
            run,
        };
        world
            .life
            .spawn_contained("deed", async move { act.carry_out().await });
    }
    let watched = Arc::clone(world);
    world.life.spawn_contained("watch", check::behind::watch(watched));
    tokio::time::sleep(span).await;
    heal(world).await;
    rest(world).await;
    world.all_hosts().iter().for_each(|host| host.destroy(world));
    check::afterwards(world);
}

async fn heal(world: &Arc<World>) {
    world.note(format_args!("everything is healed"));
    {
        let mut bus = lock(&world.bus);
        (bus.weather, bus.is_down) = (Weather::default(), false);
    }
    world.store.set_trouble(Trouble::default());
    world.store.set_down(false);
    for controller in world.all_controllers() {
        controller.heal(world);
    }
    for host in world.all_hosts() {
        host.heal(world);
    }
    let numbers: Vec<_> = world
        .store
        .look(|books| books.halts.iter().map(|h| h.halt_id).collect());
    for halt_id in numbers {
        let number = halt_id.as_uuid().as_u64_pair().1;
        lift(world, number);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
}

async fn rest(world: &Arc<World>) {
    if world.is_circling() {
        return world.accuse(
            "I6",
            "the same happens again and again, without an end".to_owned(),
        );
    }
    let until = world.now() + REST_MAX;
    let mut why = String::new();
    while world.now() < until {
        match check::at_rest(world) {
            Ok(()) => {
                world.note(format_args!("everything is at rest"));
                return;
            }
            Err(reason) => why = reason,
        }
        tokio::time::sleep(LOOK).await;
    }
    world.accuse("I6", format!("not at rest {REST_MAX:?} after the healing: {why}"));
}

struct Act {
    world: Arc<World>,
    entry: Entry,
    place: u64,
    run: u64,
}

impl Act {
    async fn carry_out(&self) {
        let Entry { at, deed, .. } = self.entry;
        let age = match deed {
            Deed::Restore { age } | Deed::RollBack { age } | Deed::PutBack { age } => age,
            _ => Duration::ZERO,
        };
        tokio::time::sleep(at.saturating_sub(age)).await;
        let host = self.host();
        let kept = matches!(deed, Deed::PutBack { .. })
            .then(|| host.as_ref().map(|h| h.keep_disk()))
            .flatten();
        match deed {
            Deed::Restore { .. } => self.world.store.keep(self.place),
            Deed::RollBack { .. } => lock(&self.world.bus).keep(self.place),
            _ => {}
        }
        tokio::time::sleep(age.min(at)).await;
        if !matches!(deed, Deed::Order { .. } | Deed::Cancel | Deed::Clone { .. }) {
            lock(&self.world.witness).disturb();
        }
        self.world.note(format_args!("deed {}: {:?}", self.place, deed));
        if let (Deed::PutBack { .. }, Some(host), Some(disk)) = (deed, &host, kept) {
            self.put_back(host, disk);
        }
        self.operate(deed).await;
        self.hurt_agent(deed).await;
        self.hurt_bus(deed).await;
        self.hurt_ledger(deed).await;
        self.attack(deed);
    }

    /// The machine that it is about.
    fn host(&self) -> Option<Arc<Host>> {
        let hosts = self.world.all_hosts();
        let at = self.entry.victim.checked_rem(hosts.len())?;
        hosts.get(at).filter(|host| !host.is_gone()).cloned()
    }

    async fn operate(&self, deed: Deed) {
        let now = self.world.wall();
        match deed {
            Deed::Order {
                check,
                ttl,
                grant,
                spread,
            } => {
                let new = NewRun {
                    number: self.world.seed.wrapping_mul(1_000) + self.place,
                    kind: if check { OrderKind::Check } else { OrderKind::Apply },
                    ttl,
                    grant_micros: grant,
                    spread,
                };
                let witness = &self.world.witness;
                self.world
                    .store
                    .touch(|books| desk::order(books, &mut lock(witness), new, now));
            }
            Deed::Cancel => {
                let number = self.world.seed.wrapping_mul(1_000) + self.run;
                self.world.store.touch(|books| desk::cancel(books, number, now));
            }
            Deed::Halt {
                hard,
                length,
                dropped,
            } => {
                let action = if hard { HaltAction::Hard } else { HaltAction::Soft };
                let set = self
                    .world
                    .store
                    .touch(|books| desk::halt(books, self.place, (Scope::All, action), now));
                self.broadcast(set);
                self.world.dirty.notify_waiters();
                tokio::time::sleep(length / 2).await;
                self.drop_halts(dropped);
                tokio::time::sleep(length / 2).await;
                self.drop_halts(false);
                lift(&self.world, self.place);
            }
            _ => return,
        }
        self.world.dirty.notify_waiters();
    }

    fn drop_halts(&self, drops: bool) {
        lock(&self.world.witness).drop_halts(drops);
        if drops {
            self.world.store.touch(Books::bump_all);
            self.world.dirty.notify_waiters();
        }
    }

    fn broadcast(&self, envelope: Option<Vec<u8>>) {
        broadcast(&self.world, envelope);
    }

    async fn hurt_agent(&self, deed: Deed) {
        let Some(host) = self.host() else { return };
        let world = &self.world;
        match deed {
            Deed::Kill { with_power, away } => host.kill(world, with_power, away),
            Deed::DieAt(boundary) => host.die_at(boundary),
            Deed::CrashDisk { at } => host.plan_disk(disk::Plan {
                crash_at: Some(at),
                ..disk::Plan::default()
            }),
            Deed::FailSync { at } => host.plan_disk(disk::Plan {
                sync_fails_at: Some(at),
                ..disk::Plan::default()
            }),
            Deed::FullDisk { length } => {
                host.set_free(0);
                host.plan_disk(disk::Plan {
                    full_at: Some(4),
                    ..disk::Plan::default()
                });
                tokio::time::sleep(length).await;
                host.set_free(1 << 40);
                host.plan_disk(disk::Plan::default());
            }
            Deed::Rot { draw } => {
                host.rot(world, draw);
                host.kill(world, false, Duration::ZERO);
            }
            Deed::Drain => host.drain(world),
            Deed::Clock { wrong } => host.clock.set_wrong(wrong.saturating_mul(1_000_000)),
            Deed::Cut { length } => {
                host.cut(world, true);
                tokio::time::sleep(length).await;
                host.cut(world, false);
            }
            Deed::Clone { length } => {
                lock(&world.witness).exempt(host.who.name.agent_id);
                let number = lock(&world.hosts).len();
                let copy = host.clone_to(world, number);
                lock(&world.hosts).push(Arc::clone(&copy));
                copy.start(world);
                check::clone_is_noticed(world, &host, length).await;
                copy.destroy(world);
            }
            _ => {}
        }
    }

    fn put_back(&self, host: &Arc<Host>, disk: disk::SimDisk) {
        lock(&self.world.witness).exempt(host.who.name.agent_id);
        host.kill(&self.world, false, Duration::ZERO);
        host.put_back(disk);
    }

    async fn hurt_bus(&self, deed: Deed) {
        let (world, now) = (&self.world, self.world.now());
        match deed {
            Deed::Storm { weather, length } => {
                lock(&world.bus).weather = weather;
                tokio::time::sleep(length).await;
                lock(&world.bus).weather = Weather::default();
            }
            Deed::BusDown { length } => {
                lock(&world.bus).is_down = true;
                world.all_hosts().iter().for_each(|host| host.cut(world, true));
                tokio::time::sleep(length).await;
                {
                    let mut bus = lock(&world.bus);
                    bus.is_down = false;
                    bus.restart(world.now());
                }
                world.all_hosts().iter().for_each(|host| host.cut(world, false));
            }
            Deed::Wipe => lock(&world.bus).wipe(),
            Deed::RollBack { .. } => lock(&world.bus).roll_back(self.place, now),
            Deed::LoseTail { count } => lock(&world.bus).lose_tail(count, now),
            _ => {}
        }
    }

    async fn hurt_ledger(&self, deed: Deed) {
        let world = &self.world;
        let controllers = world.all_controllers();
        let victim = self
            .entry
            .victim
            .checked_rem(controllers.len())
            .and_then(|at| controllers.get(at));
        match deed {
            Deed::Strain { trouble, length } => {
                world.store.set_trouble(trouble);
                tokio::time::sleep(length).await;
                world.store.set_trouble(Trouble::default());
            }
            Deed::StoreDown { length } => {
                world.store.set_down(true);
                tokio::time::sleep(length).await;
                world.store.set_down(false);
            }
            Deed::Restore { .. } => {
                // The runbook: no controller works while the database goes back, and none begins before the epoch is raised.
                for controller in &controllers {
                    controller.kill(world, Duration::from_secs(2));
                }
                if world.store.restore(self.place) {
                    let now = world.wall();
                    world.store.touch(|books| books.raise_epoch(now));
                }
            }
            Deed::KillController { away } => {
                if let Some(controller) = victim {
                    controller.kill(world, away);
                }
            }
            Deed::Pause { length } => {
                if let Some(controller) = victim {
                    controller.pause(world, length);
                }
            }
            _ => {}
        }
    }

    fn attack(&self, deed: Deed) {
        let Some(host) = self.host() else { return };
        let (world, key) = (&self.world, &host.who.name.user_key);
        match deed {
            Deed::Replay => {
                let mut bus = lock(&world.bus);
                if let Some(old) = bus.oldest(key) {
                    bus.overwrite(key, old);
                }
            }
            Deed::Misdirect => self.misdirect(&host),
            Deed::Forge => self.forge(&host),
            Deed::ForgeMark => {
                let forged = Incoming::Mark(b"{\"committed\":{\"upto\":1000000000}}".to_vec().into());
                hint(world, key, &forged);
            }
            _ => return,
        }
        if !matches!(deed, Deed::ForgeMark) {
            // The server tells whatever was put there.
            let put = lock(&world.bus).truth(key).map(<[u8]>::to_vec);
            hint(world, key, &Incoming::Wake(put.unwrap_or_default().into(), None));
        }
    }

    /// A manifest under a later generation that a controller signed for another agent.
    fn misdirect(&self, host: &Host) {
        let other = AGENTS.iter().find(|who| who.name != host.who.name);
        let Some(other) = other.map(|who| &who.name) else {
            return;
        };
        self.send_instead(host, &NOTARY.director, |manifest| {
            (manifest.agent_id, manifest.user_key) = (other.agent_id, other.user_key.clone());
            manifest.at.generation += 1;
        });
    }

    /// The newest manifest of the agent under a later generation, signed by a key that must not sign manifests.
    fn forge(&self, host: &Host) {
        self.send_instead(host, &NOTARY.control, |manifest| {
            manifest.at.generation += 1_000;
        });
    }

    /// Puts a changed manifest into the agent's place on the bus.
    fn send_instead(&self, host: &Host, key: &SigningKey, change: impl FnOnce(&mut Manifest)) {
        let agent = &host.who.name.user_key;
        let mut bus = lock(&self.world.bus);
        let Some(mut manifest) = bus.truth(agent).and_then(check::manifest_of) else {
            return;
        };
        change(&mut manifest);
        let signed = manifest::sign(manifest, key)
            .ok()
            .and_then(|envelope| envelope.to_json().ok());
        if let Some(signed) = signed {
            bus.overwrite(agent, signed);
        }
    }
}

fn lift(world: &Arc<World>, number: u64) {
    let now = world.wall();
    let lifted = world
        .store
        .touch(|books| desk::lift(books, &mut lock(&world.witness), number, now));
    broadcast(world, lifted);
    world.dirty.notify_waiters();
}

fn broadcast(world: &Arc<World>, envelope: Option<Vec<u8>>) {
    let Some(envelope) = envelope else { return };
    for who in AGENTS.iter() {
        let control = Incoming::Control {
            bytes: envelope.clone().into(),
            addressed: false,
        };
        hint(world, &who.name.user_key, &control);
    }
}
