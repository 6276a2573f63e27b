//! The broker settings that the tests, the compose file and the benchmarks share.

/// What every test broker is told, whether it runs in a container or from jars.
const SHARED: &[(&str, &str)] = &[
    ("process.roles", "broker,controller"),
    ("node.id", "1"),
    ("controller.listener.names", "CONTROLLER"),
    ("inter.broker.listener.name", "PLAINTEXT"),
    ("listener.security.protocol.map", "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT"),
    ("auto.create.topics.enable", "false"),
    ("num.partitions", "8"),
    ("offsets.topic.num.partitions", "8"),
    ("offsets.topic.replication.factor", "1"),
    ("transaction.state.log.replication.factor", "1"),
    ("transaction.state.log.min.isr", "1"),
    ("share.coordinator.state.topic.replication.factor", "1"),
    ("share.coordinator.state.topic.min.isr", "1"),
    // A first member need not wait 3 s for others.
    ("group.initial.rebalance.delay.ms", "0"),
    // A killed member's partitions stand still for the session: 45 s by default.
    ("group.consumer.session.timeout.ms", "10000"),
    ("group.consumer.min.session.timeout.ms", "6000"),
    ("group.consumer.heartbeat.interval.ms", "3000"),
    ("group.consumer.min.heartbeat.interval.ms", "1000"),
];

/// All properties of a broker that clients reach on `127.0.0.1:port`.
pub(super) fn properties(bind: &str, port: u16, controller_port: u16) -> Vec<(String, String)> {
    let own = [
        // Tests that wait for compaction do not wait 15 s for its next turn.
        ("log.cleaner.backoff.ms", "500".to_owned()),
        ("listeners", format!("PLAINTEXT://{bind}:{port},CONTROLLER://127.0.0.1:{controller_port}")),
        ("advertised.listeners", format!("PLAINTEXT://127.0.0.1:{port}")),
        ("controller.quorum.voters", format!("1@127.0.0.1:{controller_port}")),
    ];
    let own = own.into_iter().map(|(key, value)| (key.to_owned(), value));
    SHARED.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).chain(own).collect()
}
