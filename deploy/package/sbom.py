#!/usr/bin/env python3
"""Writes what the library and the program are made of: sbom.cdx.json (CycloneDX) and LICENSES, the licences' texts.

    sbom.py TRIPLE VERSION TOOLS FOLDER     TOOLS is the file of that name that compile.sh wrote
"""

import json
import pathlib
import re
import subprocess
import sys

triple, version, tools, folder = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3]), pathlib.Path(sys.argv[4])
OURS = "mqtt-acl"
EXPRESSION_OF = {"MIT/Apache-2.0": "MIT OR Apache-2.0", "Apache-2.0/MIT": "Apache-2.0 OR MIT", "Unlicense/MIT": "Unlicense OR MIT"}


def cargo(*arguments):
    return subprocess.run(["cargo", *arguments, "--locked"], check=True, capture_output=True, text=True).stdout


def linked():
    """The crates that are linked, as {(name, version): set of those it needs}, by cargo's own reading of features."""
    needs, path = {}, []
    # Macros run while compiling and are not in the result; nor are the crates that build scripts need.
    lines = cargo("tree", "--workspace", "--target", triple, "--edges", "normal,no-proc-macro", "--prefix", "depth",
                  "--no-dedupe")
    for depth, name, number in re.findall(r"^(\d+)(\S+) v(\S+)", lines, re.M):
        crate = (name, number)
        path[int(depth):] = [crate]
        needs.setdefault(crate, set())
        if len(path) > 1:
            needs[path[-2]].add(crate)
    return needs


needs = linked()
metadata = {(p["name"], p["version"]): p for p in json.loads(cargo("metadata", "--format-version=1"))["packages"]}
checksums = {
    (name, number): checksum
    for name, number, checksum in re.findall(
        r'^name = "(.+)"\nversion = "(.+)"\nsource = .+\nchecksum = "(.+)"$', pathlib.Path("Cargo.lock").read_text(), re.M)
}
made_by = dict(line.split(maxsplit=1) for line in tools.read_text().splitlines())
rust = made_by["rustc"].split()[0]


def reference(crate):
    return f"pkg:cargo/{crate[0]}@{crate[1]}"


def component(crate):
    found = {"type": "library", "bom-ref": reference(crate), "name": crate[0], "version": crate[1],
             "purl": reference(crate)}
    package = metadata[crate]
    if crate in checksums:
        found["hashes"] = [{"alg": "SHA-256", "content": checksums[crate]}]
    elif package["source"]:
        sys.exit(f"sbom.py: Cargo.lock has no checksum of {crate[0]} {crate[1]}")
    if not package["license"]:
        sys.exit(f"sbom.py: {crate[0]} {crate[1]} names no licence: look at it, and say here what it is")
    found["licenses"] = [{"expression": EXPRESSION_OF.get(package["license"], package["license"])}]
    return found


standard = {"type": "library", "bom-ref": "rust-std", "name": "std", "version": rust,
            "description": "Rust's standard library", "licenses": [{"expression": "MIT OR Apache-2.0"}]}
roots = sorted(crate for crate in needs if not metadata[crate]["source"])
bom = {
    "bomFormat": "CycloneDX",
    "specVersion": "1.5",
    "version": 1,
    "metadata": {
        "tools": {"components": [{"type": "application", "name": n, "version": v} for n, v in sorted(made_by.items())]},
        "component": {"type": "application", "bom-ref": OURS, "name": OURS, "version": version,
                      "licenses": [{"expression": "MIT OR Apache-2.0"}],
                      "properties": [{"name": "target", "value": triple}]},
    },
    "components": [*(component(crate) for crate in sorted(needs)), standard],
    "dependencies": [
        {"ref": OURS, "dependsOn": [*(reference(crate) for crate in roots), "rust-std"]},
        *({"ref": reference(crate), "dependsOn": sorted(map(reference, needs[crate]))} for crate in sorted(needs)),
    ],
}
(folder / "sbom.cdx.json").write_text(json.dumps(bom, indent=1) + "\n")

# Many crates share a text to the letter; each is printed once, below the names of those that bring it.
texts, silent = {}, []
for crate in sorted(needs):
    package = metadata[crate]
    if not package["source"]:
        continue
    own = pathlib.Path(package["manifest_path"]).parent
    files = sorted(f for f in own.iterdir() if re.match(r"(licen[cs]e|copying|copyright|notice|unlicense)", f.name, re.I)
                   and f.is_file())
    for file in files:
        text = file.read_text(errors="replace").strip()
        texts.setdefault(text, []).append(f"{crate[0]} {crate[1]}")
    if not files:
        silent.append(f"{crate[0]} {crate[1]}: {package['license']}, by {', '.join(package['authors']) or 'its authors'}")
rule = "-" * 80
with open(folder / "LICENSES", "w") as out:
    print("The licences of the code of others that is linked into mqtt_acl.so and mqtt-acl.", file=out)
    print(f"\nRust's standard library {rust}: MIT or Apache-2.0, by the Rust project's authors.", file=out)
    if silent:
        print("\nThese bring no text of their licence:", *silent, sep="\n  ", file=out)
    for text, crates in texts.items():
        print(f"\n{rule}\n{', '.join(crates)}\n{rule}\n\n{text}", file=out)
