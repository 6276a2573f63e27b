//! The binary of the monitor service: wiring only.

fn main() -> std::process::ExitCode {
    service_kit::cli::main(monitor_srv::run)
}
