//! What a story does in its world: order runs and wait for them, kill and start parts, ask the ledger.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::process::Signal;
use writ_cli::api::{PlanAnswer, Run, Step};
use writ_cli::dev::postgres::{Cluster, DATABASE};
use writ_cli::dev::programs::{Programs, Wanted};
use writ_cli::dev::state::PartKind;
use writ_plan::compile::Sources;

use super::{LONG, SHORT, World, eventually};

/// A step that goes on until there is a file `go`, and one after it; each leaves a line whenever it is started.
pub const TWO_STEPS: &str = r#"
  - command: first
    argv: [sh, -c, "echo x >> @/first; until [ -e @/go ]; do sleep 0.05; done"]
    creates: "@/first"
  - command: second
    argv: [sh, -c, "echo x >> @/second"]
    creates: "@/second"
    depends_on: ["command:first"]
"#;

impl World {
    /// A config of resources for every agent: YAML of the list's items, with `@` for the story's folder.
    pub fn config(&self, resources: &str) -> String {
        let head = "version: 1\nproject: story\ntargets: { labels: { env: dev } }\n\
                    limits: { cpu: 30s, memory: 512MiB, wall: 60s, processes: 64 }\nresources:\n";
        format!("{head}{}", resources.replace('@', &self.place()))
    }

    /// Checks, plans, applies, and waits for the end.
    ///
    /// # Errors
    /// When a run does not end in time, or the check fails.
    pub fn run(&self, resources: &str) -> anyhow::Result<Run> {
        let run = self.apply_no_wait(resources)?;
        self.end_of(&run.id)
    }

    /// Checks every agent against a config and gives the plan.
    ///
    /// # Errors
    /// When the check does not succeed.
    pub fn check(&self, resources: &str) -> anyhow::Result<PlanAnswer> {
        self.check_config(self.config(resources))
    }

    /// Checks every agent against a whole config and gives the plan.
    ///
    /// # Errors
    /// As [`World::check`].
    pub fn check_config(&self, text: String) -> anyhow::Result<PlanAnswer> {
        let sources = Sources {
            config_name: "story.yaml".to_owned(),
            config_text: text,
            files: BTreeMap::new(),
        };
        let client = self.client()?;
        let run = self.end_of(&client.submit_check(&sources)?.id)?;
        if !run.has_succeeded() {
            bail!("the check ended {}: {:?}", run.state, run.orders);
        }
        client.plan_of(&run.id)
    }

    /// Checks, plans, and orders the plan to be carried out.
    ///
    /// # Errors
    /// As [`World::check`].
    pub fn apply_no_wait(&self, resources: &str) -> anyhow::Result<Run> {
        let plan = self.check(resources)?;
        self.client()?.submit_apply(&plan.digest)
    }

    /// Waits until a run is over.
    ///
    /// # Errors
    /// When it is not within the longer patience.
    pub fn end_of(&self, run: &str) -> anyhow::Result<Run> {
        self.wait_state(run, Run::is_over, LONG)
    }

    /// Waits until a run is as it should be.
    ///
    /// # Errors
    /// When it is not in time; its last state is in the error.
    pub fn wait_state(
        &self,
        run: &str,
        is_so: impl Fn(&Run) -> bool,
        patience: Duration,
    ) -> anyhow::Result<Run> {
        let mut last = None;
        let seen = eventually(run, patience, || {
            // A controller that is down for a moment is part of many a story.
            last = self.client().and_then(|client| client.run(run)).ok();
            last.clone().filter(|run| is_so(run))
        });
        seen.with_context(|| format!("the run stood at {last:?}"))
    }

    /// Steps of a run.
    ///
    /// # Errors
    /// When the API does not answer.
    pub fn steps(&self, run: &Run) -> anyhow::Result<Vec<Step>> {
        self.client()?.steps(&run.id)
    }

    /// Waits until a file in the story's folder has so many lines.
    ///
    /// # Errors
    /// When it does not in time.
    pub fn wait_lines(&self, name: &str, lines: usize) -> anyhow::Result<()> {
        let what = format!("{lines} lines in {name}");
        eventually(&what, SHORT, || (self.lines(name) >= lines).then_some(()))
    }

    /// Waits until a part's log says something.
    ///
    /// # Errors
    /// When it does not in time.
    pub fn wait_log(&self, part: &str, text: &str) -> anyhow::Result<()> {
        let log = self.stack.layout().log(part);
        eventually(&format!("{text:?} in the log of {part}"), SHORT, || {
            let bytes = std::fs::read(&log).unwrap_or_default();
            String::from_utf8_lossy(&bytes).contains(text).then_some(())
        })
    }

    /// Puts a file into the story's folder: steps that wait for it see it whole or not at all.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, name: &str, text: &str) -> anyhow::Result<()> {
        let (file, half) = (self.file(name), self.file(&format!("{name}.half")));
        std::fs::write(&half, text)?;
        Ok(std::fs::rename(half, file)?)
    }

    /// Kills a part at once.
    ///
    /// # Errors
    /// When it does not end.
    pub fn kill(&mut self, part: &str) -> anyhow::Result<()> {
        self.stack.kill(part)
    }

    /// Stops a part politely.
    ///
    /// # Errors
    /// When it does not end.
    pub fn stop(&mut self, part: &str) -> anyhow::Result<()> {
        self.stack.stop(part)
    }

    /// Asks a part to end, as its host does, and does not wait for it.
    pub fn terminate(&self, part: &str) {
        self.stack.signal(part, Signal::TERM);
    }

    /// Starts a part again.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start_part(&mut self, part: &str) -> anyhow::Result<()> {
        self.stack.start(part)
    }

    /// Gives an agent's host a policy for where steps may reach, and starts the agent again with it.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn set_egress_policy(&mut self, agent: &str, policy: &Path) -> anyhow::Result<()> {
        self.configure(agent, "egress", serde_json::json!({ "policy": policy }))
    }

    /// Changes one entry of an agent's configuration, and starts the agent again with it.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn configure(&mut self, agent: &str, key: &str, value: serde_json::Value) -> anyhow::Result<()> {
        let file = self.stack.layout().agent(agent).join("agent.yaml");
        let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(&file)?)?;
        config
            .as_object_mut()
            .context("the configuration is an object")?
            .insert(key.to_owned(), value);
        self.stop(agent)?;
        std::fs::write(&file, serde_json::to_vec_pretty(&config)?)?;
        self.start_part(agent)
    }

    /// Changes one entry of a controller's configuration, and starts the controller again with it.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn configure_controller(
        &mut self,
        controller: &str,
        key: &str,
        value: serde_json::Value,
    ) -> anyhow::Result<()> {
        let file = self.stack.layout().root().join(format!("{controller}.yaml"));
        let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(&file)?)?;
        config
            .as_object_mut()
            .context("the configuration is an object")?
            .insert(key.to_owned(), value);
        self.stop(controller)?;
        std::fs::write(&file, serde_json::to_vec_pretty(&config)?)?;
        self.start_part(controller)
    }

    /// The names of all controllers.
    pub fn controllers(&self) -> Vec<String> {
        let parts = self.stack.state().parts.iter();
        parts
            .filter(|part| part.kind == PartKind::Controller)
            .map(|part| part.name.clone())
            .collect()
    }

    /// Freezes a part: it lives and does nothing.
    pub fn freeze(&self, part: &str) {
        self.stack.signal(part, Signal::STOP);
    }

    /// Lets a frozen part go on.
    pub fn thaw(&self, part: &str) {
        self.stack.signal(part, Signal::CONT);
    }

    /// Loses everything that the bus holds.
    ///
    /// # Errors
    /// When the bus does not come up again.
    pub fn wipe_bus(&mut self) -> anyhow::Result<()> {
        self.stack.wipe_bus()
    }

    /// Rows of a query on the ledger, columns parted by `|`.
    ///
    /// # Errors
    /// When the database refuses it.
    pub fn db(&self, sql: &str) -> anyhow::Result<Vec<String>> {
        let programs = Programs::find(&Wanted {
            no_nats: true,
            no_controller: true,
            ..Wanted::default()
        })?;
        let mut psql = Cluster::of(self.stack.layout())?.psql(&programs, DATABASE)?;
        let output = psql
            .args(["--tuples-only", "--no-align", "--command", sql])
            .output()
            .context("starting psql")?;
        if !output.status.success() {
            bail!("psql: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        let text = String::from_utf8(output.stdout)?;
        Ok(text.lines().map(str::to_owned).collect())
    }
}
