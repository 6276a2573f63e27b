//! The real binaries on the stacks that matter: what was accepted has its effect exactly once, whatever dies.
//! Each test is named `<scenario>::<database>_<broker>`; those with a Kafka or PostgreSQL need one.

mod intake;
mod interop;
mod kills;
mod outages;
mod records;
mod several;
mod starts;

use std::process::ExitCode;

fn main() -> ExitCode {
    let scenarios = [
        starts::scenarios(),
        kills::scenarios(),
        outages::scenarios(),
        several::scenarios(),
        records::scenarios(),
        intake::scenarios(),
        interop::scenarios(),
    ];
    testkit::scenario::run(scenarios.into_iter().flatten().collect())
}
