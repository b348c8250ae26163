#!/usr/bin/env python3
"""The real Azure CLI in front of a small Azure Resource Manager that lives in a folder. Touches no network.

usage: cloud.py serve SOCKET        loads the CLI once, and runs each call in a process of its own
       cloud.py parse < LINES       whether the CLI's parser takes each command, a JSON list of words per line

`serve` answers the program `az` beside this file. What CLOUD, an environment variable of that program, names is the folder:
    resources.json   what there is, by lower-case path; kept from call to call
    calls.jsonl      each call's words, and each request it made
    plan.json        may say {"fail": NUMBER} or {"kind": COMMAND}: that call, or the first of that kind, is refused, or with
                     {"when": "after"} after it took effect; and {"said": [TEXT...]}: what the machine prints at each
                     run-command, the last for ever

It is a reading of Azure, and not the thing itself. It refuses what Azure is known to refuse (references to what is not there,
deletion of what is in use, changes to what cannot change), and everything that it does not know.
"""

import importlib
import io
import json
import logging
import os
import re
import signal
import socket
import sys
import time
import traceback
from urllib.parse import parse_qs, urlsplit

SUBSCRIPTION = "acc50000-1111-2222-3333-444455556666"
PROFILE = {"installationId": "00000000-0000-0000-0000-000000000000", "subscriptions": [{
    "id": SUBSCRIPTION, "name": "Simulated", "state": "Enabled", "isDefault": True, "environmentName": "AzureCloud",
    "tenantId": "00000000-0000-0000-0000-000000000001", "homeTenantId": "00000000-0000-0000-0000-000000000001",
    "managedByTenants": [], "user": {"name": "somebody@example.org", "type": "user"},
}]}


class Refused(Exception):
    def __init__(self, status, code, message):
        super().__init__(message)
        self.status, self.code = status, code


class Cloud:
    """One call's view of the resource manager."""

    def __init__(self, folder, words):
        self.folder = folder
        self.resources = self.read("resources.json", {})
        self.plan = self.read("plan.json", {})
        calls = [json.loads(line)["words"] for line in self.lines("calls.jsonl", "words")]
        self.number = len(calls) + 1
        kind = self.plan["kind"].split() if "kind" in self.plan else None
        self.must_fail = self.plan.get("fail") == self.number or (
            kind == words[:len(kind or [])] and not any(call[:len(kind)] == kind for call in calls))
        self.log(words=words)

    def read(self, name, default):
        path = os.path.join(self.folder, name)
        if not os.path.exists(path):
            return default
        with open(path, encoding="utf-8") as file:
            return json.load(file)

    def lines(self, name, key):
        path = os.path.join(self.folder, name)
        if not os.path.exists(path):
            return []
        with open(path, encoding="utf-8") as file:
            return [line for line in file if key in json.loads(line)]

    def log(self, **what):
        with open(os.path.join(self.folder, "calls.jsonl"), "a", encoding="utf-8") as file:
            file.write(json.dumps({"call": self.number, **what}) + "\n")

    def save(self):
        with open(os.path.join(self.folder, "resources.json"), "w", encoding="utf-8") as file:
            json.dump(self.resources, file, indent=1)

    def answer(self, method, url, body):
        """What the resource manager answers: status and body."""
        parts = urlsplit(url)
        self.log(method=method, path=parts.path, query=parse_qs(parts.query), body=body)
        denied = {"error": {"code": "AuthorizationFailed", "message": "the test refuses this call"}}
        if self.must_fail and self.plan.get("when") != "after":
            return 403, denied
        try:
            if parts.hostname != "management.azure.com":
                raise Refused(404, "UnknownHost", parts.hostname)
            status, answer = self.act(method, parts.path, parse_qs(parts.query), body)
            self.save()
        except Refused as refusal:
            return refusal.status, {"error": {"code": refusal.code, "message": str(refusal)}}
        if self.must_fail and method not in ("GET", "HEAD"):
            return 403, denied
        return status, answer

    def act(self, method, path, query, body):
        low = path.lower().rstrip("/")
        if method == "GET" and (known := self.metadata(path, low)) is not None:
            return 200, known
        group = re.match(r"/subscriptions/([^/]+)(?:/resourcegroups/([^/]+))?", low)
        if not group or group[1] != SUBSCRIPTION:
            raise Refused(404, "SubscriptionNotFound", path)
        is_group = re.fullmatch(r"/subscriptions/[^/]+/resourcegroups/[^/]+", low)
        if group[2] and not is_group and group[0] not in self.resources:
            raise Refused(404, "ResourceGroupNotFound", f"Resource group '{group[2]}' could not be found.")
        if method == "HEAD":
            return (204 if low in self.resources else 404), None
        if method == "GET":
            return 200, self.get(low, query)
        if method in ("PUT", "PATCH"):
            if "/providers/microsoft.resources/deployments/" in low:
                return 201, self.deploy(path, body)
            if method == "PATCH":
                body = {**self.get(low), **body}
            return (200 if low in self.resources else 201), self.visible(self.put(path, body))
        if method == "DELETE":
            return self.delete(low)
        if method == "POST":
            return self.post(path, low)
        raise Refused(405, "Unknown", f"{method} {path}")

    def metadata(self, path, low):
        """What Azure says of itself: images, sizes, the versions of its interfaces."""
        if re.search(r"/artifacttypes/vmimage/offers/ubuntu-24_04-lts/skus/server/versions(/[^/]+)?$", low):
            image = {"name": "24.04.202611010", "location": "australiaeast", "id": path}
            if low.endswith("/versions"):
                return [{**image, "id": f"{path}/{image['name']}"}]
            return {**image, "properties": {
                "hyperVGeneration": "V2", "architecture": "x64", "osDiskImage": {"operatingSystem": "Linux"}, "dataDiskImages": [],
                "features": [{"name": "SecurityType", "value": "TrustedLaunchSupported"}]}}
        provider = re.fullmatch(r"/subscriptions/[^/]+/providers/(microsoft\.[a-z]+)", low)
        if provider:
            kinds = {r["type"].split("/", 1)[1] for r in self.resources.values() if r["type"].lower().startswith(provider[1] + "/")}
            return {"namespace": provider[1], "registrationState": "Registered", "resourceTypes": [
                {"resourceType": kind, "apiVersions": ["2024-07-01"], "locations": ["Australia East"]} for kind in kinds]}
        return None

    def get(self, low, query=None):
        if low in self.resources:
            return self.visible(self.resources[low])
        if low.endswith("/resources"):
            group = re.fullmatch(r"resourceGroup eq '([^']+)'", query.get("$filter", [""])[0])
            if not group:
                raise Refused(400, "Unknown", f"the filter {query} is not known here")
            prefix = f"{low.removesuffix('/resources')}/resourcegroups/{group[1].lower()}/providers/"
            return {"value": [self.visible(r) for path, r in self.resources.items() if path.startswith(prefix)
                              and path.removeprefix(prefix).count("/") == 2]}
        # A collection: what lies directly in it.
        if low.rsplit("/", 1)[-1] in ("virtualmachines", "networkinterfaces", "virtualnetworks", "securityrules", "subnets"):
            return {"value": [self.visible(r) for path, r in self.resources.items()
                              if path.startswith(low + "/") and "/" not in path[len(low) + 1:]]}
        raise Refused(404, "ResourceNotFound", f"The Resource '{low}' was not found.")

    def visible(self, resource):
        """A resource as Azure shows it: children within their parents, custom data never."""
        resource = json.loads(json.dumps(resource))
        path = resource["id"].lower()
        parts = {"microsoft.network/virtualnetworks": "subnets", "microsoft.network/networksecuritygroups": "securityRules"}
        if kind := parts.get(resource["type"].lower()):
            resource["properties"][kind] = [
                self.visible(r) for p, r in self.resources.items() if p.startswith(f"{path}/{kind.lower()}/")]
        if "power" in resource:
            resource["properties"]["osProfile"].pop("customData", None)
            resource["properties"]["instanceView"] = {"statuses": [
                {"code": "PowerState/" + resource["power"], "displayStatus": "VM " + resource.pop("power")}]}
        return resource

    def deploy(self, path, body):
        """`az vm create` sends a template; ours holds nothing that would have to be computed."""
        for resource in body["properties"]["template"]["resources"]:
            if re.search(r'"\[[^"]', json.dumps(resource)):  # text that begins with [ is to be computed
                raise Refused(400, "InvalidTemplate", f"not known here: {resource['name']}")
            base = re.match(r"/subscriptions/[^/]+/resource[gG]roups/[^/]+", path)[0]
            self.put(f"{base}/providers/{resource['type']}/{resource['name']}", resource)
        return {"id": path, "name": path.rsplit("/", 1)[-1], "properties": {"provisioningState": "Succeeded", "mode": "Incremental"}}

    def put(self, path, body):
        low = path.lower()
        segments = path.strip("/").split("/")
        if "providers" in segments:
            rest = segments[segments.index("providers") + 1:]
            kind = "/".join([rest[0], *rest[1::2]])
        else:
            kind = "Microsoft.Resources/resourceGroups"
        old = self.resources.get(low)
        if old and body.get("location", old.get("location")) != old.get("location"):
            raise Refused(409, "InvalidResourceLocation", f"{path} is in {old.get('location')}")
        new = {**body, "id": path, "name": segments[-1], "type": kind}
        properties = new.setdefault("properties", {})
        properties["provisioningState"] = "Succeeded"
        checks = {
            "microsoft.resources/resourcegroups": self.put_group,
            "microsoft.network/networksecuritygroups": self.put_firewall,
            "microsoft.network/networksecuritygroups/securityrules": self.put_rule,
            "microsoft.network/virtualnetworks": self.put_network,
            "microsoft.network/virtualnetworks/subnets": self.put_subnet,
            "microsoft.network/publicipaddresses": self.put_address,
            "microsoft.network/networkinterfaces": self.put_interface,
            "microsoft.compute/virtualmachines": self.put_machine,
            "microsoft.devtestlab/schedules": self.put_schedule,
        }
        if kind.lower() not in checks:
            raise Refused(400, "UnknownType", f"{kind} is not known here")
        checks[kind.lower()](low, new, properties, old)
        self.resources[low] = new
        return new

    def must_exist(self, reference, what):
        if reference and reference["id"].lower() not in self.resources:
            raise Refused(400, "InvalidResourceReference", f"{what} {reference['id']} was not found.")

    def put_group(self, low, new, properties, old):
        pass

    def put_firewall(self, low, new, properties, old):
        # A change of the group sends its rules along; they are kept as resources of their own.
        if properties.pop("securityRules", None) and not old:
            raise Refused(400, "Unknown", "rules in a new group are not known here")

    def put_rule(self, low, new, properties, old):
        parent = low.rsplit("/", 2)[0]
        self.must_exist({"id": parent}, "network security group")
        sources = properties.get("sourceAddressPrefixes") or [properties.get("sourceAddressPrefix")]
        if len({":" in source for source in sources}) > 1:
            raise Refused(400, "MixedFamilies", "a rule's addresses must be of one family")
        for path, other in self.resources.items():
            if path.startswith(parent + "/securityrules/") and path != low and \
                    (other["properties"]["priority"], other["properties"]["direction"]) == (properties["priority"], properties["direction"]):
                raise Refused(400, "SecurityRuleConflict", f"{other['name']} has the same priority")

    def put_network(self, low, new, properties, old):
        kept = {subnet["name"].lower() for subnet in properties.pop("subnets", None) or []}
        for path in [path for path in self.resources if path.startswith(low + "/subnets/")]:
            if path.rsplit("/", 1)[1] not in kept:
                self.delete(path)

    def put_subnet(self, low, new, properties, old):
        self.must_exist({"id": low.rsplit("/", 2)[0]}, "virtual network")

    def put_address(self, low, new, properties, old):
        label = (properties.get("dnsSettings") or {}).get("domainNameLabel")
        for path, other in self.resources.items():
            if path != low and label and ((other.get("properties") or {}).get("dnsSettings") or {}).get("domainNameLabel") == label:
                raise Refused(400, "DnsRecordInUse", f"{label} is taken")
        if new.get("sku", {}).get("name") == "Standard" and properties.get("publicIPAllocationMethod") != "Static":
            raise Refused(400, "StandardSkuMustBeStatic", "a Standard address is static")
        properties["ipAddress"] = "2001:db8::10" if properties.get("publicIPAddressVersion") == "IPv6" else "192.0.2.10"
        if label:
            properties["dnsSettings"]["fqdn"] = f"{label}.{new['location']}.cloudapp.azure.com"

    def put_interface(self, low, new, properties, old):
        self.must_exist(properties.get("networkSecurityGroup"), "network security group")
        configurations = properties.get("ipConfigurations") or []
        for number, configuration in enumerate(configurations):
            configuration["id"] = f"{new['id']}/ipConfigurations/{configuration['name']}"
            inner = configuration["properties"]
            self.must_exist(inner.get("subnet"), "subnet")
            self.must_exist(inner.get("publicIPAddress"), "public address")
            # The CLI says which is the primary one only where it was asked to.
            inner["primary"] = number == 0
            version = inner.get("privateIPAddressVersion") or "IPv4"
            if number == 0 and version != "IPv4":
                raise Refused(400, "PrimaryMustBeIPv4", "the primary configuration must be IPv4")
            address = inner.get("publicIPAddress")
            if address and self.resources[address["id"].lower()]["properties"]["publicIPAddressVersion"] != version:
                raise Refused(400, "VersionsDiffer", f"{address['id']} is not {version}")

    def put_machine(self, low, new, properties, old):
        for interface in properties["networkProfile"]["networkInterfaces"]:
            self.must_exist(interface, "network interface")
        data = properties.get("osProfile", {}).get("customData")
        if not old:
            new["power"] = "running"
            return
        new["power"] = old["power"]
        kept = old["properties"]["osProfile"].get("customData")
        if data not in (None, kept):
            raise Refused(409, "PropertyChangeNotAllowed", "Changing property 'osProfile.customData' is not allowed.")
        if kept:
            properties["osProfile"]["customData"] = kept

    def put_schedule(self, low, new, properties, old):
        self.must_exist({"id": properties["targetResourceId"]}, "virtual machine")

    def delete(self, low):
        if low not in self.resources:
            return 204, None
        gone = [path for path in self.resources if path == low or path.startswith(low + "/")]
        for path, other in self.resources.items():
            # A schedule may outlive its machine.
            if path in gone or other["type"].lower() == "microsoft.devtestlab/schedules":
                continue
            text = json.dumps(other).lower()
            for each in gone:
                if f'"{each}"' in text:
                    raise Refused(400, "InUse", f"{each} is in use by {path}")
        for path in gone:
            del self.resources[path]
        return 200, None

    def post(self, path, low):
        machine, action = low.rsplit("/", 1)
        if "/deployments/" in low and action == "validate":
            return 200, {"properties": {"provisioningState": "Succeeded"}}
        if machine not in self.resources:
            raise Refused(404, "ResourceNotFound", f"The Resource '{machine}' was not found.")
        if action in ("start", "deallocate"):
            self.resources[machine]["power"] = {"start": "running", "deallocate": "deallocated"}[action]
            return 200, None
        if action == "runcommand":
            if self.resources[machine]["power"] != "running":
                raise Refused(409, "OperationNotAllowed", "the machine does not run")
            before = len([line for line in self.lines("calls.jsonl", "words") if "run-command" in line]) - 1
            said = self.plan.get("said") or ["broker ready, websockets=yes"]
            text = said[min(before, len(said) - 1)]
            return 200, {"value": [{"code": "ProvisioningState/succeeded", "level": "Info", "displayStatus": "Provisioning succeeded",
                                    "message": f"Enable succeeded: \n[stdout]\n{text}\n\n[stderr]\n"}]}
        raise Refused(404, "Unknown", f"POST {path}")


def shut_network():
    """Nothing leaves: neither by the CLI's requests, which end in Cloud, nor otherwise."""
    def refuse(*_arguments, **_more):
        raise OSError("this Azure CLI has no network")

    socket.create_connection = socket.getaddrinfo = refuse


def set_up_cli(folder):
    os.makedirs(folder, exist_ok=True)
    os.environ.update(
        AZURE_CONFIG_DIR=folder, AZURE_CORE_COLLECT_TELEMETRY="0", AZURE_EXTENSION_USE_DYNAMIC_INSTALL="no",
        AZURE_CORE_NO_COLOR="1", AZURE_CORE_SURVEY_MESSAGE="0",
    )
    profile = os.path.join(folder, "azureProfile.json")
    with open(profile, "w", encoding="utf-8") as file:
        json.dump(PROFILE, file)


def run_cli(folder, words):
    """Runs one command of the CLI against the cloud in the folder."""
    import requests
    from azure.cli.core import get_default_cli
    from azure.cli.core._profile import Profile
    from azure.core.credentials import AccessToken, AccessTokenInfo
    from knack.util import CLIError

    cloud = Cloud(folder, words)

    def send(_adapter, request, **_options):
        body = json.loads(request.body) if request.body else None
        status, answer = cloud.answer(request.method, request.url, body)
        response = requests.Response()
        response.status_code, response.request, response.url = status, request, request.url
        response.reason = {403: "Forbidden", 404: "Not Found", 409: "Conflict"}.get(status, "")
        data = json.dumps(answer).encode() if answer is not None else b""
        response.raw, response._content = io.BytesIO(data), data
        response.headers.update({"Content-Type": "application/json; charset=utf-8", "Content-Length": str(len(data))})
        return response

    class Credential:
        def get_token(self, *_scopes, **_options):
            return AccessToken("simulated", int(time.time()) + 3600)

        def get_token_info(self, *_scopes, **_options):
            return AccessTokenInfo("simulated", int(time.time()) + 3600)

    def credentials(profile, subscription_id=None, **_options):
        account = profile.get_subscription(subscription_id)
        return Credential(), account["id"], account["tenantId"]

    def get_subscription(profile, *arguments, **options):
        # Commands that ask nobody fail here.
        if cloud.must_fail and words[:1] == ["account"]:
            raise CLIError("Please run 'az login' to setup account.")
        return original(profile, *arguments, **options)

    original = Profile.get_subscription
    requests.adapters.HTTPAdapter.send = send
    Profile.get_login_credentials = credentials
    Profile.get_subscription = get_subscription
    return get_default_cli().invoke(words)


def warm_up():
    """Makes the CLI import what the scripts' commands need."""
    from azure.cli.core import get_default_cli
    from knack.events import EVENT_INVOKER_POST_PARSE_ARGS

    def stop(*_arguments, **_more):
        raise KeyboardInterrupt

    name = ["--resource-group", "g", "--name", "n"]
    for words in (
            ["group", "show", "--name", "g"], ["vm", "start", *name], ["resource", "list"], ["account", "show"],
            ["network", "nsg", "create", *name], ["network", "nsg", "rule", "list", "--resource-group", "g", "--nsg-name", "n"],
            ["network", "public-ip", "create", *name], ["network", "vnet", "create", *name], ["network", "nic", "list"]):
        cli = get_default_cli()
        cli.register_event(EVENT_INVOKER_POST_PARSE_ARGS, stop)
        try:
            cli.invoke(words)
        except KeyboardInterrupt:
            pass
    for module in ("network", "resource", "vm"):
        importlib.import_module(f"azure.cli.command_modules.{module}.custom")


def serve(path):
    """Loads the CLI, and then runs each call in a fork of itself: that saves most of its start."""
    set_up_cli(path + ".config")
    shut_network()
    warm_up()
    # Each call sets its own.
    for name in (None, "cli", "azure"):
        logging.getLogger(name).handlers.clear()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    print("ready", flush=True)
    while True:
        connection, _ = listener.accept()
        child = os.fork()
        if child == 0:
            listener.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            answer(connection)
        connection.close()


def answer(connection):
    """In the fork: runs the call with the caller's streams, and sends its exit code."""
    code = 1
    try:
        message, handles, _, _ = socket.recv_fds(connection, 1 << 20, 2)
        os.dup2(handles[0], 1)
        os.dup2(handles[1], 2)
        call = json.loads(message)
        os.chdir(call["folder"])
        try:
            code = run_cli(call["cloud"], call["words"])
        except SystemExit as end:
            code = end.code or 0
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        traceback.print_exc()
    connection.sendall(bytes([code if isinstance(code, int) else 1]))
    os._exit(0)


def parse():
    """Lets the CLI's parser look at commands, and no further."""
    import contextlib
    from azure.cli.core import get_default_cli
    from azure.cli.core.azclierror import AzCLIError
    from knack.events import EVENT_INVOKER_POST_PARSE_ARGS

    class Parsed(BaseException):
        pass

    def stop(*_arguments, **_more):
        raise Parsed

    problems = []
    AzCLIError.print_error = lambda error: problems.append(str(error))
    for line in sys.stdin:
        words = json.loads(line)
        problems.clear()
        said = io.StringIO()
        try:
            cli = get_default_cli()
            cli.register_event(EVENT_INVOKER_POST_PARSE_ARGS, stop)
            with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
                cli.invoke(words, out_file=io.StringIO())
            result = "ended before its arguments were parsed"
        except Parsed:
            # Here the parser says what Azure is about to change, too.
            result = ""
        except SystemExit:
            result = "; ".join(problems) or said.getvalue().strip() or "refused"
        print(json.dumps({"words": words, "problem": result}), flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve(sys.argv[2])
    elif sys.argv[1:2] == ["parse"]:
        set_up_cli(sys.argv[2])
        shut_network()
        parse()
    else:
        sys.exit(__doc__)
