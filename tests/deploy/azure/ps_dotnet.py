"""What the scripts use of .NET, for powershell.py: types and methods by lower-case name."""

import base64
import hashlib
import os
import secrets
import socket
import ssl
import tempfile

from ps_values import NOTHING, Failure, Native, bad


def tcp_client():
    state = {}

    def connect(host, port):
        def wait(milliseconds):
            try:
                state["socket"] = socket.create_connection((host, port), milliseconds / 1000)
            except TimeoutError:
                return False
            except OSError as error:
                raise Failure(f'Exception calling "Wait" with "1" argument(s): "{error}"') from None
            return True

        return Native(wait=wait)

    def dispose():
        if "socket" in state:
            state["socket"].close()
        return NOTHING

    return Native(connectasync=connect, getstream=lambda: Native(state=state), dispose=dispose)


def ssl_stream(stream):
    state = stream.members["state"]

    def authenticate(host):
        try:
            state["socket"] = ssl.create_default_context().wrap_socket(state["socket"], server_hostname=host)
        except OSError as error:
            raise Failure(f'Exception calling "AuthenticateAsClient" with "1" argument(s): "{error}"') from None
        return NOTHING

    return Native(authenticateasclient=authenticate, dispose=lambda: NOTHING)


def temporary_file():
    handle, path = tempfile.mkstemp(prefix="tmp", suffix=".tmp")
    os.close(handle)
    return path


def set_unix_file_mode(path, mode):
    bits = {"userread": 0o400, "userwrite": 0o200}
    os.chmod(path, sum(bits[name.strip().lower()] for name in mode.split(",")))
    return NOTHING


def pbkdf2(password, salt, iterations, prf, size):
    return hashlib.pbkdf2_hmac(prf, password, salt, iterations, size)


UTF8 = Native(getbytes=lambda text: text.encode(), getbytecount=lambda text: len(text.encode()))
ASCII = Native(getbytes=lambda text: text.encode("ascii"))
STATIC = {
    "text.encoding": {"utf8": UTF8, "ascii": ASCII},
    "convert": {"tobase64string": lambda data: base64.b64encode(data).decode()},
    "security.cryptography.randomnumbergenerator": {"getbytes": secrets.token_bytes},
    "security.cryptography.sha256": {"hashdata": lambda data: hashlib.sha256(data).digest()},
    "security.cryptography.hashalgorithmname": {"sha512": "sha512"},
    "security.cryptography.rfc2898derivebytes": {"pbkdf2": pbkdf2},
    "io.path": {"gettempfilename": temporary_file},
    "io.file": {"setunixfilemode": set_unix_file_mode},
    "net.sockets.tcpclient": {"new": tcp_client},
    "net.security.sslstream": {"new": ssl_stream},
}


def number_text(number, pattern=None):
    if pattern is None:
        return str(number)
    return str(number).zfill(len(pattern)) if set(pattern) == {"0"} else bad(f"format {pattern}")


METHODS = {
    str: {
        "tolowerinvariant": str.lower,
        "trimend": lambda text, what=None: text.rstrip(what),
        "replace": str.replace,
        "substring": lambda text, start, size=None: text[start:] if size is None else text[start:start + size],
        "startswith": str.startswith,
    },
    int: {"tostring": number_text},
}
