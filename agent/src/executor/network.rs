//! The network that the commands of one order share, and the proxy that stands in it. Made when the order's first command needs it, gone with the
//! order; an order none of whose steps names a destination has nobody in its network to talk to.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use writ_chassis::clock::Clock;
use writ_protocol::exec::Isolation;
use writ_protocol::graph::{Graph, Resource, Spec};
use writ_protocol::id::OrderId;
use writ_protocol::reason::Code;
use writ_sandbox::{Loopback, Sandbox};

use crate::egress::policy::{Asker, Guard, Review};
use crate::egress::{Bounds, DOOR, Proxy, Resolver, Rules, Session};

/// The network of the order under way. One at a time, as there is one order at a time.
#[derive(Debug)]
pub(super) struct Networks {
    resolver: Arc<dyn Resolver>,
    clock: Arc<dyn Clock>,
    guard: Guard,
    present: Mutex<Option<(OrderId, Arc<Network>)>>,
}

/// One order's network.
#[derive(Debug)]
pub(super) struct Network {
    loopback: Arc<Loopback>,
    proxy: Option<Proxy>,
}

/// Why an order has no network.
#[derive(Debug, thiserror::Error)]
pub(super) enum NetworkError {
    /// The host gives none.
    #[error("the order's network cannot be made")]
    Loopback(#[from] writ_sandbox::Error),
    /// The proxy does not start.
    #[error("the proxy of the order's network does not start")]
    Proxy(#[from] std::io::Error),
    /// The host has a policy that cannot be used.
    #[error(
        "the egress policy of this host cannot be used, so no step that names destinations is started: {0}"
    )]
    Policy(String),
}

impl NetworkError {
    pub(super) const fn code(&self) -> Code {
        match self {
            Self::Loopback(error) => error.code(),
            Self::Proxy(_) => Code::Internal,
            Self::Policy(_) => Code::EgressPolicyInvalid,
        }
    }
}

impl Networks {
    pub(super) fn new(resolver: Arc<dyn Resolver>, clock: Arc<dyn Clock>) -> Self {
        Self {
            resolver,
            clock,
            guard: Guard::None,
            present: Mutex::default(),
        }
    }

    pub(super) fn resolving(self, resolver: Arc<dyn Resolver>) -> Self {
        Self { resolver, ..self }
    }

    pub(super) fn guarded(self, guard: Guard) -> Self {
        Self { guard, ..self }
    }

    /// Who is asked about a step's connections beside its plan.
    pub(super) fn review(&self, asker: Asker) -> Option<Review> {
        match &self.guard {
            Guard::Set(policy) => Some(Review {
                policy: Arc::clone(policy),
                asker,
            }),
            Guard::None | Guard::Broken(_) => None,
        }
    }

    fn present(&self) -> MutexGuard<'_, Option<(OrderId, Arc<Network>)>> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The network of an order, made when it is not there yet; none for a resource that runs nothing in one.
    ///
    /// # Errors
    /// [`NetworkError`]; then nothing may be run.
    pub(super) fn of(
        &self,
        order_id: OrderId,
        graph: &Graph,
        resource: &Resource,
        sandbox: &Sandbox,
    ) -> Result<Option<Arc<Network>>, NetworkError> {
        let leads_out = |resource: &Resource| matches!(&resource.spec, Spec::Command(command) if !command.egress.is_empty());
        if let Guard::Broken(why) = &self.guard
            && leads_out(resource)
        {
            return Err(NetworkError::Policy(why.clone()));
        }
        if !matches!(&resource.spec, Spec::Command(command) if command.isolation >= Isolation::Namespaces) {
            return Ok(None);
        }
        let mut present = self.present();
        if let Some((_, network)) = present.as_ref().filter(|(of, _)| *of == order_id) {
            return Ok(Some(Arc::clone(network)));
        }
        let port = graph.resources.iter().any(leads_out).then(|| DOOR.port());
        let (loopback, listener) = sandbox.loopback(port)?;
        let start = |listener| {
            let (resolver, clock) = (Arc::clone(&self.resolver), Arc::clone(&self.clock));
            Proxy::start(listener, resolver, clock, Bounds::default())
        };
        let network = Arc::new(Network {
            loopback: Arc::new(loopback),
            proxy: listener.map(start).transpose()?,
        });
        *present = Some((order_id, Arc::clone(&network)));
        Ok(Some(network))
    }

    /// The network of an order, if it has one.
    pub(super) fn way_out(&self, order_id: OrderId) -> Option<Arc<Network>> {
        let present = self.present();
        let (_, network) = present.as_ref().filter(|(of, _)| *of == order_id)?;
        Some(Arc::clone(network))
    }

    /// Takes an order's network down.
    pub(super) fn forget(&self, order_id: OrderId) {
        let gone = self.present().take_if(|(of, _)| *of == order_id);
        drop(gone);
    }
}

impl Network {
    pub(super) const fn loopback(&self) -> &Arc<Loopback> {
        &self.loopback
    }

    /// Where the proxy listens.
    pub(super) fn door(&self) -> Option<SocketAddr> {
        self.proxy.as_ref().map(|_| DOOR)
    }

    /// Lets a step reach what its plan names; none for a step that names nothing.
    pub(super) fn open(&self, resource: &Resource, review: Option<Review>) -> Option<Session<'_>> {
        let Spec::Command(command) = &resource.spec else {
            return None;
        };
        let proxy = self.proxy.as_ref().filter(|_| !command.egress.is_empty())?;
        Some(proxy.open(Rules {
            destinations: command.egress.clone(),
            review,
        }))
    }
}
