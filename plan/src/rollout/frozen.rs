//! A rollout in numbers, and what follows from them: how many hosts are begun next, or that none ever is. One rule for every door that carries a plan
//! out on many hosts.

use super::{Rollout, Share};

/// The numbers that a run is held to, all of them hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frozen {
    /// The targets at the start.
    pub targets: u32,
    /// Most at work at once; at least 1.
    pub concurrency: u32,
    /// How many may fail; with one more no further host is begun.
    pub error_threshold: u32,
    /// How many hosts in all are begun before the next are, growing; the last is `targets`. Empty without targets.
    pub waves: Vec<u32>,
}

/// Somebody asks for more than the config allows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{what} {asked} is more than the {allowed} that the config allows for {targets} hosts; ask for less, or change the config and plan again"
)]
pub struct Wider {
    /// Which of them, as it is written in a config.
    pub what: &'static str,
    /// What was asked for, hosts.
    pub asked: u32,
    /// What the config allows, hosts.
    pub allowed: u32,
    /// Of how many.
    pub targets: u32,
}

impl Frozen {
    /// What a rollout comes to for so many targets. Percents are rounded down; `concurrency` and waves are at least one host.
    pub fn of(said: &Rollout, targets: u32) -> Self {
        let concurrency = said.concurrency.map_or(targets, |share| hosts(share, targets));
        let mut waves: Vec<u32> = Vec::new();
        let named = said.waves.iter().map(|wave| hosts(*wave, targets).max(1));
        for wave in named.chain([targets]) {
            let wave = wave.min(targets);
            // Of few hosts two waves may come to the same: then they are one.
            if waves.last().copied().unwrap_or(0) < wave {
                waves.push(wave);
            }
        }
        Self {
            targets,
            concurrency: concurrency.clamp(1, targets.max(1)),
            error_threshold: said
                .error_threshold
                .map_or(0, |share| hosts(share, targets))
                .min(targets),
            waves,
        }
    }

    /// What a config says, as somebody who applies its plan narrows it. A value that the config names can only become smaller; one that it
    /// leaves open is free.
    ///
    /// # Errors
    /// [`Wider`].
    pub fn narrowed(config: &Rollout, asked: &Rollout, targets: u32) -> Result<Self, Wider> {
        let (base, wanted) = (Self::of(config, targets), Self::of(asked, targets));
        let mut next = base.clone();
        if asked.concurrency.is_some() {
            within(
                "concurrency",
                wanted.concurrency,
                config.concurrency.is_some().then_some(base.concurrency),
                targets,
            )?;
            next.concurrency = wanted.concurrency;
        }
        if asked.error_threshold.is_some() {
            let allowed = config.error_threshold.is_some().then_some(base.error_threshold);
            within("error_threshold", wanted.error_threshold, allowed, targets)?;
            next.error_threshold = wanted.error_threshold;
        }
        Ok(next)
    }

    /// What is to be done now.
    pub fn decide(&self, stands: &Standing) -> Decision {
        #[cfg(feature = "planted")]
        let stands = &blinded(*stands);
        if stands.held == 0 {
            return Decision::Wait;
        }
        if stands.failed > u64::from(self.error_threshold) {
            return Decision::Stop;
        }
        let begun = stands.in_flight.saturating_add(stands.over);
        // The first wave that is not over; a wave is over when all of its hosts are.
        let open = self
            .waves
            .iter()
            .map(|wave| u64::from(*wave))
            .find(|wave| stands.over < *wave);
        let in_wave = open.unwrap_or(u64::from(self.targets)).saturating_sub(begun);
        let at_once = u64::from(self.concurrency).saturating_sub(stands.in_flight);
        match in_wave.min(at_once).min(stands.held) {
            0 => Decision::Wait,
            hosts => Decision::Release(hosts),
        }
    }
}

#[cfg(feature = "planted")]
fn blinded(stands: Standing) -> Standing {
    use writ_protocol::planted::{Bug, is};
    let unless = |bug: Bug, count: u64| if is(bug) { 0 } else { count };
    Standing {
        in_flight: unless(Bug::FlightForgotten, stands.in_flight),
        failed: unless(Bug::FailuresForgotten, stands.failed),
        ..stands
    }
}

/// Where the orders of a run stand, as a rollout counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Not their turn yet.
    pub held: u64,
    /// Given to their agents, with no end known.
    pub in_flight: u64,
    /// Ended, or given up.
    pub over: u64,
    /// Of those over, how many failed.
    pub failed: u64,
}

/// What follows for the orders that are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The next so many are given to their agents, the first by name.
    Release(u64),
    /// Nothing; the end of another order, or nobody, brings the next.
    Wait,
    /// Too many failed: none of them is ever begun.
    Stop,
}

/// Hosts that a share of the targets comes to, rounded down.
fn hosts(share: Share, targets: u32) -> u32 {
    match share {
        Share::Count(hosts) => hosts,
        Share::Percent(hundredths) => {
            let hosts = u64::from(targets) * u64::from(hundredths) / 100;
            u32::try_from(hosts).unwrap_or(u32::MAX)
        }
    }
}

fn within(what: &'static str, asked: u32, allowed: Option<u32>, targets: u32) -> Result<(), Wider> {
    match allowed.filter(|allowed| asked > *allowed) {
        Some(allowed) => Err(Wider {
            what,
            asked,
            allowed,
            targets,
        }),
        None => Ok(()),
    }
}
