//! Precedence and refusals, with a service that has every kind of setting.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use sea_orm_migration::MigrationTrait;
use secrecy::SecretString;

use super::load::{Environment, load};
use super::*;

#[derive(Args, Clone, Debug)]
struct Config {
    #[command(flatten)]
    base: BaseArgs,
    #[command(flatten)]
    pool: PoolArgs,
    /// cargo sets this variable for tests, so that no test has to set one.
    #[arg(long, env = "CARGO_PKG_NAME", default_value = "by default")]
    marked: String,
    #[arg(long, env = "CTMS_TEST_TOKEN", hide_env_values = true)]
    push_token: Option<SecretString>,
    #[arg(long)]
    dry_push: bool,
}

impl ServiceConfig for Config {
    const INFO: ServiceInfo = ServiceInfo {
        name: "test-srv",
        version: "1.2.3",
        about: "A service for tests",
        defaults: &[("grpc-listen", "127.0.0.1:50099"), ("database-url", "sqlite://test.db")],
    };

    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        Vec::new()
    }

    fn base(&self) -> &BaseArgs {
        &self.base
    }

    fn check(&self, problems: &mut Problems) {
        self.pool.check(&self.base, problems);
    }
}

fn loaded(environment: Environment, flags: &[&str]) -> Result<Loaded<Config>, ConfigError> {
    let args = std::iter::once("test-srv").chain(flags.iter().copied()).map(OsString::from);
    load::<Config>(args, environment)
}

fn refused(flags: &[&str]) -> String {
    loaded(Environment::Ignore, flags).expect_err("this configuration cannot work").to_string()
}

/// A file in a folder that lives as long as the first value.
fn file(name: &str, text: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path: PathBuf = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    (folder, path.to_str().unwrap().to_owned())
}

#[test]
fn the_command_is_well_formed() {
    super::load::command::<Config>(Environment::Read).debug_assert();
}

#[test]
fn a_service_replaces_the_groups_defaults() {
    let config = loaded(Environment::Ignore, &[]).unwrap().config;
    assert_eq!(config.base.grpc.grpc_listen.port(), 50099);
    assert_eq!(config.base.admin.admin_listen.port(), 8081, "what it does not name stays");
    assert_eq!(config.base.database.shown_url(), "sqlite://test.db");
}

#[test]
fn flag_beats_environment_beats_file_beats_default() {
    let (_folder, path) = file("ctms.toml", "marked = 'by file'\n");
    let marked = |environment, flags: &[&str]| loaded(environment, flags).unwrap().config.marked;
    assert_eq!(marked(Environment::Ignore, &[]), "by default");
    assert_eq!(marked(Environment::Ignore, &["--config", &path]), "by file");
    assert_eq!(marked(Environment::Read, &["--config", &path]), "service-kit");
    assert_eq!(marked(Environment::Read, &["--config", &path, "--marked", "by flag"]), "by flag");
}

#[test]
fn a_yaml_file_sets_every_kind_of_setting() {
    let (_folder, path) = file(
        "ctms.yaml",
        "grpc:\n  listen: 0.0.0.0:7000\n  reflection: false\ndry_push: true\npush-token: hunter2\nkafka:\n  property:\n    security.protocol: SSL\npool_workers: 7\n",
    );
    let config = loaded(Environment::Ignore, &["--config", &path]).unwrap().config;
    assert_eq!(config.base.grpc.grpc_listen.port(), 7000);
    assert!(!config.base.grpc.grpc_reflection && config.dry_push);
    assert_eq!(config.base.kafka.properties().unwrap(), [("security.protocol".to_owned(), "SSL".to_owned())]);
    assert_eq!(config.pool.pool_workers, 7);
    assert!(!format!("{config:?}").contains("hunter2"), "secrets are not in Debug");
}

#[test]
fn the_files_values_meet_the_flags_own_parsers_and_all_problems_come_at_once() {
    let (_folder, path) = file(
        "ctms.toml",
        "grpc-listn = '1'\npool-workers = 'many'\npush-token = ['hunter2']\n[shutdown]\ngrace = '10'\n[database]\nurl = 'mysql://u:s3cret@h/d'\n",
    );
    let text = refused(&["--config", &path, "--pool-max-batch", "0"]);
    for expected in [
        "key \"grpc-listn\": no such setting; did you mean \"grpc-listen\"?",
        "key \"pool-workers\": invalid value 'many'",
        "key \"push-token\": it takes one value",
        "key \"shutdown-grace\": invalid value '10'",
        "--database-url: \"mysql://u:***@h/d\" is neither",
        "--pool-max-batch: 0 would",
    ] {
        assert!(text.contains(expected), "{expected:?} is missing in:\n{text}");
    }
    assert!(text.contains(&path), "{text}");
    assert!(!text.contains("s3cret") && !text.contains("hunter2"), "{text}");
}

#[test]
fn combinations_that_lose_work_are_refused_with_the_remedy() {
    let text = refused(&["--pool-drain-timeout", "30s"]);
    assert!(text.contains("--pool-drain-timeout") && text.contains("make the grace longer"), "{text}");
    let text = refused(&["--pool-handler-timeout", "5s"]);
    assert!(text.contains("--database-transaction-timeout"), "{text}");
    let text = refused(&["--kafka-property", "enable.auto.offset.store=true", "--kafka-brokers", "kafka"]);
    assert!(text.contains("delivery guarantees") && text.contains("\"kafka\" is no HOST:PORT"), "{text}");
}

#[test]
fn a_missing_file_and_an_unknown_extension_are_named() {
    assert!(
        refused(&["--config", "/nowhere/ctms.toml"]).contains("cannot read the configuration file /nowhere/ctms.toml")
    );
    let (_folder, path) = file("ctms.ini", "");
    assert!(refused(&["--config", &path]).contains("name it .toml, .yaml or .yml"));
}

#[test]
fn the_effective_configuration_hides_secrets_and_can_be_read_again() {
    let flags = ["--push-token", "hunter2", "--database-url", "postgres://epro:s3cret@db/epro", "--pool-workers", "9"];
    let flags = [&flags[..], &["--kafka-property", "sasl.password=pw1234", "--kafka-property", "linger.ms=5"]].concat();
    let shown = loaded(Environment::Ignore, &flags).unwrap().shown();
    for secret in ["hunter2", "s3cret", "pw1234"] {
        assert!(!shown.contains(secret), "{shown}");
    }
    assert!(shown.lines().any(|line| line.starts_with("pool-workers = \"9\"") && line.ends_with("# flag")), "{shown}");
    let (_folder, path) = file("again.toml", &shown);
    let again = loaded(Environment::Ignore, &["--config", &path]).unwrap().config;
    assert_eq!(again.pool.pool_workers, 9);
    assert_eq!(again.base.kafka.properties().unwrap().len(), 2);
}

#[test]
fn help_is_no_failure_and_names_flags_and_variables() {
    let error = loaded(Environment::Ignore, &["--help"]).unwrap_err();
    let ConfigError::Usage(usage) = error else { panic!("help is clap's to print") };
    assert_eq!(usage.exit_code(), 0);
    let help = super::load::command::<Config>(Environment::Read).render_long_help().to_string();
    for expected in ["migrate", "healthcheck", "--check-config", "CTMS_GRPC_LISTEN", "CTMS_POOL_WORKERS", "Worker pool"]
    {
        assert!(help.contains(expected), "{expected} is missing in:\n{help}");
    }
}
