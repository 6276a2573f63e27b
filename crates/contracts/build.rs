//! Compiles `proto/` with protox, so that no protoc has to be installed. Writes the generated code and the descriptor set with
//! comments (for gRPC reflection) to OUT_DIR.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

use prost::Message as _;

/// The packages, each in `proto/ctms/<name>/v1`.
const PACKAGES: [&str; 4] = ["project", "epro", "finance", "monitor"];

fn main() -> Result<(), Box<dyn Error>> {
    let proto_dir = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed={}", proto_dir.join("ctms").display());

    let mut files = Vec::new();
    for package in PACKAGES {
        files.extend(proto_files(&proto_dir.join("ctms").join(package).join("v1"))?);
    }
    files.sort();

    let mut compiler = protox::Compiler::new([&proto_dir])?;
    compiler.include_source_info(true).include_imports(true).open_files(&files)?;
    let descriptors = compiler.file_descriptor_set();
    let out_dir = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out_dir.join("descriptors.bin"), descriptors.encode_to_vec())?;

    tonic_prost_build::configure().emit_rerun_if_changed(false).compile_fds(descriptors)?;
    Ok(())
}

fn proto_files(dir: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(|cause| format!("cannot read {}: {cause}", dir.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "proto") {
            files.push(path);
        }
    }
    Ok(files)
}
