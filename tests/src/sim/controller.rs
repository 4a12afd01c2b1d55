//! Controllers: processes without state that hold leases, relay manifests, take batches, sweep, compare the bus with the ledger, and answer agents.
//! What they decide is the product's; when they do it follows `writ_controller::bus` and `writ_controller::tasks`.

mod duties;

pub use duties::generation_of;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use uuid::Uuid;
use writ_chassis::lifecycle::{Lifecycle, LifecycleHandle};
use writ_controller::lease::Held;
use writ_protocol::id::ControllerId;
use writ_protocol::nats::UserKey;
use writ_protocol::reason::Code;
use writ_protocol::subject::Rpc;

use super::books::Books;
use super::desk;
use super::store::Failed;
use super::witness::Witness;
use super::world::{World, lock};

/// How long a stop of a controller waits.
const GRACE: Duration = Duration::from_secs(10);

#[derive(Debug)]
struct State {
    life: Option<LifecycleHandle>,
    lives: u64,
    held: Held,
    paused_until: Duration,
    down_until: Duration,
}

/// One controller.
#[derive(Debug)]
pub struct Controller {
    /// Its number.
    pub number: u64,
    state: Mutex<State>,
}

impl Controller {
    /// A controller that does not run yet.
    pub fn new(number: u64) -> Arc<Self> {
        Arc::new(Self {
            number,
            state: Mutex::new(State {
                life: None,
                lives: 0,
                held: Held::new(ControllerId::from_uuid(Uuid::nil())),
                paused_until: Duration::ZERO,
                down_until: Duration::ZERO,
            }),
        })
    }

    /// Starts it, unless it runs or must not.
    pub fn start(self: &Arc<Self>, world: &Arc<World>) {
        let mut state = lock(&self.state);
        if state.life.is_some() || world.now() < state.down_until {
            return;
        }
        state.lives += 1;
        let holder = ControllerId::from_uuid(Uuid::from_u64_pair(0xc0 + self.number, state.lives));
        state.held = Held::new(holder);
        let handle = Lifecycle::new(GRACE).handle();
        state.life = Some(handle.clone());
        world.note(format_args!(
            "controller {} starts, life {}",
            self.number, state.lives
        ));
        let held = state.held.clone();
        drop(state);
        duties::spawn(world, self, &held, &handle);
    }

    /// It is killed and comes back after `away`.
    pub fn kill(self: &Arc<Self>, world: &Arc<World>, away: Duration) {
        let mut state = lock(&self.state);
        if let Some(life) = state.life.take() {
            life.stop_hard();
        }
        state.down_until = world.now() + away;
        drop(state);
        world.note(format_args!("controller {}: killed", self.number));
        let (world, controller) = (Arc::clone(world), Arc::clone(self));
        world
            .life
            .clone()
            .spawn_contained("controller.restart", async move {
                tokio::time::sleep(away + Duration::from_millis(1)).await;
                controller.start(&world);
            });
    }

    /// It works again.
    pub fn heal(self: &Arc<Self>, world: &Arc<World>) {
        {
            let mut state = lock(&self.state);
            (state.down_until, state.paused_until) = (Duration::ZERO, Duration::ZERO);
        }
        self.start(world);
    }

    /// It stands still for a while and then goes on as if nothing had been.
    pub fn pause(&self, world: &World, length: Duration) {
        world.note(format_args!("controller {}: stands still", self.number));
        lock(&self.state).paused_until = world.now() + length;
    }

    /// A moment in which it may be standing still.
    async fn breath(&self, world: &World) {
        loop {
            let left = lock(&self.state).paused_until.saturating_sub(world.now());
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left).await;
        }
    }

    /// One transaction.
    async fn tx<T>(
        &self,
        world: &World,
        work: impl FnOnce(&mut Books, &mut Witness) -> Result<T, Failed>,
    ) -> Result<T, Failed> {
        self.breath(world).await;
        let done = world
            .store
            .tx(|books| work(books, &mut lock(&world.witness)))
            .await;
        self.breath(world).await;
        done
    }

    /// Whether it runs and does not stand still.
    pub fn is_well(&self, world: &World) -> bool {
        let state = lock(&self.state);
        state.life.is_some() && state.paused_until <= world.now()
    }

    fn life(&self) -> Option<u64> {
        let state = lock(&self.state);
        state.life.as_ref().map(|_| state.lives)
    }
}

/// An answer of some controller to an agent's question: a code where it refuses, nothing where nobody answers.
pub async fn answer(
    world: &Arc<World>,
    rpc: Rpc,
    key: &UserKey,
    bytes: &[u8],
) -> Result<Vec<u8>, Option<Code>> {
    let up: Vec<Arc<Controller>> = world
        .all_controllers()
        .into_iter()
        .filter(|c| c.life().is_some())
        .collect();
    let at = lock(&world.bus).chance.index(up.len());
    let controller = up.get(at).ok_or(None)?;
    let life = controller.life();
    let now = world.wall();
    let answered = controller
        .tx(world, |books, witness| {
            if rpc == Rpc::Hello {
                return Ok(desk::hello(books, witness, (key, bytes), now));
            }
            let id = books.by_key(key).map(|a| a.agent_id);
            let parcel = desk::current(books, witness, id.as_slice(), now).pop();
            Ok(parcel.map(|p| p.envelope).ok_or(Code::NotFound))
        })
        .await;
    if controller.life() != life {
        return Err(None);
    }
    world.dirty.notify_waiters();
    let answered = answered.map_err(|failed| match failed {
        Failed::Unavailable | Failed::CommitUnknown | Failed::Fenced => None,
    })?;
    world.note(format_args!(
        "controller {} answers {rpc:?}: {:?}",
        controller.number,
        answered.as_ref().map(Vec::len)
    ));
    answered.map_err(Some)
}
