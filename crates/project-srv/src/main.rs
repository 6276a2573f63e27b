//! The binary of the project service: wiring only.

fn main() -> std::process::ExitCode {
    service_kit::cli::main(project_srv::run)
}
