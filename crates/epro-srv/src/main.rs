//! The binary of the ePRO service: wiring only.

fn main() -> std::process::ExitCode {
    service_kit::cli::main(epro_srv::run)
}
