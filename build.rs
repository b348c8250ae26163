//! Makes Rust declarations of the plugin interface from the headers of the system's `mosquitto-dev`, 2.0 or 2.1.

use std::env;
use std::fs;
use std::panic;
use std::path::PathBuf;
use std::process::exit;

/// What both header layouts offer under the same names.
const HEADERS: &str = "#include <stdbool.h>\n#include <stdint.h>\n#include <stddef.h>\n#include <mosquitto.h>\n\
                       #include <mosquitto_broker.h>\n#include <mosquitto_plugin.h>\n\
                       #if MOSQ_PLUGIN_VERSION != 5\n#error \"not the plugin interface of 2.x\"\n#endif\n";

const NO_HEADERS: &str = "mosquitto's plugin headers are missing or incomplete: install `mosquitto-dev` (apt-get install \
                          mosquitto-dev libmosquitto-dev), or name their folder in MOSQUITTO_INCLUDE_DIR";

const NO_LIBCLANG: &str = "libclang, which reads the headers, is missing or incomplete: install `libclang-dev` (apt-get \
                           install libclang-dev), or name its folder in LIBCLANG_PATH";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=MOSQUITTO_INCLUDE_DIR");
    if let Err(message) = generate() {
        println!("cargo::error={message}");
        exit(1);
    }
}

fn generate() -> Result<(), String> {
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo gives no OUT_DIR")?);
    let include = env::var_os("MOSQUITTO_INCLUDE_DIR").map(PathBuf::from);
    let probe = out.join("mosquitto.c");
    fs::write(&probe, HEADERS).map_err(|e| format!("cannot write `{}`: {e}", probe.display()))?;

    // The C preprocessor knows best whether the headers are there.
    let mut compiler = cc::Build::new();
    compiler.file(&probe).cargo_metadata(false).cargo_warnings(false);
    if let Some(folder) = &include {
        compiler.include(folder);
    }
    compiler.try_expand().map_err(|_| NO_HEADERS)?;

    let builder = bindgen::Builder::default()
        .header_contents("mosquitto.h", HEADERS)
        .clang_args(include.iter().map(|folder| format!("-I{}", folder.display())))
        .allowlist_type("mosquitto_evt_(acl_check|basic_auth|disconnect|reload|tick)")
        .allowlist_type("mosquitto_opt|mosquitto_plugin_event|mosquitto_protocol|mosquitto_plugin_id_t|mosq_err_t")
        .allowlist_type("MOSQ_FUNC_generic_callback")
        .allowlist_function(
            "mosquitto_(broker_publish_copy|callback_(un)?register|client_(address|clean_session|id|protocol|protocol_version|username)|kick_client_by_clientid|log_printf)",
        )
        .allowlist_var("MOSQ_(ACL|LOG)_.*|MOSQ_PLUGIN_VERSION")
        .prepend_enum_name(false)
        .layout_tests(false);
    // bindgen panics where it finds no libclang.
    panic::set_hook(Box::new(|_| {}));
    let generated = panic::catch_unwind(panic::AssertUnwindSafe(|| builder.generate())).map_err(|_| NO_LIBCLANG)?;
    let bindings = generated.map_err(|_| NO_LIBCLANG)?;
    let file = out.join("mosquitto.rs");
    bindings.write_to_file(&file).map_err(|e| format!("cannot write `{}`: {e}", file.display()))
}
