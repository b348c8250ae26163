"""What can be said of the deployment without running it: syntax, the CLI's parser, cloud-init's schema, shellcheck.

usage: static.py FOLDER CLOUD_INIT      FOLDER for files of its own; CLOUD_INIT holds cloud-init's package, unpacked
"""

import glob
import json
import os
import re
import subprocess
import sys

import yaml

from checks import check, finish
from powershell import PARSER, every, text_of

HERE = os.path.dirname(os.path.abspath(__file__))
DEPLOY = os.path.normpath(os.path.join(HERE, "../../../deploy"))
SUBNET = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/v/subnets/s"
# What stands for the value of a variable, by the option that it is given to.
SAMPLES = {
    "--subnet": [SUBNET], "--ids": [SUBNET], "--tags": ["a=b", "c=d"], "--location": ["australiaeast"], "--time": ["0900"],
    "--address-prefixes": ["10.1.0.0/24"], "--source-address-prefixes": ["192.0.2.1", "192.0.2.2"], "--priority": ["1000"],
    "--destination-port-ranges": ["22"], "--default-outbound-access": ["false"], "--ssh-key-values": ["ssh-ed25519 AAAA x"],
}


def tree(path):
    with open(path, "rb") as file:
        return PARSER.parse(file.read()).root_node


def az_commands(path):
    """Each command of the Azure CLI in a script, with samples for what only a run would know."""
    for node in every(tree(path), "command"):
        if text_of(node.children[0]) != "Invoke-Az":
            continue
        words, option = [], None
        for group in node.children[1:]:
            for part in group.children if group.type == "command_elements" else [group]:
                if part.type in ("command_argument_sep", "comment"):
                    continue
                text = text_of(part)
                if text.startswith("--"):
                    option = text
                    words.append(text)
                elif re.match(r"['\"]?[^$'\"(@]*['\"]?\Z", text):
                    words.append(text.strip("'\""))
                else:
                    words += SAMPLES.get(option, ["x1"])
        yield node.start_point[0] + 1, words


def check_scripts():
    scripts = sorted(glob.glob(DEPLOY + "/*.ps1") + glob.glob(HERE + "/*.ps1"))
    for path in scripts:
        check(f"{os.path.basename(path)} is PowerShell", not tree(path).has_error)
    check("what is not PowerShell is noticed", PARSER.parse(b"if ($a) {\n    'b'\n").root_node.has_error)
    calls = [os.path.basename(path) for path in scripts for node in every(tree(path), "command")
             if text_of(node.children[0]).lower() in ("az", "az.cmd", "az.exe")]
    check("the Azure CLI is called in one place, which looks at its exit code", calls == ["azure.ps1"], calls)


def check_az(folder):
    commands = [(path, line, words) for path in sorted(glob.glob(DEPLOY + "/*.ps1")) for line, words in az_commands(path)]
    wrong = [["network", "public-ip", "create", "--resource-group", "g", "--name", "n", "--sku", "Fancy"],
             ["vm", "create", "--resource-group", "g"], ["vm", "restart-twice"],
             ["network", "nsg", "create", "--resource-group", "g", "--name", "n", "--colour", "red"]]
    lines = "".join(json.dumps(words) + "\n" for words in [words for _, _, words in commands] + wrong)
    result = subprocess.run([sys.executable, HERE + "/cloud.py", "parse", folder + "/config"], input=lines, text=True, capture_output=True)
    answers = [json.loads(line)["problem"] for line in result.stdout.splitlines()]
    if not check("the Azure CLI's parser answers", len(answers) == len(commands) + len(wrong), result.stderr):
        return
    check("the scripts hold commands of the Azure CLI", len(commands) > 20, commands)
    for (path, line, words), problem in zip(commands, answers):
        check(f"{os.path.basename(path)}:{line}: az {' '.join(words)[:60]}", problem == "", problem)
    for words, problem in zip(wrong, answers[len(commands):]):
        check(f"what is wrong is noticed: az {' '.join(words)}", problem != "")


def is_valid(cloud_init, path):
    result = subprocess.run([sys.executable, "-m", "cloudinit.cmd.main", "schema", "--config-file", path], capture_output=True, text=True,
                            env={**os.environ, "PYTHONPATH": cloud_init + "/usr/lib/python3/dist-packages"})
    return result.returncode == 0, result.stdout + result.stderr


def check_cloud_init(folder, cloud_init):
    """Looks at what the simulated deployment rendered."""
    rendered = sorted(glob.glob(folder + "/custom-data/*.yaml"))
    check("the simulated deployment rendered custom data", len(rendered) >= 2, rendered)
    for path in rendered:
        name = os.path.basename(path)
        good, said = is_valid(cloud_init, path)
        check(f"cloud-init takes {name}", good, said)
        size = os.path.getsize(path)
        check(f"{name} is smaller than 64 KiB: {size} bytes", size < 65535)
        with open(path, encoding="utf-8") as file:
            text = file.read()
        check(f"no token is left in {name}", not re.search(r"@[A-Z][A-Z0-9_]+@", text))
        for entry in yaml.safe_load(text)["write_files"]:
            if entry["content"].startswith("#!/bin/bash"):
                check_shell(folder, entry)
    wrong = folder + "/wrong.yaml"
    with open(wrong, "w", encoding="utf-8") as file:
        file.write("#cloud-config\nwrite_files:\n- path: /x\n  permisions: '0644'\nruncmd: yes\n")
    check("what is wrong is noticed by cloud-init's schema", not is_valid(cloud_init, wrong)[0])


def check_shell(folder, entry):
    path = os.path.join(folder, os.path.basename(entry["path"]))
    with open(path, "w", encoding="utf-8") as file:
        file.write(entry["content"])
    result = subprocess.run(["shellcheck", "-x", path], capture_output=True, text=True)
    check(f"shellcheck of {entry['path']}", result.returncode == 0, result.stdout)


if __name__ == "__main__":
    check_scripts()
    check_az(sys.argv[1])
    check_cloud_init(sys.argv[1], sys.argv[2])
    finish()
