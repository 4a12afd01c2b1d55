//! What a usage tells beside its first figures: memory over time, network, processes, and where each figure comes from.

use serde::{Deserialize, Serialize};

use super::{Meter, Usage};

/// Microseconds in a second.
const SECOND_US: u128 = 1_000_000;

/// Where one figure comes from. Ordered: a later one may miss more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// There was nothing to measure: the network of a step that had none.
    None,
    /// The host's clock since boot.
    Clock,
    /// The agent did the work itself, and knows.
    Agent,
    /// The agent's proxy, which every connection of the step went through.
    Proxy,
    /// The step's own cgroup: nothing escapes it.
    Cgroup,
    /// What the kernel adds up for whoever waits for a process: those that nobody waited for are missing.
    Rusage,
    /// Looks at `/proc` while the step ran: what came and went between two of them is missing.
    Proc,
    /// Worked out from other figures, on the side of more.
    Derived,
    /// Nobody measured it: the figure is 0 and says nothing.
    Unknown,
}

/// Where each figure of a [`Usage`] comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Sources {
    /// Processor time, in user mode and in the kernel.
    pub cpu: Source,
    /// Wall time.
    pub wall: Source,
    /// Peak memory.
    pub peak_memory: Source,
    /// Memory over time.
    pub memory: Source,
    /// Bytes read.
    pub read: Source,
    /// Bytes written.
    pub written: Source,
    /// Bytes over the network.
    pub network: Source,
    /// Most processes.
    pub processes: Source,
}

impl Sources {
    /// The same source for every figure.
    pub const fn all(source: Source) -> Self {
        Self {
            cpu: source,
            wall: source,
            peak_memory: source,
            memory: source,
            read: source,
            written: source,
            network: source,
            processes: source,
        }
    }

    /// Of two readings that became one, the source of each figure that may miss more.
    #[must_use]
    pub fn weaker(self, other: Self) -> Self {
        Self {
            cpu: self.cpu.max(other.cpu),
            wall: self.wall.max(other.wall),
            peak_memory: self.peak_memory.max(other.peak_memory),
            memory: self.memory.max(other.memory),
            read: self.read.max(other.read),
            written: self.written.max(other.written),
            network: self.network.max(other.network),
            processes: self.processes.max(other.processes),
        }
    }
}

/// Figures of a [`Usage`] that agents did not always tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Measured {
    /// Memory held, added up over time: bytes times seconds, rounded up. What memory is priced by, unless its source is [`Source::Unknown`].
    pub memory_byte_seconds: u64,
    /// Bytes sent and received over the network.
    pub network_bytes: u64,
    /// Most processes and threads at once.
    pub processes: u64,
    /// Where each figure of the whole usage comes from.
    pub sources: Sources,
}

impl Measured {
    /// Work that the agent did itself, without a process: it knows its own thread's time and what it wrote.
    pub const fn by_agent() -> Self {
        Self {
            memory_byte_seconds: 0,
            network_bytes: 0,
            processes: 0,
            sources: Sources {
                cpu: Source::Agent,
                wall: Source::Clock,
                written: Source::Agent,
                network: Source::None,
                processes: Source::None,
                ..Sources::all(Source::Unknown)
            },
        }
    }
}

impl Usage {
    /// Memory over time, bytes times microseconds: what was measured, else the peak over the whole time, which is never less.
    pub fn held(&self) -> u128 {
        match &self.measured {
            Some(measured) if measured.sources.memory != Source::Unknown => {
                u128::from(measured.memory_byte_seconds).saturating_mul(SECOND_US)
            }
            _ => u128::from(self.peak_memory_bytes).saturating_mul(u128::from(self.wall_us)),
        }
    }

    /// Adds bytes that went over the network by the agent's proxy.
    pub fn add_network(&mut self, bytes: u64) {
        let nothing_else = Measured {
            memory_byte_seconds: 0,
            network_bytes: 0,
            processes: 0,
            sources: self.sources(),
        };
        let measured = self.measured.get_or_insert(nothing_else);
        measured.network_bytes = measured.network_bytes.saturating_add(bytes);
        measured.sources.network = Source::Proxy;
    }

    /// Where each figure comes from, as far as it is known.
    pub fn sources(&self) -> Sources {
        if let Some(measured) = &self.measured {
            return measured.sources;
        }
        if *self == Self::none(self.meter) {
            return Sources::all(Source::None);
        }
        let of_meter = match self.meter {
            Meter::Cgroup2 => Source::Cgroup,
            Meter::Rusage => Source::Rusage,
            Meter::Agent => Source::Agent,
        };
        Sources {
            cpu: of_meter,
            wall: Source::Clock,
            ..Sources::all(Source::Unknown)
        }
    }

    /// What two usages have beside their first figures when they become one that held so much memory; nothing where neither has it.
    pub(super) fn joined(&self, other: &Self, held: u128, network: fn(u64, u64) -> u64) -> Option<Measured> {
        if self.measured.is_none() && other.measured.is_none() {
            return None;
        }
        let of = |usage: &Self| usage.measured.map_or((0, 0), |m| (m.network_bytes, m.processes));
        let ((ours, our_processes), (theirs, their_processes)) = (of(self), of(other));
        let mut sources = self.sources().weaker(other.sources());
        if sources.memory == Source::Unknown && held > 0 {
            sources.memory = Source::Derived;
        }
        Some(Measured {
            memory_byte_seconds: byte_seconds(held),
            network_bytes: network(ours, theirs),
            processes: our_processes.max(their_processes),
            sources,
        })
    }
}

/// Whole byte-seconds of so many byte-microseconds, rounded up.
pub fn byte_seconds(held: u128) -> u64 {
    u64::try_from(held.div_ceil(SECOND_US)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(memory_byte_seconds: u64, source: Source) -> Usage {
        Usage {
            wall_us: 2_000_000,
            peak_memory_bytes: 1_000,
            measured: Some(Measured {
                memory_byte_seconds,
                network_bytes: 7,
                processes: 3,
                sources: Sources::all(source),
            }),
            ..Usage::none(Meter::Cgroup2)
        }
    }

    #[test]
    fn memory_is_what_was_measured_else_the_peak_over_the_whole_time() {
        assert_eq!(step(5, Source::Cgroup).held(), 5_000_000);
        assert_eq!(step(5, Source::Unknown).held(), 2_000_000_000);
        let early = Usage {
            measured: None,
            ..step(5, Source::Cgroup)
        };
        assert_eq!(early.held(), 2_000_000_000);
    }

    #[test]
    fn what_follows_is_added_and_the_weaker_source_named() {
        let mut sum = Usage::none(Meter::Agent);
        sum.add(&step(5, Source::Cgroup));
        // Nothing takes nothing away from what is known.
        assert_eq!(sum.measured, step(5, Source::Cgroup).measured);
        sum.add(&step(6, Source::Proc));
        let measured = sum.measured.expect("both have it");
        assert_eq!(
            (
                measured.memory_byte_seconds,
                measured.network_bytes,
                measured.processes
            ),
            (11, 14, 3)
        );
        assert_eq!(measured.sources, Sources::all(Source::Proc));
    }

    #[test]
    fn an_agent_that_did_not_measure_is_taken_at_its_peak() {
        let early = Usage {
            measured: None,
            ..step(0, Source::Cgroup)
        };
        let mut sum = early.clone();
        sum.add(&step(5, Source::Cgroup));
        let measured = sum.measured.expect("one has it");
        assert_eq!(measured.memory_byte_seconds, 2_005);
        assert_eq!(
            (measured.sources.memory, measured.sources.network),
            (Source::Derived, Source::Unknown)
        );
        let mut twice = early.clone();
        twice.add(&early);
        assert_eq!(twice.measured, None);
    }

    #[test]
    fn another_reading_of_the_same_work_only_raises() {
        let mut reading = step(5, Source::Cgroup);
        reading.at_least(&step(9, Source::Cgroup));
        let measured = reading.measured.expect("has it");
        assert_eq!((measured.memory_byte_seconds, measured.network_bytes), (9, 7));
        reading.at_least(&Usage::none(Meter::Agent));
        assert_eq!(reading.measured.map(|m| m.memory_byte_seconds), Some(9));
    }

    #[test]
    fn what_early_agents_wrote_is_read_and_written_as_it_was() {
        let text = r#"{"cpuUserUs":1,"cpuSystemUs":2,"wallUs":3,"peakMemoryBytes":4,"readBytes":5,"writtenBytes":6,"outputBytes":7,"meter":"rusage","lowerBound":true}"#;
        let usage: Usage = serde_json::from_str(text).expect("reads");
        assert_eq!(usage.measured, None);
        assert_eq!(serde_json::to_string(&usage).expect("writes"), text);
    }
}
