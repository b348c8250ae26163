//! What the library offers to whoever loads it, and what it asks for in return: one symbol that a broker lacks, or one
//! newer than the oldest broker's glibc, and that broker does not start.
#![expect(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "mock/library.rs"]
mod library;

use std::{collections::BTreeSet, fs, str};

use library::{faulty_library, library};
use object::{Endianness, Object as _, ObjectSymbol as _, read::elf::ElfFile64};

/// Debian 12's, whose broker is the oldest.
const GLIBC: (u32, u32) = (2, 36);
const PERMITTED: [&str; 7] = [
    "libc.so.6",
    "libgcc_s.so.1",
    "libm.so.6",
    "libpthread.so.0",
    "libdl.so.2",
    "ld-linux-x86-64.so.2",
    "ld-linux-aarch64.so.1",
];
/// Only the fault hook says this.
const HOOK: &[u8] = b"injected";

#[test]
fn three_symbols_are_exported() {
    let data = fs::read(library()).unwrap();
    let file = ElfFile64::<Endianness>::parse(&*data).unwrap();
    let exported: BTreeSet<_> =
        file.dynamic_symbols().filter(|symbol| symbol.is_definition()).map(|symbol| symbol.name().unwrap()).collect();
    let expected = ["mosquitto_plugin_cleanup", "mosquitto_plugin_init", "mosquitto_plugin_version"];
    assert_eq!(exported, BTreeSet::from(expected));
}

#[test]
fn every_symbol_asked_for_is_in_the_oldest_glibc() {
    let data = fs::read(library()).unwrap();
    let file = ElfFile64::<Endianness>::parse(&*data).unwrap();
    let endian = file.endian();
    let versions = file.elf_section_table().versions(endian, &*data).unwrap().unwrap();
    for symbol in file.dynamic_symbols().filter(|symbol| symbol.is_undefined()) {
        let name = symbol.name().unwrap();
        let index = versions.version_index(endian, symbol.index()).index();
        let Some(version) = versions.version(index).unwrap() else {
            // What compilers leave for tools that are mostly absent.
            assert!(symbol.is_weak(), "{name}: no library that is needed has it");
            continue;
        };
        let library = str::from_utf8(version.file().unwrap()).unwrap();
        assert!(PERMITTED.contains(&library), "{name} is from {library}");
        if let Some(glibc) = str::from_utf8(version.name()).unwrap().strip_prefix("GLIBC_") {
            let glibc = glibc.split('.').map(|number| number.parse().unwrap()).collect::<Vec<u32>>();
            assert!(
                glibc <= vec![GLIBC.0, GLIBC.1],
                "{name} needs glibc {glibc:?}; tests/pinned.sh builds for older ones"
            );
        }
    }
}

#[test]
fn no_function_of_a_broker_is_linked() {
    let data = fs::read(library()).unwrap();
    let file = ElfFile64::<Endianness>::parse(&*data).unwrap();
    for symbol in file.dynamic_symbols().filter(|symbol| symbol.is_undefined()) {
        let name = symbol.name().unwrap();
        assert!(!name.contains("mosquitto"), "{name} is not looked up by dlsym: a broker without it does not start");
    }
}

#[test]
fn only_the_c_library_is_needed() {
    let data = fs::read(library()).unwrap();
    let file = ElfFile64::<Endianness>::parse(&*data).unwrap();
    for needed in file.import_libraries().unwrap() {
        let name = str::from_utf8(needed.unwrap().name()).unwrap();
        println!("needs {name}");
        assert!(PERMITTED.contains(&name), "{name}");
    }
}

#[test]
fn fault_hook_is_only_in_the_library_built_for_it() {
    let holds_hook = |library| fs::read(library).unwrap().windows(HOOK.len()).any(|text| text == HOOK);
    assert!(holds_hook(faulty_library()), "else its absence proves nothing");
    assert!(!holds_hook(library()));
}
