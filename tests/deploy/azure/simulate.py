"""Deploys, starts, stops and removes servers in a simulated Azure, and looks at what was asked of it.

usage: simulate.py FOLDER                     all of it, in a network namespace of its own (azure.sh makes it)
       simulate.py FOLDER --render PACKAGE    only renders FOLDER/custom-data/*.yaml for that package

FULL=1 lets every call of a deployment fail once, before and after it took effect, instead of one of each kind. ONLY
names the scenarios to run, as the functions below are named; the calls that only others reach then count as failed.
"""

import base64
import concurrent.futures
import difflib
import glob
import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
import sys

import yaml

from checks import check, finish, skip
from cloud import SUBSCRIPTION
from world import DEPLOY, DOMAIN, HERE, NAMES, SHELL, WORK, Azure, isolate, make_package, start_cloud

FOLDER = os.path.abspath(sys.argv[1])
PASSWORD = "Trying-0ut-" + base64.urlsafe_b64encode(os.urandom(6)).decode()
USERS = ["mqttuser", "mqttservice", "dev00001", "dev00002", "dev00003"]
CHEAP = ["-PackageUrl", "https://example.org/mqtt-acl.deb", "-PackageSha256", "AB" * 32]


def passwords_of(data):
    """The users' strings in custom data."""
    files = {entry["path"]: entry for entry in yaml.safe_load(data)["write_files"]}
    entry = files["/etc/mosquitto-setup/passwords.toml"]
    return entry["permissions"], dict(re.findall(r'\[users\.(\w+)\]\npassword = "(.*)"', entry["content"]))


def settings_of(data):
    files = {entry["path"]: entry["content"] for entry in yaml.safe_load(data)["write_files"]}
    return dict(re.findall(r"(?m)^(\w+)='(.*)'$", files["/etc/mosquitto-setup/settings"]))


def is_string_of(string, secret):
    """Whether a policy's string is that of the secret, by Python's own digests."""
    if string.startswith("$token$"):
        digest = hashlib.sha256(secret.encode()).digest()
        return string == "$token$" + base64.urlsafe_b64encode(digest).decode().rstrip("=")
    _, kind, iterations, salt, digest = string.split("$")
    computed = hashlib.pbkdf2_hmac("sha512", secret.encode(), base64.b64decode(salt), int(iterations), 64)
    return kind == "7" and computed == base64.b64decode(digest)


def suffixed(password):
    return {user: password + (str(number) if number > 1 else "") for number, user in enumerate(USERS, 1)}


def keep(name, data, secrets):
    """For the tests that come after: the custom data, and what its users log in with."""
    folder = FOLDER + "/custom-data"
    os.makedirs(folder, exist_ok=True)
    for ending, text in (("yaml", data), ("secrets", "".join(f"{user} {secret}\n" for user, secret in secrets.items()))):
        path = f"{folder}/{name}.{ending}"
        with open(path, "w", encoding="utf-8", opener=lambda p, f: os.open(p, f, 0o600)) as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(text)


# The scenarios. Each has an Azure of its own, for they run side by side.

def default():
    """The documented command, twice; then stop, start, remove."""
    azure, package = Azure("default"), make_package()
    with open(azure.folder + "/unreachable", "w", encoding="utf-8") as file:
        file.write("\n\n")
    arguments = [PASSWORD, "-PackageFile", package, "-SshSourcePrefix", "203.0.113.7,2001:db8::/64", "-ShutdownEmail", "me@example.org"]
    result = azure.run("deploy", *arguments)
    if not check("a deployment ends well", result.returncode == 0, result.stdout):
        return
    name6, name4 = (f"{name}.{DOMAIN}" for name in NAMES[:2])
    check("it tells both host names", name6 in result.stdout and name4 in result.stdout, result.stdout)
    for each in (name6, name4):
        check(f"and how to test {each}", f"mosquitto_sub -h {each} -p 8883" in result.stdout and f"mosquitto_pub -h {each}" in result.stdout)
    check("it warns of passwords by suffix", "for trying things out only" in result.stdout, result.stdout)
    check("it prints no password", PASSWORD not in result.stdout, result.stdout)

    machine = azure.machine()
    check("there is one machine", machine is not None)
    properties = machine["properties"]
    check("of the size that is the default", properties["hardwareProfile"]["vmSize"] == "Standard_B2ls_v2", properties)
    check("with Ubuntu by its URN", properties["storageProfile"]["imageReference"] ==
          {"publisher": "Canonical", "offer": "ubuntu-24_04-lts", "sku": "server", "version": "latest"}, properties["storageProfile"])
    security = properties["securityProfile"]
    check("with Trusted Launch", security["securityType"] == "TrustedLaunch" and security["uefiSettings"] ==
          {"secureBootEnabled": True, "vTpmEnabled": True}, security)
    linux = properties["osProfile"]["linuxConfiguration"]
    check("with the SSH key and without a password", linux["disablePasswordAuthentication"] is True and
          linux["ssh"]["publicKeys"][0]["keyData"].startswith("ssh-ed25519 ") and "adminPassword" not in properties["osProfile"], linux)
    check("for iotadmin", properties["osProfile"]["adminUsername"] == "iotadmin")
    check("with boot diagnostics", properties["diagnosticsProfile"]["bootDiagnostics"]["enabled"] is True)
    for resource in azure.resources.values():
        if resource["type"].count("/") == 1 and "schedules" not in resource["type"] and "deployments" not in resource["type"]:
            tags = resource.get("tags") or {}
            check(f"{resource['name']} has its tags", tags.get("DeployedBy") == "deploy-mosquitto" and tags.get("Env") == "Dev"
                  and tags.get("WorkloadName") == "mosquitto", resource)
    check_network(azure, name6, name4)
    check("the firewall lets in what it must, TCP alone, and SSH from the addresses given", azure.rules() == {
        "ssh": ("22", "Tcp", "Allow", "Inbound", ("203.0.113.7",)),
        "ssh-ipv6": ("22", "Tcp", "Allow", "Inbound", ("2001:db8::/64",)),
        "http-for-certificates": ("80", "Tcp", "Allow", "Inbound", ("*",)),
        "mqtt-tls": ("8883", "Tcp", "Allow", "Inbound", ("*",)),
        "mqtt-websockets-tls": ("8083", "Tcp", "Allow", "Inbound", ("*",)),
    }, azure.rules())
    schedule = azure.of_type("Microsoft.DevTestLab/schedules")
    check("it stops at 09:00 UTC and says so before", len(schedule) == 1 and schedule[0]["properties"]["dailyRecurrence"] == {"time": "0900"}
          and schedule[0]["properties"]["timeZoneId"] == "UTC"
          and schedule[0]["properties"]["notificationSettings"]["emailRecipient"] == "me@example.org", schedule)

    data = azure.custom_data()
    with open(package, "rb") as file:
        digest = hashlib.sha256(file.read()).hexdigest()
    check("the machine is told its names, whom to write to and what package to wait for", settings_of(data) == {
        "HOST_NAME_6": name6, "HOST_NAME_4": name4, "EMAIL": "me@example.org", "PACKAGE_URL": "", "PACKAGE_SHA256": digest,
        "ALLOW_INSECURE": "no", "MOSQUITTO_SOURCE": "distribution"}, settings_of(data))
    check_passwords(data, suffixed(PASSWORD))
    check("its policy is deploy/policy.toml", policy_of(data) == open(DEPLOY + "/policy.toml", encoding="utf-8").read())
    keep("default", data, suffixed(PASSWORD))
    check("the package is copied, after two tries that fail",
          azure.read("ssh.log").count("scp ") == 3 and azure.read("uploaded") == open(package, encoding="utf-8", errors="replace").read()
          and f"iotadmin@{name4}" in azure.read("ssh.log"), azure.read("ssh.log"))
    check("no password is in a request, a command line, a log or a file that is left", not azure.leaks(PASSWORD), azure.leaks(PASSWORD))

    before = azure.state()
    azure.forget_calls()
    result = azure.run("deploy", *arguments)
    check("the same once more ends well", result.returncode == 0, result.stdout)
    check("and changes nothing", azure.state() == before, result.stdout)
    check("says that the machine stays as it is", "is there already" in result.stdout)
    check("does not copy the package again", azure.read("ssh.log").count("scp ") == 3, azure.read("ssh.log"))
    azure.forget_calls()
    result = azure.run("deploy", PASSWORD, *CHEAP, "-ShutdownUtc", "")
    check("once more without SSH and shutdown, it takes both away",
          result.returncode == 0 and not azure.of_type("Microsoft.DevTestLab/schedules") and
          not {"ssh", "ssh-ipv6"} & set(azure.rules()), result.stdout)
    manage(azure)


def check_network(azure, name6, name4):
    addresses = {r["properties"]["publicIPAddressVersion"]: r for r in azure.of_type("Microsoft.Network/publicIPAddresses")}
    check("there is a public address of each family", sorted(addresses) == ["IPv4", "IPv6"], addresses)
    for version, name in (("IPv6", name6), ("IPv4", name4)):
        address = addresses[version]
        check(f"the {version} one is static, Standard and has its name", address["sku"]["name"] == "Standard"
              and address["properties"]["publicIPAllocationMethod"] == "Static"
              and address["properties"]["dnsSettings"]["fqdn"] == name, address)
    interface, = azure.of_type("Microsoft.Network/networkInterfaces")
    configurations = [c["properties"] for c in interface["properties"]["ipConfigurations"]]
    check("the interface has both", [(c.get("privateIPAddressVersion") or "IPv4", c["publicIPAddress"]["id"].rsplit("/", 1)[1])
                                     for c in configurations] == [("IPv4", "pipv4-mosquitto-dev-001"), ("IPv6", "pip-mosquitto-dev-001")],
          configurations)
    check("and the firewall", interface["properties"]["networkSecurityGroup"]["id"].endswith("/nsg-mosquitto-dev-001"), interface)
    check("the machine has the interface", azure.machine()["properties"]["networkProfile"]["networkInterfaces"][0]["id"].lower()
          == interface["id"].lower())
    network, = azure.of_type("Microsoft.Network/virtualNetworks")
    check("the network has a unique local prefix of the subscription", network["properties"]["addressSpace"]["addressPrefixes"] ==
          ["10.1.0.0/16", "fdac:c500:0011:100::/56"], network)
    subnet, = azure.of_type("Microsoft.Network/virtualNetworks/subnets")
    check("the subnet has both families, and no way out of its own", subnet["properties"]["addressPrefixes"] ==
          ["10.1.0.0/24", "fdac:c500:0011:100::/64"] and subnet["properties"]["defaultOutboundAccess"] is False, subnet)


def check_passwords(data, secrets):
    mode, strings = passwords_of(data)
    check("the machine is told of each user, in a file for root alone", sorted(strings) == sorted(USERS) and mode == "0600", strings)
    check("with strings of their secrets", all(is_string_of(strings[user], secret) for user, secret in secrets.items()), strings)
    check("and with none of the secrets", not any(secret in data for secret in secrets.values()))


def policy_of(data):
    return next(e["content"] for e in yaml.safe_load(data)["write_files"] if e["path"] == "/etc/mosquitto-setup/policy.toml")


def manage(azure):
    """stop, start and remove, on a server that is there."""
    result = azure.run("stop", "-WhatIf")
    check("stop -WhatIf stops nothing", result.returncode == 0 and azure.machine()["power"] == "running", result.stdout)
    result = azure.run("stop")
    check("stop deallocates the machine", result.returncode == 0 and azure.machine()["power"] == "deallocated", result.stdout)
    result = azure.run("start")
    check("start starts it", result.returncode == 0 and azure.machine()["power"] == "running", result.stdout)
    for script in ("start", "stop"):
        result = azure.run(script, "-ServerNumber", "7")
        check(f"{script} of another server fails, and says what to do", result.returncode == 1 and "rg-mosquitto-dev-007" in result.stdout,
              result.stdout)
    count = len(azure.resources)
    result = azure.run("remove")
    check("remove asks first", result.returncode == 1 and len(azure.resources) == count, result.stdout)
    result = azure.run("remove", "-WhatIf")
    check("remove -WhatIf removes nothing", result.returncode == 0 and len(azure.resources) == count, result.stdout)
    result = azure.run("remove", "-Force")
    check("remove -Force removes all", result.returncode == 0 and not azure.resources, result.stdout)
    result = azure.run("remove", "-Force")
    check("and again finds nothing, which is well", result.returncode == 0 and "nothing to remove" in result.stdout, result.stdout)


def insecure():
    """A second server with every option, by the environment."""
    azure, package = Azure("insecure"), make_package()
    environment = {
        "DEPLOY_MQTT_PASSWORD": PASSWORD, "DEPLOY_ENVIRONMENT": "Prod", "DEPLOY_LOCATION": "westeurope", "DEPLOY_ORG_ID": "contoso",
        "DEPLOY_VM_SIZE": "Standard_B2ats_v2", "DEPLOY_ADMIN_USERNAME": "ada", "DEPLOY_SERVER_NUMBER": "2", "DEPLOY_SHUTDOWN_UTC": "",
        "DEPLOY_ALLOW_INSECURE": "true", "DEPLOY_SSH_SOURCE_PREFIX": "*", "DEPLOY_PACKAGE_FILE": package,
    }
    result = azure.run("deploy", **environment)
    if not check("a deployment by environment variables ends well", result.returncode == 0, result.stdout):
        return
    machine = azure.machine()
    check("they are heeded", machine["name"] == "vm-mosquitto-prod-002" and machine["location"] == "westeurope"
          and machine["properties"]["hardwareProfile"]["vmSize"] == "Standard_B2ats_v2"
          and machine["properties"]["osProfile"]["adminUsername"] == "ada" and machine["tags"]["Env"] == "Prod", machine)
    check("no shutdown where its time is empty", not azure.of_type("Microsoft.DevTestLab/schedules"))
    check("1883 is open, and SSH to all", azure.rules()["mqtt-without-tls"] == ("1883", "Tcp", "Allow", "Inbound", ("*",))
          and azure.rules()["ssh"] == ("22", "Tcp", "Allow", "Inbound", ("*",)), azure.rules())
    data = azure.custom_data()
    settings = settings_of(data)
    check("the machine is told so", settings["ALLOW_INSECURE"] == "yes" and settings["HOST_NAME_6"] == f"{NAMES[2]}.{DOMAIN}"
          and settings["EMAIL"] == "", settings)
    keep("insecure", data, suffixed(PASSWORD))
    result = azure.run("deploy", **{**environment, "DEPLOY_ALLOW_INSECURE": ""})
    check("once more without that, the firewall closes 1883", result.returncode == 0 and "mqtt-without-tls" not in azure.rules(),
          result.stdout)


def unique_secrets():
    """Random secrets, over IPv6 alone, from the PPA; then with a password of one's own, which is a SecureString."""
    azure = Azure("unique")
    result = azure.run("deploy", "-UniqueSecrets", *CHEAP, "-MosquittoSource", "ppa", DEPLOY_ADD_PUBLIC_IPV4="false")
    if not check("a deployment with -UniqueSecrets ends well", result.returncode == 0, result.stdout):
        return
    path = azure.home + "/mqdev01-0xacc5.secrets"
    secrets = dict(line.split(" ") for line in open(path, encoding="utf-8").read().splitlines())
    check("it writes five secrets", list(secrets) == USERS and len(set(secrets.values())) == 5, secrets)
    check("which are tokens with good checksums", all(
        re.fullmatch(r"mqttacl_[\w-]{49}", s) and
        base64.urlsafe_b64encode(hashlib.sha256(s[8:51].encode()).digest()[:4]).decode()[:6] == s[51:] for s in secrets.values()))
    check("to a file for its owner alone", stat.S_IMODE(os.stat(path).st_mode) == 0o600)
    check("and says where", "mqdev01-0xacc5.secrets" in result.stdout, result.stdout)
    check("there is no warning of suffixes", "for trying things out only" not in result.stdout)
    data = azure.custom_data()
    check_passwords(data, secrets)
    keep("unique", data, secrets)
    check("no secret is anywhere else", not azure.leaks(*secrets.values()) and not any(s in result.stdout for s in secrets.values()),
          azure.leaks(*secrets.values()))
    settings = settings_of(data)
    check("the machine is told where to download what, and of the PPA", settings["PACKAGE_URL"] == CHEAP[1]
          and settings["PACKAGE_SHA256"] == "ab" * 32 and settings["MOSQUITTO_SOURCE"] == "ppa" and settings["HOST_NAME_4"] == "", settings)
    check("there is no public IPv4 address", [r["properties"]["publicIPAddressVersion"] for r in
                                              azure.of_type("Microsoft.Network/publicIPAddresses")] == ["IPv6"])
    subnet, = azure.of_type("Microsoft.Network/virtualNetworks/subnets")
    check("but a way out over IPv4", subnet["properties"]["defaultOutboundAccess"] is True, subnet)
    result = azure.run("remove", "-Force")
    result = azure.run("deploy", "-UniqueSecrets", *CHEAP)
    check("the secrets of another machine are not overwritten", result.returncode == 1 and "move it away" in result.stdout
          and not azure.machine(), result.stdout)
    result = azure.run("deploy", PASSWORD, "-UniqueSecrets", *CHEAP, "-SecretsFile", "others.secrets")
    secrets = dict(line.split(" ") for line in open(azure.home + "/others.secrets", encoding="utf-8").read().splitlines())
    check("with a password, mqttuser keeps it and four get tokens", result.returncode == 0 and secrets["mqttuser"] == PASSWORD
          and sum(secret.startswith("mqttacl_") for secret in secrets.values()) == 4, result.stdout)
    check_passwords(azure.custom_data(), secrets)

    azure = Azure("secure")
    secret = "geh\u00e4im & \"schwierig\" " + PASSWORD
    result = azure.run(HERE + "/secure.ps1", *CHEAP, SECRET_OF_THE_TEST=secret)
    if check("a SecureString is taken", result.returncode == 0, result.stdout):
        check_passwords(azure.custom_data(), suffixed(secret))


def landing_zone():
    """In somebody else's network; and with something else in the group."""
    azure = Azure("landing-zone")
    group = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg-network"
    subnet = f"{group}/providers/Microsoft.Network/virtualNetworks/vnet-hub/subnets/snet-dmz"
    others = {
        group: ("Microsoft.Resources/resourceGroups", {}),
        subnet.rsplit("/", 2)[0]: ("Microsoft.Network/virtualNetworks", {"addressSpace": {"addressPrefixes": ["10.9.0.0/16", "fd00::/48"]}}),
        subnet: ("Microsoft.Network/virtualNetworks/subnets", {"addressPrefixes": ["10.9.1.0/24", "fd00:0:0:1::/64"]}),
    }
    there = {path.lower(): {"id": path, "name": path.rsplit("/", 1)[1], "type": kind, "location": "australiaeast", "properties": properties}
             for path, (kind, properties) in others.items()}
    azure.write("resources.json", there)
    result = azure.run("deploy", PASSWORD, *CHEAP, "-SubnetId", subnet)
    if not check("a deployment in a landing zone ends well", result.returncode == 0, result.stdout):
        return
    interface, = azure.of_type("Microsoft.Network/networkInterfaces")
    check("both addresses are in its subnet", {c["properties"]["subnet"]["id"] for c in interface["properties"]["ipConfigurations"]}
          == {subnet}, interface)
    check("there is no network of its own", len(azure.of_type("Microsoft.Network/virtualNetworks")) == 1)
    check("the landing zone is as it was", all(azure.resources[path] == resource for path, resource in there.items()))

    # What somebody else put into the group stays.
    state = azure.resources
    foreign = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg-mosquitto-dev-001/providers/Microsoft.Storage/storageAccounts/precious"
    state[foreign.lower()] = {"id": foreign, "name": "precious", "type": "Microsoft.Storage/storageAccounts", "location": "australiaeast",
                              "properties": {}}
    azure.write("resources.json", state)
    result = azure.run("remove", "-Force")
    left = [r["name"] for r in azure.resources.values() if "deployments" not in r["type"]]
    check("remove leaves the landing zone and what it did not make", result.returncode == 0 and
          sorted(left) == ["precious", "rg-mosquitto-dev-001", "rg-network", "snet-dmz", "vnet-hub"] and "precious" in result.stdout,
          f"{left}\n{result.stdout}")

    azure = Azure("foreign")
    path = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg-mosquitto-dev-001"
    azure.write("resources.json", {path.lower(): {"id": path, "name": "rg-mosquitto-dev-001", "location": "australiaeast", "properties": {},
                                                  "type": "Microsoft.Resources/resourceGroups"}})
    for script, arguments in (("deploy", [PASSWORD, *CHEAP]), ("remove", ["-Force"]), ("stop", []), ("start", [])):
        result = azure.run(script, *arguments)
        check(f"{script} leaves a group alone that it did not make", result.returncode == 1 and "was not made by" in result.stdout
              and not azure.changes(), result.stdout)
    azure.write("resources.json", {**there, subnet.lower(): {**there[subnet.lower()], "properties": {"addressPrefix": "10.9.1.0/24"}}})
    result = azure.run("deploy", PASSWORD, *CHEAP, "-SubnetId", subnet)
    check("a subnet without IPv6 is refused", result.returncode == 1 and "no IPv6 prefix" in result.stdout and not azure.changes(),
          result.stdout)


def nothing_is_changed():
    """-WhatIf, and what is wrong from the start."""
    azure = Azure("what-if")
    result = azure.run("deploy", PASSWORD, *CHEAP, "-WhatIf")
    check("-WhatIf changes nothing", result.returncode == 0 and not azure.changes(), result.stdout)
    for what in ("resource group", "network security group", "virtual network", "public IPv6", "public IPv4", "network interface",
                 "virtual machine", "shutdown at 0900"):
        check(f"-WhatIf tells of the {what}", re.search(f"What if: .*{what}", result.stdout), result.stdout)
    check("and makes no secret", not glob.glob(azure.home + "/*.secrets"))
    package = make_package()
    for text, arguments, environment in (
            ("no password", CHEAP, {}),
            ("8 characters", ["short", *CHEAP], {}),
            ("where the plugin's package is", [PASSWORD], {}),
            ("where the plugin's package is", [PASSWORD, *CHEAP, "-PackageFile", package], {}),
            ("SHA-256", [PASSWORD, "-PackageUrl", "https://example.org/x.deb"], {}),
            ("no package", [PASSWORD, "-PackageFile", "/nowhere.deb", "-SshSourcePrefix", "*"], {}),
            ("-SshSourcePrefix", [PASSWORD, "-PackageFile", package], {}),
            ("no public SSH key", [PASSWORD, *CHEAP, "-SshPublicKey", "/nowhere.pub"], {}),
            ("-ShutdownUtc", [PASSWORD, *CHEAP, "-ShutdownUtc", "2400"], {}),
            ("-ShutdownUtc", [PASSWORD, *CHEAP], {"DEPLOY_SHUTDOWN_UTC": "9am"}),
            ("-Location", [PASSWORD, *CHEAP, "-Location", "Australia East"], {}),
            ("-Environment", [PASSWORD, *CHEAP], {"DEPLOY_ENVIRONMENT": "De'v"}),
            ("-ServerNumber", [PASSWORD, *CHEAP], {"DEPLOY_SERVER_NUMBER": "100"}),
            ("-SshSourcePrefix", [PASSWORD, *CHEAP, "-SshSourcePrefix", "my-house"], {}),
            ("-PackageUrl", [PASSWORD, "-PackageUrl", "https://example.org/$(reboot)'", "-PackageSha256", "00" * 32], {}),
            ("-PackageSha256", [PASSWORD, CHEAP[0], CHEAP[1], "-PackageSha256", "1234"], {}),
            ("-MosquittoSource", [PASSWORD, *CHEAP, "-MosquittoSource", "docker"], {}),
            ("-OrgId", [PASSWORD, *CHEAP, "-OrgId", "Contoso!"], {}),
            ("-AdminUsername", [PASSWORD, *CHEAP, "-AdminUsername", "root me"], {}),
            ("-SubnetId", [PASSWORD, *CHEAP, "-SubnetId", "snet"], {}),
            ("-ShutdownEmail", [PASSWORD, *CHEAP, "-ShutdownEmail", "a'b@example.org"], {}),
            ("-VmSize", [PASSWORD, *CHEAP, "-VmSize", "big one"], {})):
        azure.forget_calls() if azure.calls() else None
        result = azure.run("deploy", *arguments, **environment)
        check(f"refused before anything is asked of Azure: {' '.join(arguments[-2:])} {environment or ''}",
              result.returncode == 1 and text in result.stdout and not azure.calls(), result.stdout)


def machine_in_trouble():
    """What the machine says decides how a deployment ends."""
    azure = Azure("trouble")
    result = azure.run("deploy", PASSWORD, *CHEAP, plan={"said": ["mosquitto-setup: no certificate: does each of these names lead here?"]})
    check("a machine that does not become a broker fails the deployment, in its own words",
          result.returncode == 1 and "no certificate" in result.stdout and "The broker is ready" not in result.stdout, result.stdout)
    check("and nothing is opened for WebSockets", "mqtt-websockets-tls" not in azure.rules(), azure.rules())
    azure.forget_calls()
    result = azure.run("deploy", PASSWORD, *CHEAP, plan={"said": ["no certificate", "trying", "broker ready, websockets=no"]})
    scripts = [call[call.index("--scripts") + 1:call.index("--output")] for call in azure.calls() if call[:2] == ["vm", "run-command"]]
    waiting = ["cloud-init status --wait", "/usr/local/sbin/mosquitto-setup state"]
    check("once more, it sets the machine up again", result.returncode == 0 and
          scripts == [waiting, ["/usr/local/sbin/mosquitto-setup"], waiting], f"{scripts}\n{result.stdout}")
    check("without WebSockets, 8083 stays closed", "mqtt-websockets-tls" not in azure.rules() and "wss://" not in result.stdout)
    # Over names that nobody answers.
    result = azure.run("deploy", PASSWORD, *CHEAP, "-OrgId", "nobody", "-ServerNumber", "3")
    check("a broker that cannot be reached from outside fails the deployment", result.returncode == 1 and
          "no name of it answers" in result.stdout, result.stdout)


def failures():
    """One of each kind of call fails: the deployment stops and names it, and the next one goes on from there."""
    azure, package = Azure("failures"), make_package()
    arguments = [PASSWORD, "-PackageFile", package, "-SshSourcePrefix", "*", "-ShutdownEmail", "me@example.org"]
    clean = Azure("clean")
    result = clean.run("deploy", *arguments)
    if not check("a deployment without failures ends well", result.returncode == 0, result.stdout):
        return
    kinds = list(dict.fromkeys(kind(words) for words in clean.calls()))
    for each in kinds:
        azure.forget_calls() if azure.calls() else None
        check_failure(azure, arguments, {"kind": each}, each)
    result = azure.run("deploy", *arguments)
    check("after a failure of each kind, a deployment ends well", result.returncode == 0, result.stdout)
    check("and made what one without failures makes", comparable(azure) == comparable(clean), difference(azure, clean))
    if os.environ.get("FULL") == "1":
        every_failure(arguments, clean)
    else:
        skip("a failure at each call, before and after it took effect (FULL=1)", 2 * len(clean.calls()))


def kind(words):
    return " ".join(words[:next(at for at, word in enumerate(words) if word.startswith("-"))])


def comparable(azure):
    """The state without the keys that each computer has its own of, and the names of template deployments."""
    state = {path: value for path, value in azure.state().items() if "/deployments/" not in path}
    return re.sub(r"ssh-ed25519 [A-Za-z0-9+/=]+", "KEY", json.dumps(state, sort_keys=True, indent=1))


def difference(one, other):
    lines = [comparable(azure).splitlines() for azure in (one, other)]
    return "\n".join(difflib.unified_diff(*lines, lineterm=""))


def check_failure(azure, arguments, plan, command):
    result = azure.run("deploy", *arguments, plan={"when": "before", **plan})
    check(f"a failure of `az {command}` stops the deployment, which names it ({plan.get('when', 'before')})",
          result.returncode == 1 and f"az {command}" in result.stdout and "The broker is ready" not in result.stdout, result.stdout)
    check("and leaves no secret", PASSWORD not in result.stdout and not azure.leaks(PASSWORD), azure.leaks(PASSWORD))


def every_failure(arguments, clean):
    def one(when, number, words):
        azure = Azure(f"failure-{when}-{number}")
        check_failure(azure, arguments, {"fail": number, "when": when}, kind(words))
        azure.forget_calls()
        result = azure.run("deploy", *arguments)
        check(f"after a failure {when} call {number}, `az {kind(words)}`, a deployment ends well",
              result.returncode == 0 and comparable(azure) == comparable(clean), result.stdout + difference(azure, clean))

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda job: one(*job), [
            (when, number, words) for number, words in enumerate(clean.calls(), 1) for when in ("before", "after")
            # What only reads takes no effect.
            if when == "before" or not re.search(r" (show|list|exists)$|run-command", kind(words))]))


def semantics():
    azure = Azure("semantics")
    result = azure.run(HERE + "/semantics.ps1")
    check("PowerShell is as the scripts expect", result.returncode == 0 and result.stdout.strip() == "as expected", result.stdout)
    with open(azure.home + "/unknown.ps1", "w", encoding="utf-8") as file:
        file.write("Get-Process | Sort-Object\n")
    if "powershell.py" not in SHELL[1]:
        return
    result = subprocess.run([*SHELL, azure.home + "/unknown.ps1"], capture_output=True, text=True)
    check("its reading refuses what it does not know", result.returncode == 3 and "unsupported" in result.stderr, result.stderr)


def coverage():
    """Each place of the scripts that calls the Azure CLI was reached."""
    if "powershell.py" not in SHELL[1]:
        skip("which calls of the Azure CLI were reached: only the reading of PowerShell tells")
        return
    with open(WORK + "/coverage", encoding="utf-8") as file:
        reached = set(file.read().splitlines())
    from static import az_commands
    for path in sorted(glob.glob(DEPLOY + "/*.ps1")):
        for line, words in az_commands(path):
            check(f"reached: {os.path.basename(path)}:{line}: az {' '.join(words[:4])}", f"{os.path.basename(path)}:{line}" in reached)


def render(package):
    """Only what tests/deploy/machine* need."""
    for name, more in (("default", {}), ("insecure", {"DEPLOY_ALLOW_INSECURE": "true"})):
        azure = Azure(name)
        result = azure.run("deploy", PASSWORD, "-PackageFile", package, "-SshSourcePrefix", "*", **more)
        if result.returncode != 0:
            sys.exit(result.stdout)
        keep(name, azure.custom_data(), suffixed(PASSWORD))
        print(f"{FOLDER}/custom-data/{name}.yaml")


if __name__ == "__main__":
    isolate()
    server = start_cloud()
    try:
        if "--render" in sys.argv:
            render(sys.argv[sys.argv.index("--render") + 1])
            sys.exit()
        only = os.environ.get("ONLY", "").split()
        scenarios = [default, failures, insecure, unique_secrets, landing_zone, nothing_is_changed, machine_in_trouble, semantics]
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            for scenario, future in [(each, pool.submit(each)) for each in scenarios if not only or each.__name__ in only]:
                error = future.exception()
                check(f"the scenario {scenario.__name__} ran to its end", error is None, repr(error))
        coverage()
    finally:
        server.kill()
        shutil.rmtree(WORK)
    finish()
