//! Service levels at the desk: what happened is gathered in memory, added to the ledger every few seconds, and judged when somebody asks.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use writ_domain::slo::{self as rules, Counts, Slo};
use writ_protocol::time::Timestamp;
use writ_store::Tx;
use writ_store::slo;

use super::view::SloView;
use super::{App, Error};

/// Counts are kept a little longer than the longest window, so that its oldest minute is whole.
const KEPT: Duration = Duration::from_secs(31 * 24 * 3_600);

/// What happened since it was last written down. A controller that is killed loses at most the few seconds in here, and no event of anything else.
#[derive(Debug, Default)]
pub(super) struct Gathered(Mutex<BTreeMap<Slo, Counts>>);

impl Gathered {
    fn note(&self, slo: Slo, counts: Counts) {
        if counts.total == 0 {
            return;
        }
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let one = all.entry(slo).or_default();
        *one = one.plus(counts);
    }

    fn take(&self) -> BTreeMap<Slo, Counts> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl App {
    /// Notes how long events took that a promise is about.
    pub(super) fn note_slo(&self, slo: Slo, took: &[Duration]) {
        let threshold = slo.threshold(self.settings.hello_interval);
        self.slos.note(slo, Counts::of(took, threshold));
    }

    /// Adds to the ledger what happened since the last time; gives what was added.
    ///
    /// # Errors
    /// [`Error`]: it is kept for the next time.
    pub async fn write_slos(&self) -> Result<Vec<(Slo, Counts)>, Error> {
        let all: Vec<(Slo, Counts)> = self.slos.take().into_iter().collect();
        let written = self.add_slos(&all).await;
        if written.is_err() {
            for (slo, counts) in &all {
                self.slos.note(*slo, *counts);
            }
        }
        written.map(|()| all)
    }

    async fn add_slos(&self, all: &[(Slo, Counts)]) -> Result<(), Error> {
        if all.is_empty() {
            return Ok(());
        }
        let now = self.now();
        let mut tx = self.store.begin("slo.write").await?;
        for (slo, counts) in all {
            slo::add(&mut tx, *slo, *counts, now).await?;
        }
        Ok(tx.commit().await?)
    }

    /// Looks how many agents were heard lately, and forgets what is older than every window. Rung once a minute by one controller.
    pub(super) async fn look_at_status(&self, tx: &mut Tx, now: Timestamp) -> Result<Counts, Error> {
        let threshold = Slo::Status.threshold(self.settings.hello_interval);
        let counts = slo::fresh(tx, now.minus(threshold)).await?;
        slo::add(tx, Slo::Status, counts, now).await?;
        slo::prune(tx, now.minus(KEPT)).await?;
        Ok(counts)
    }

    /// Where every promise stands.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn list_slos(&self) -> Result<Vec<SloView>, Error> {
        let (now, windows) = (self.now(), rules::windows());
        let from: Vec<Timestamp> = windows.iter().map(|window| now.minus(*window)).collect();
        let mut tx = self.store.begin("slo.list").await?;
        let found = slo::since(&mut tx, &from).await?;
        tx.commit().await?;
        let of = |slo: Slo, window: Duration| {
            let place = windows.iter().position(|one| *one == window);
            let one = found.iter().find(|(at, of, _)| Some(*at) == place && *of == slo);
            one.map_or_else(Counts::default, |(.., counts)| *counts)
        };
        let view = |slo: Slo| SloView::of(slo, self.settings.hello_interval, &|window| of(slo, window));
        Ok(Slo::ALL.map(view).into())
    }

    /// Where one promise stands.
    ///
    /// # Errors
    /// [`Error`] with code W0003 when there is none of the name.
    pub async fn get_slo(&self, name: &str) -> Result<SloView, Error> {
        let all = self.list_slos().await?;
        all.into_iter()
            .find(|one| one.name == name)
            .ok_or_else(|| Error::not_found("service level", name))
    }
}
