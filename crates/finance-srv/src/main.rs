//! The binary of the finance service: wiring only.

fn main() -> std::process::ExitCode {
    service_kit::cli::main(finance_srv::run)
}
