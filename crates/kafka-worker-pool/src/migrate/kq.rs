//! From go-queue's `kq`: reads the YAML that configures it (`kq.KqConf`, v1.2.2) and says for each key what it becomes here, or why nothing.
//!
//! ```
//! let kq = kafka_worker_pool::migrate::kq::read("
//! Name: orders
//! Brokers: [127.0.0.1:9092]
//! Group: billing
//! Topic: orders
//! Offset: first
//! Processors: 32
//! ")?;
//! for note in &kq.notes {
//!     println!("{note}");
//! }
//! let pool = kq.builder(); // .handler(..).start()
//! # Ok::<(), kafka_worker_pool::migrate::kq::KqError>(())
//! ```

use std::fmt;

use serde_json::{Map, Value};

use crate::builder::{Builder, KafkaWorkerPool};
use crate::options::{Options, Start};

/// A configuration of `kq`, read.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Kq {
    /// `Brokers`, comma separated.
    pub brokers: String,
    /// `Group`.
    pub group: String,
    /// `Topic`.
    pub topic: String,
    /// All the rest, as far as it has a counterpart.
    pub options: Options,
    /// Each key of the file, and each default of `kq` that matters, with what became of it.
    pub notes: Vec<Note>,
}

/// What became of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Note {
    /// The key, as `kq` writes it.
    pub key: &'static str,
    /// Its value; a password is not shown.
    pub value: String,
    /// What it became.
    pub becomes: Becomes,
}

/// What a key becomes here.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Becomes {
    /// Something that can be set here, with its value.
    Option(String),
    /// Nothing, and why.
    Nothing(&'static str),
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.becomes {
            Becomes::Option(option) => write!(f, "{}: {} becomes {option}", self.key, self.value),
            Becomes::Nothing(why) => write!(f, "{}: {} has no counterpart: {why}", self.key, self.value),
        }
    }
}

/// Why a text is no configuration of `kq`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KqError {
    /// No YAML, or no table of keys.
    #[error("no YAML with the keys of a kq configuration: {0}")]
    Yaml(String),
    /// A key `kq` does not have. It would ignore it.
    #[error("{key:?} is no key of kq v1.2.2; its keys are {}", KEYS.join(", "))]
    Unknown {
        /// The key.
        key: String,
    },
    /// A key without which nothing can be read.
    #[error("{key} is missing; kq needs it too")]
    Missing {
        /// The key.
        key: &'static str,
    },
    /// A value that is not of the key's kind.
    #[error("{key}: {value} is not {expected}")]
    Value {
        /// The key.
        key: &'static str,
        /// What was found.
        value: String,
        /// What is expected.
        expected: &'static str,
    },
}

/// Keys of `kq.KqConf` and of the `service.ServiceConf` in it.
pub(super) const KEYS: [&str; 21] = [
    "Name",
    "Log",
    "Mode",
    "MetricsUrl",
    "Prometheus",
    "Telemetry",
    "DevServer",
    "Brokers",
    "Group",
    "Topic",
    "CaFile",
    "Offset",
    "Conns",
    "Consumers",
    "Processors",
    "MinBytes",
    "MaxBytes",
    "Username",
    "Password",
    "ForceCommit",
    "CommitInOrder",
];

/// What `kq` uses where the file says nothing, as far as it matters.
const DEFAULTS: [(&str, &str); 6] = [
    ("Offset", "last"),
    ("Conns", "1"),
    ("Consumers", "8"),
    ("Processors", "8"),
    ("ForceCommit", "true"),
    ("CommitInOrder", "false"),
];

/// Reads the YAML of one `kq` queue: the whole file, or the part of a service's file that holds it. Keys are taken in any case, as `kq` does.
pub fn read(yaml: &str) -> Result<Kq, KqError> {
    let parsed: Value = serde_saphyr::from_str(yaml).map_err(|error| KqError::Yaml(error.to_string()))?;
    let Value::Object(found) = parsed else {
        return Err(KqError::Yaml("it is no table of keys".to_owned()));
    };
    let mut given = Map::new();
    for (key, value) in found {
        let known = KEYS.into_iter().find(|known| known.eq_ignore_ascii_case(&key));
        let known = known.ok_or(KqError::Unknown { key })?;
        given.insert(known.to_owned(), value);
    }
    Reader { given, notes: Vec::new() }.read()
}

impl Kq {
    /// A pool with all of it; what is left to give is the handler.
    pub fn builder(&self) -> Builder<()> {
        KafkaWorkerPool::builder(&self.brokers, &self.group).topics([&self.topic]).options(self.options.clone())
    }
}

struct Reader {
    given: Map<String, Value>,
    notes: Vec<Note>,
}

impl Reader {
    fn read(mut self) -> Result<Kq, KqError> {
        let mut options = Options::default();
        let brokers = self.brokers()?;
        self.becomes("Brokers", &brokers, "the brokers of the builder");
        let group = self.text("Group")?.ok_or(KqError::Missing { key: "Group" })?;
        self.becomes("Group", &group, "the group of the builder");
        let topic = self.text("Topic")?.ok_or(KqError::Missing { key: "Topic" })?;
        self.becomes("Topic", &topic, "Builder::topics");
        if let Some(name) = self.text("Name")? {
            self.becomes("Name", &name, "Options::client_id");
            options.client_id = Some(name);
        }
        self.start(&mut options)?;
        self.concurrency(&mut options)?;
        self.fetches(&mut options)?;
        self.security(&mut options)?;
        self.commits()?;
        self.of_the_service();
        Ok(Kq { brokers, group, topic, options, notes: self.notes })
    }

    fn brokers(&self) -> Result<String, KqError> {
        let value = self.given.get("Brokers").ok_or(KqError::Missing { key: "Brokers" })?;
        let all = value.as_array().filter(|brokers| !brokers.is_empty());
        let all = all.and_then(|brokers| brokers.iter().map(Value::as_str).collect::<Option<Vec<_>>>());
        all.map(|brokers| brokers.join(",")).ok_or_else(|| wrong("Brokers", value, "a list of host:port"))
    }

    fn start(&mut self, options: &mut Options) -> Result<(), KqError> {
        let offset = self.text("Offset")?;
        options.start = match offset.as_deref() {
            Some("first") => Start::Earliest,
            None | Some("last") => Start::Latest,
            Some(other) => return Err(wrong("Offset", &other.into(), "first or last")),
        };
        self.becomes_or_default("Offset", offset, format!("Options::start = {:?}", options.start));
        Ok(())
    }

    fn concurrency(&mut self, options: &mut Options) -> Result<(), KqError> {
        let conns = self.count("Conns")?;
        let processors = self.count("Processors")?;
        options.workers = (conns.unwrap_or(1).max(1)).saturating_mul(processors.unwrap_or(8).max(1));
        let becomes = format!("Options::workers = {} (Conns × Processors, by which kq works)", options.workers);
        self.becomes_or_default("Processors", processors.map(|count| count.to_string()), becomes);
        let why = "one member of the group reads all its partitions; kq has a reader for each";
        self.nothing_or_default("Conns", conns.map(|count| count.to_string()), why);
        let consumers = self.count("Consumers")?.map(|count| count.to_string());
        let why = "one thread takes records from the client in batches; kq has goroutines that take them one by one";
        self.nothing_or_default("Consumers", consumers, why);
        Ok(())
    }

    fn fetches(&mut self, options: &mut Options) -> Result<(), KqError> {
        for (key, property) in [("MinBytes", "fetch.min.bytes"), ("MaxBytes", "fetch.message.max.bytes")] {
            if let Some(bytes) = self.count(key)? {
                options.client.insert(property.to_owned(), bytes.to_string());
                self.becomes(key, &bytes.to_string(), &format!("Options::client[\"{property}\"]"));
            }
        }
        Ok(())
    }

    fn security(&mut self, options: &mut Options) -> Result<(), KqError> {
        let (username, password) = (self.text("Username")?, self.text("Password")?);
        let authority = self.text("CaFile")?;
        let has_sasl = match (&username, &password) {
            (Some(username), Some(password)) => {
                for (property, value) in
                    [("sasl.mechanism", "PLAIN"), ("sasl.username", username), ("sasl.password", password)]
                {
                    options.client.insert(property.to_owned(), value.to_owned());
                }
                self.becomes("Username", username, "Options::client[\"sasl.username\"], mechanism PLAIN");
                self.becomes("Password", "***", "Options::client[\"sasl.password\"]");
                true
            }
            (None, None) => false,
            // kq would go on without either.
            (Some(_), None) => return Err(KqError::Missing { key: "Password" }),
            (None, Some(_)) => return Err(KqError::Missing { key: "Username" }),
        };
        if let Some(file) = &authority {
            options.client.insert("ssl.ca.location".to_owned(), file.clone());
            let becomes =
                "Options::client[\"ssl.ca.location\"]; the broker's certificate is checked, which kq does not";
            self.becomes("CaFile", file, becomes);
        }
        let protocol = match (has_sasl, authority.is_some()) {
            (true, true) => "sasl_ssl",
            (true, false) => "sasl_plaintext",
            (false, true) => "ssl",
            (false, false) => return Ok(()),
        };
        options.client.insert("security.protocol".to_owned(), protocol.to_owned());
        Ok(())
    }

    fn commits(&mut self) -> Result<(), KqError> {
        let forced = self.flag("ForceCommit")?;
        let why = match forced {
            Some(false) => {
                "a failed record is tried again, then a dead letter; kq leaves it uncommitted until a later one is committed over it"
            }
            None | Some(true) => "a failed record is tried again, then a dead letter; kq commits it and it is lost",
        };
        self.nothing_or_default("ForceCommit", forced.map(|flag| flag.to_string()), why);
        let in_order = self.flag("CommitInOrder")?.map(|flag| flag.to_string());
        let why = "positions always go up without gaps, and records of one key keep their order without this";
        self.nothing_or_default("CommitInOrder", in_order, why);
        Ok(())
    }

    /// Keys by which go-zero sets up the process, not the queue.
    fn of_the_service(&mut self) {
        let reasons = [
            ("Log", "logs go to the subscriber of tracing that the program installs"),
            ("Mode", "a pool has no modes"),
            ("MetricsUrl", "metrics go to the recorder that the program installs"),
            ("Prometheus", "metrics go to the recorder that the program installs, its exporter serves them"),
            (
                "Telemetry",
                "spans go to the layer of tracing that the program installs; feature opentelemetry joins traces",
            ),
            ("DevServer", "the program serves its own health checks: Monitor::status tells what they need"),
        ];
        for (key, why) in reasons {
            if let Some(value) = self.given.get(key) {
                self.notes.push(Note { key, value: value.to_string(), becomes: Becomes::Nothing(why) });
            }
        }
    }

    fn text(&self, key: &'static str) -> Result<Option<String>, KqError> {
        match self.given.get(key) {
            None => Ok(None),
            Some(Value::String(text)) if text.is_empty() => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(value) => Err(wrong(key, value, "a text: put it into quotes")),
        }
    }

    fn count(&self, key: &'static str) -> Result<Option<usize>, KqError> {
        let Some(value) = self.given.get(key) else {
            return Ok(None);
        };
        let count = value.as_u64().and_then(|count| usize::try_from(count).ok());
        count.map(Some).ok_or_else(|| wrong(key, value, "a whole number of 0 or more"))
    }

    fn flag(&self, key: &'static str) -> Result<Option<bool>, KqError> {
        let Some(value) = self.given.get(key) else {
            return Ok(None);
        };
        value.as_bool().map(Some).ok_or_else(|| wrong(key, value, "true or false"))
    }

    fn becomes(&mut self, key: &'static str, value: &str, option: &str) {
        self.notes.push(Note { key, value: value.to_owned(), becomes: Becomes::Option(option.to_owned()) });
    }

    fn becomes_or_default(&mut self, key: &'static str, value: Option<String>, option: String) {
        self.notes.push(Note { key, value: or_default(key, value), becomes: Becomes::Option(option) });
    }

    fn nothing_or_default(&mut self, key: &'static str, value: Option<String>, why: &'static str) {
        self.notes.push(Note { key, value: or_default(key, value), becomes: Becomes::Nothing(why) });
    }
}

fn or_default(key: &str, value: Option<String>) -> String {
    let default = DEFAULTS.iter().find(|(of, _)| *of == key).map_or("", |(_, default)| default);
    value.unwrap_or_else(|| format!("{default} (kq's default)"))
}

fn wrong(key: &'static str, value: &Value, expected: &'static str) -> KqError {
    let shown = if key == "Password" { "***".to_owned() } else { value.to_string() };
    KqError::Value { key, value: shown, expected }
}
