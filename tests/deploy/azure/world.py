"""The world around the scripts: a simulated Azure, and somebody's computer in front of it."""

import base64
import glob
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
DEPLOY = os.path.normpath(os.path.join(HERE, "../../../deploy"))
WORK = tempfile.mkdtemp(prefix="azure-")
SOCKET = WORK + "/cloud.socket"
SHELL = [shutil.which("pwsh"), "-NoProfile", "-NonInteractive", "-File"] if shutil.which("pwsh") else \
    [sys.executable, HERE + "/powershell.py"]
DOMAIN = "cloudapp.azure.com"
# The machines of the scenarios, as the certificate of their stand-in names them.
NAMES = ["mqdev01-0xacc5.australiaeast", "mqdev01v4-0xacc5.australiaeast", "mqprod02-contoso.westeurope", "mqprod02v4-contoso.westeurope"]


def isolate():
    """In our own network namespace: the names of the scenarios lead to loopback, where a TLS server stands for the broker."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    hosts = os.path.join(WORK, "hosts")
    with open(hosts, "w", encoding="utf-8") as file:
        for name in NAMES:
            file.write(f"{'127.0.0.1' if 'v4-' in name else '::1'} {name}.{DOMAIN}\n")
    subprocess.run(["mount", "--bind", hosts, "/etc/hosts"], check=True)
    make_certificate()
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        listener = socket.socket(family)
        listener.bind((address, 8883))
        listener.listen()
        threading.Thread(target=serve_tls, args=(listener,), daemon=True).start()


def make_certificate():
    names = ",".join(f"DNS:{name}.{DOMAIN}" for name in NAMES)
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                    "-subj", "/CN=broker of a test", "-addext", f"subjectAltName={names}",
                    "-addext", "keyUsage=critical,digitalSignature,keyCertSign",
                    "-keyout", WORK + "/key.pem", "-out", WORK + "/certificate.pem"], check=True, capture_output=True)


def serve_tls(listener):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(WORK + "/certificate.pem", WORK + "/key.pem")
    while True:
        connection, _ = listener.accept()
        try:
            context.wrap_socket(connection, server_side=True).close()
        except OSError:
            pass


def start_cloud():
    server = subprocess.Popen([sys.executable, HERE + "/cloud.py", "serve", SOCKET], stdout=subprocess.PIPE, text=True)
    if server.stdout.readline() != "ready\n":
        sys.exit("the simulated Azure does not start")
    return server


def make_package():
    """A stand-in: nothing here looks into it."""
    path = tempfile.mkdtemp(dir=WORK) + "/mqtt-acl_0.0.0_amd64.deb"
    with open(path, "wb") as file:
        file.write(os.urandom(1000))
    return path


class Azure:
    """A simulated Azure, and somebody's computer in front of it."""

    def __init__(self, name):
        self.folder = os.path.join(WORK, name)
        self.home = os.path.join(self.folder, "home")
        os.makedirs(self.home + "/.ssh")
        os.makedirs(self.home + "/tmp")
        with open(self.home + "/.ssh/id_ed25519.pub", "w", encoding="utf-8") as file:
            key = base64.b64encode(b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + os.urandom(32)).decode()
            file.write(f"ssh-ed25519 {key} somebody@example.org\n")

    def run(self, script, *arguments, plan=None, **environment):
        """Runs a script; what it prints is kept as well."""
        self.write("plan.json", plan or {})
        environment = {
            "PATH": f"{HERE}/bin:{os.environ['PATH']}", "HOME": self.home, "TMPDIR": self.home + "/tmp", "CLOUD": self.folder,
            "CLOUD_SOCKET": SOCKET, "SSL_CERT_FILE": WORK + "/certificate.pem", "LONGEST_SLEEP": "0.01",
            "COVERAGE": WORK + "/coverage", **environment,
        }
        path = script if "/" in script else f"{DEPLOY}/{script}-mosquitto.ps1"
        result = subprocess.run([*SHELL, path, *arguments], cwd=self.home, env=environment, stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if result.returncode == 3 and "unsupported" in result.stdout:
            sys.exit(result.stdout)
        if "powershell.py" not in SHELL[1]:
            # The real one breaks its error messages into lines, and puts a bar before each.
            result.stdout = re.sub(r"\x1b\[[0-9;]*m", "", re.sub(r"\n\s*\|\s*", " ", result.stdout))
        return result

    def write(self, name, value):
        with open(os.path.join(self.folder, name), "w", encoding="utf-8") as file:
            json.dump(value, file)

    def read(self, name):
        path = os.path.join(self.folder, name)
        if not os.path.exists(path):
            return ""
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()

    @property
    def resources(self):
        return json.loads(self.read("resources.json") or "{}")

    def lines(self):
        return [json.loads(line) for line in self.read("calls.jsonl").splitlines()]

    def calls(self):
        return [line["words"] for line in self.lines() if "words" in line]

    def changes(self):
        return [line for line in self.lines() if line.get("method") not in (None, "GET", "HEAD") and "/validate" not in line["path"]]

    def forget_calls(self):
        self.write("calls.jsonl", "")
        os.remove(self.folder + "/calls.jsonl")

    def of_type(self, kind):
        return [r for r in self.resources.values() if r["type"].lower() == kind.lower()]

    def machine(self):
        machines = self.of_type("Microsoft.Compute/virtualMachines")
        return machines[0] if len(machines) == 1 else None

    def custom_data(self):
        return base64.b64decode(self.machine()["properties"]["osProfile"]["customData"]).decode()

    def rules(self):
        """Name, port, protocol and sources of the rules of the firewall."""
        return {r["name"]: (p["destinationPortRange"], p["protocol"], p["access"], p["direction"],
                            tuple(p.get("sourceAddressPrefixes") or [p["sourceAddressPrefix"]]))
                for r in self.of_type("Microsoft.Network/networkSecurityGroups/securityRules") for p in [r["properties"]]}

    def state(self):
        """All there is, but for what is random."""
        state = self.resources
        for resource in state.values():
            profile = resource.get("properties", {}).get("osProfile", {})
            if "customData" in profile:
                data = base64.b64decode(profile["customData"]).decode()
                profile["customData"] = re.sub(r'(password = ").*"', r'\1"', data)
        return state

    def leaks(self, *secrets):
        """Where one of the secrets is: in requests, command lines, files that are left, or the CLI's own log."""
        found = []
        for path in glob.glob(self.folder + "/**", recursive=True, include_hidden=True):
            if os.path.isfile(path) and not path.endswith(".secrets"):
                with open(path, "rb") as file:
                    data = file.read()
                if any(secret.encode() in data for secret in secrets):
                    found.append(path)
        for line in self.lines():
            # Custom data travels encoded.
            for encoded in re.findall(r"[A-Za-z0-9+/=]{200,}", json.dumps(line)):
                if any(secret.encode() in base64.b64decode(encoded + "==") for secret in secrets):
                    found.append(f"{line.get('method')} {line.get('path')}")
        return found + os.listdir(self.home + "/tmp")
