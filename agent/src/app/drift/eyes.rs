//! The task that has the kernel tell of changes, beside the loop.

use std::sync::Arc;

use tokio::sync::watch;

use super::super::{Agent, Event};
use crate::drift::{Eyes, Noticed, Places, Settings};

impl Agent {
    pub(super) fn open_eyes(&self, settings: Settings) -> Option<watch::Sender<Arc<Places>>> {
        let eyes = settings.events.then(Eyes::open)?;
        let mut eyes = match eyes {
            Ok(eyes) => eyes,
            Err(error) => {
                tracing::warn!(%error, "the kernel tells of no changes; the host is looked at by interval only");
                return None;
            }
        };
        let (sender, mut places) = watch::channel(Arc::new(Places::default()));
        let (report, lifecycle) = (self.report.clone(), self.lifecycle.clone());
        self.lifecycle.spawn_contained("agent.eyes", async move {
            loop {
                let noticed = tokio::select! {
                    () = lifecycle.stopping() => return,
                    changed = places.changed() => {
                        if changed.is_err() {
                            return;
                        }
                        let wanted = Arc::clone(&places.borrow_and_update());
                        let noticed = eyes.set(&wanted);
                        if eyes.refused() > 0 {
                            tracing::warn!(
                                refused = eyes.refused(),
                                "the kernel watches no more files for this user (fs.inotify.max_user_watches); the others are looked at by interval only"
                            );
                        }
                        Ok(noticed)
                    }
                    noticed = eyes.noticed() => noticed,
                };
                let has_failed = noticed.is_err();
                let noticed = noticed.unwrap_or_else(|error| {
                    tracing::error!(%error, "the kernel tells of no more changes; the host is looked at by interval only");
                    Noticed { missed: true, ..Noticed::default() }
                });
                if report.send(Event::Noticed(noticed)).await.is_err() || has_failed {
                    return;
                }
            }
        });
        Some(sender)
    }
}
