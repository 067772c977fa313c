//! Compiles the daemon's API; no `protoc` is needed on the machine.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=src/rpc/openbucket.proto");
    println!("cargo:rerun-if-changed=src/rpc/build.rs");
    let descriptors = protox::compile(["openbucket.proto"], ["src/rpc"])?;
    tonic_prost_build::configure().emit_rerun_if_changed(false).compile_fds(descriptors)?;
    Ok(())
}
