//! Services on a lab host, by scripts of `/etc/init.d` and start-stop-daemon.

use writ_protocol::graph::{OnNotify, Resource, ServiceManager, ServiceSpec, Spec};
use writ_providers::Error;

use super::lab::Lab;
use super::stage::{Stage, step};

const SCRIPT: &str = r"#!/bin/sh
### BEGIN INIT INFO
# Provides: writ-nap
# Required-Start:
# Required-Stop:
# Default-Start: 2 3 4 5
# Default-Stop: 0 1 6
### END INIT INFO
pid=/run/writ-nap.pid
case $1 in
start) start-stop-daemon --start --oknodo --background --make-pidfile --pidfile $pid --exec /bin/sleep -- 1000 ;;
stop) start-stop-daemon --stop --oknodo --remove-pidfile --pidfile $pid ;;
restart) $0 stop; $0 start; echo restarted >> /run/said ;;
reload) echo reloaded >> /run/said ;;
status) start-stop-daemon --status --pidfile $pid; exit $? ;;
esac
";

fn service(running: Option<bool>, enabled: Option<bool>, on_notify: OnNotify) -> Resource {
    let spec = ServiceSpec {
        name: "writ-nap".to_owned(),
        running,
        enabled,
        on_notify,
        manager: Some(ServiceManager::Sysvinit),
    };
    step("service:writ-nap".to_owned(), Spec::Service(spec))
}

fn install(lab: &Lab) {
    std::fs::write(lab.root().join("etc/init.d/writ-nap"), SCRIPT).expect("writes");
    lab.sh("chmod 755 /etc/init.d/writ-nap");
}

#[test]
fn every_state_becomes_every_other_and_daemons_outlive_the_step() {
    let Some(lab) = Lab::start() else { return };
    install(&lab);
    let mut stage = Stage::at(&lab.root());
    let states = [None, Some(false), Some(true)];
    for running in [Some(false), Some(true)] {
        for enabled in [Some(false), Some(true)] {
            for (again, more) in states.iter().flat_map(|a| states.iter().map(move |b| (*a, *b))) {
                stage.converge(&service(running, enabled, OnNotify::Restart));
                stage.converge(&service(again, more, OnNotify::Restart));
            }
        }
    }
    stage.converge(&service(Some(true), Some(true), OnNotify::Restart));
    lab.sh("kill -0 $(cat /run/writ-nap.pid); ls /etc/rc2.d/S*writ-nap");
    stage.converge(&service(Some(false), Some(false), OnNotify::Restart));
    assert!(!lab.try_sh("test -e /run/writ-nap.pid").status.success());
}

#[test]
fn a_notified_service_restarts_or_reloads_once_and_only_if_it_runs() {
    let Some(lab) = Lab::start() else { return };
    install(&lab);
    let mut stage = Stage::at(&lab.root());
    for (on_notify, attribute, said) in [
        (OnNotify::Restart, Some("restart"), "restarted"),
        (OnNotify::Reload, Some("reload"), "reloaded"),
        (OnNotify::Ignore, None, ""),
    ] {
        let resource = service(Some(true), None, on_notify);
        stage.converge(&resource);
        stage.notified = true;
        let changes = stage.changes(&resource).expect("differs");
        let attributes: Vec<&str> = changes.iter().map(|change| change.attribute.as_str()).collect();
        assert_eq!(attributes, attribute.into_iter().collect::<Vec<_>>());
        assert!(
            stage
                .apply(&resource, &changes)
                .expect("applies")
                .failure
                .is_none()
        );
        stage.notified = false;
        assert_eq!(stage.attributes(&resource), Vec::<String>::new());
        assert_eq!(lab.sh("cat /run/said 2>/dev/null; rm -f /run/said"), said);
    }
    stage.converge(&service(Some(false), None, OnNotify::Restart));
    stage.notified = true;
    assert_eq!(
        stage.attributes(&service(None, None, OnNotify::Restart)),
        Vec::<String>::new(),
        "what does not run is not restarted"
    );
    let starts = stage.attributes(&service(Some(true), None, OnNotify::Restart));
    assert_eq!(starts, ["running"], "what starts anyway is not restarted too");
}

#[test]
fn what_is_not_there_or_hangs_is_said() {
    let Some(lab) = Lab::start() else { return };
    let mut stage = Stage::at(&lab.root());
    let resource = service(Some(true), Some(true), OnNotify::Restart);
    assert_eq!(
        stage.attributes(&resource),
        ["enabled", "running"],
        "a plan says what will be"
    );
    let error = stage.refusal(&resource);
    assert!(
        matches!(error, Error::Missing { .. }) && error.to_string().contains("writ-nap"),
        "{error}"
    );
    let off = service(Some(false), Some(false), OnNotify::Restart);
    assert_eq!(
        stage.converge(&off),
        Vec::<String>::new(),
        "what is not there does not run"
    );

    install(&lab);
    lab.sh("sed -i 's/^start).*/start) sleep 60 ;;/' /etc/init.d/writ-nap");
    let mut hangs = service(Some(true), None, OnNotify::Restart);
    hangs.limits.wall_ms = 700;
    let changes = stage.changes(&hangs).expect("differs");
    let failure = stage
        .apply(&hangs, &changes)
        .expect("runs")
        .failure
        .expect("fails");
    assert!(matches!(failure, Error::Limit { .. }), "{failure}");

    lab.sh("sed -i 's/^status).*/status) echo what; exit 64 ;;/' /etc/init.d/writ-nap");
    let error = stage.see(&hangs).expect_err("no answer");
    assert!(error.to_string().contains("status"), "{error}");
}
