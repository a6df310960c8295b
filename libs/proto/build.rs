//! Compiles `proto/` with protox (no `protoc` needed), refuses methods without a policy, and generates the stubs.

use std::error::Error;
use std::path::{Path, PathBuf};

use prost::Message as _;
use prost_reflect::{DescriptorPool, Value};

const POLICY: &str = "slipway.api.v1.policy";
const REQUIRED: [&str; 3] = ["visibility", "scope", "rate_class"];

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    println!("cargo:rerun-if-changed={}", root.display());
    let mut files = Vec::new();
    collect(&root, &mut files)?;
    files.sort();

    let mut compiler = protox::Compiler::new([&root])?;
    compiler.include_source_info(true).include_imports(true);
    compiler.open_files(&files)?;
    let encoded = compiler.encode_file_descriptor_set();
    require_policies(&DescriptorPool::decode(encoded.as_slice())?)?;

    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), &encoded)?;
    tonic_prost_build::configure()
        .bytes(".")
        .build_transport(false)
        .include_file("modules.rs")
        .compile_fds(prost_types::FileDescriptorSet::decode(encoded.as_slice())?)?;
    Ok(())
}

/// Every `.proto` file under `dir`; each is watched by name, since a change inside a folder does not touch the folder.
fn collect(dir: &Path, files: &mut Vec<PathBuf>) -> Result<(), Box<dyn Error>> {
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|e| e == "proto") {
            println!("cargo:rerun-if-changed={}", path.display());
            files.push(path);
        }
    }
    Ok(())
}

/// A method without a whole policy is a build failure: the gateway would not know who may call it.
fn require_policies(pool: &DescriptorPool) -> Result<(), Box<dyn Error>> {
    let policy = pool.get_extension_by_name(POLICY).ok_or("the policy option is not defined")?;
    for service in pool.services().filter(|s| s.package_name().starts_with("slipway.")) {
        for method in service.methods() {
            let options = method.options();
            let value = options.get_extension(&policy);
            let Value::Message(value) = value.as_ref() else { return Err("the policy option is not a message".into()) };
            for field in REQUIRED {
                let set = value.get_field_by_name(field).and_then(|v| v.as_enum_number()).unwrap_or(0);
                if set == 0 {
                    return Err(format!("{} has no {field}: every method needs a ({POLICY}) option", method.full_name()).into());
                }
            }
        }
    }
    Ok(())
}
