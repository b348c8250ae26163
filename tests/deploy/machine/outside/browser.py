#!/usr/bin/env python3
"""browser.py HOST...: opens page.html in a headless Chromium, and prints what the page found."""

import http.server
import json
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import quote

from mqtt import secrets

page = Path(__file__).with_name("page.html").read_bytes()
reported = threading.Event()


class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self, body=b""):
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.answer(page)

    def do_POST(self):
        print(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.answer()
        reported.set()

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
given = quote(json.dumps({"hosts": sys.argv[1:], "users": secrets()}))
# Its own sandbox needs a user that is not root. Certificates are checked as ever, by the root in ~/.pki/nssdb.
chromium = subprocess.Popen(
    ["chromium-headless-shell", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--user-data-dir=/tmp/browser",
     "--remote-debugging-port=0", f"http://127.0.0.1:{server.server_port}/#{given}"],
    stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=open("/tmp/browser.log", "w"))
try:
    if not reported.wait(90):
        print("not ok - the page reports: nothing came for 90 seconds;", Path("/tmp/browser.log").read_text()[-500:])
finally:
    chromium.kill()
    chromium.wait()
