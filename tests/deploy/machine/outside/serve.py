#!/usr/bin/env python3
"""serve.py URL FILE: serves the file at that URL and nothing else, by TLS where the URL says so."""

import http.server
import ssl
import sys
from pathlib import Path
from urllib.parse import urlsplit

url, file = urlsplit(sys.argv[1]), Path(sys.argv[2])


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path != url.path:
            self.send_error(404)
            return
        body = file.read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


server = http.server.ThreadingHTTPServer(("", url.port or {"http": 80, "https": 443}[url.scheme]), Handler)
if url.scheme == "https":
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain("/root/server.crt", "/root/server.key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
