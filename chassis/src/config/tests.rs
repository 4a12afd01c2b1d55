//! Loading as a process does it: a real file, real environment variables.

use figment::Jail;
use serde::Deserialize;

use super::*;

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Example {
    name: String,
    workers: u16,
    log: crate::telemetry::LogConfig,
    password: Option<Secret<String>>,
    servers: Vec<String>,
}

impl Default for Example {
    fn default() -> Self {
        Self {
            name: "unnamed".to_owned(),
            workers: 4,
            log: crate::telemetry::LogConfig::default(),
            password: None,
            servers: Vec::new(),
        }
    }
}

/// Runs `test` in a directory of its own with its own environment, holding `writ.yaml` with `yaml`.
#[expect(clippy::result_large_err, reason = "the closure's type is the jail's")]
fn with_file(yaml: &str, test: impl FnOnce(&mut Jail)) {
    Jail::expect_with(|jail| {
        jail.clear_env();
        jail.create_file("writ.yaml", yaml)?;
        test(jail);
        Ok(())
    });
}

fn load_file() -> Result<Example, ConfigError> {
    load(Some(Path::new("writ.yaml")), "WRIT_")
}

fn refusal() -> String {
    load_file().expect_err("refused").to_string()
}

#[test]
fn the_environment_beats_the_file_and_the_file_beats_the_defaults() {
    with_file("name: from-file\nworkers: 8\nlog:\n  format: text\n", |jail| {
        jail.set_env("WRIT_WORKERS", "16");
        jail.set_env("WRIT_LOG__LEVEL", "debug");
        jail.set_env("WRIT_SERVERS", "[nats://a, nats://b]");
        jail.set_env("WRIT_CONFIG", "writ.yaml");
        jail.set_env("OTHER_NAME", "not ours");
        let config = load_file().expect("loads");
        assert_eq!((config.name.as_str(), config.workers), ("from-file", 16));
        assert_eq!(config.log.format, crate::telemetry::LogFormat::Text);
        assert_eq!(config.log.level, crate::telemetry::LogLevel::Debug);
        assert_eq!(config.servers, ["nats://a", "nats://b"]);
    });
}

#[test]
fn no_file_and_an_empty_file_give_the_defaults() {
    with_file("# nothing set\n", |_| {
        assert_eq!(load_file().expect("loads").workers, 4);
        assert_eq!(load::<Example>(None, "WRIT_").expect("loads").name, "unnamed");
    });
}

#[test]
fn a_file_that_was_asked_for_must_exist() {
    with_file("", |_| {
        let error = load::<Example>(Some(Path::new("absent.yaml")), "WRIT_").expect_err("refused");
        assert_eq!(error.to_string(), "cannot read absent.yaml");
    });
}

#[test]
fn a_misspelt_key_is_refused_by_name_and_place() {
    with_file("log:\n  levle: debug\n", |_| {
        let text = refusal();
        assert!(
            text.contains("value log.levle, set in") && text.contains("writ.yaml"),
            "{text}"
        );
        assert!(text.contains("remove it or use `format` or `level`"), "{text}");
    });
    with_file("", |jail| {
        jail.set_env("WRIT_WORKER", "3");
        let text = refusal();
        assert!(
            text.contains("value worker, ") && text.contains("`workers`"),
            "{text}"
        );
    });
}

#[test]
fn a_wrong_value_is_refused_by_name_and_place() {
    with_file("workers: many\n", |_| {
        let text = refusal();
        assert!(
            text.contains("value workers, set in") && text.contains("writ.yaml"),
            "{text}"
        );
    });
    with_file("workers: 8\n", |jail| {
        jail.set_env("WRIT_LOG__LEVEL", "loud");
        let text = refusal();
        assert!(
            text.contains("value log.level, set in the environment variable WRIT_LOG__LEVEL"),
            "{text}"
        );
    });
}

#[test]
fn broken_yaml_is_refused_with_its_line() {
    with_file("name: a\nworkers: [1\n", |_| {
        let error = load_file().expect_err("refused");
        let text = crate::telemetry::ErrorChain(&error).to_string();
        assert!(
            text.starts_with("writ.yaml is not a YAML mapping: ") && text.contains("line"),
            "{text}"
        );
    });
    with_file("- a list\n", |_| {
        assert!(matches!(load_file(), Err(ConfigError::Yaml { .. })));
    });
}

#[test]
fn a_key_set_twice_is_refused() {
    with_file("workers: 1\nworkers: 2\n", |_| {
        assert!(matches!(load_file(), Err(ConfigError::Yaml { .. })));
    });
}

#[test]
fn an_endless_file_is_refused_at_its_bound() {
    with_file("", |_| {
        let error = load::<Example>(Some(Path::new("/dev/zero")), "WRIT_").expect_err("refused");
        assert!(
            matches!(
                error,
                ConfigError::TooLarge {
                    limit: FILE_BYTES_MAX,
                    ..
                }
            ),
            "{error}"
        );
    });
}

#[test]
fn a_secret_never_prints() {
    with_file("password: hunter2\n", |jail| {
        let config = load_file().expect("loads");
        let password = config.password.as_ref().expect("set");
        assert_eq!(password.expose(), "hunter2");
        assert_eq!(format!("{password} {password:?}"), "[redacted] [redacted]");
        assert!(!format!("{config:?}").contains("hunter2"));
        assert_eq!(
            serde_json::to_string(password).expect("serialises"),
            "\"[redacted]\""
        );
        jail.set_env("WRIT_PASSWORD", "987654321");
        let text = refusal();
        assert!(text.contains("password") && !text.contains("987654321"), "{text}");
    });
}

#[test]
fn a_secret_file_loses_its_line_end_only() {
    with_file("", |jail| {
        jail.create_file("token", " two words \n\n").expect("written");
        assert_eq!(
            read_secret_file(Path::new("token")).expect("reads").expose(),
            " two words "
        );
    });
}
