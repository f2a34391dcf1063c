"""A service in the mesh and its caller, with Python's standard library alone, told only door, name and port:
    DUALMESH=http://127.0.0.1:13380 NAME=hello-1 PORT=9001 python3 hello.py provider
    DUALMESH=http://127.0.0.1:13380 NAME=caller RATE=5 python3 hello.py consumer
"""
import json, os, random, signal, socketserver, sys, threading, time, urllib.request
from http.server import BaseHTTPRequestHandler
door, name, port = os.environ["DUALMESH"], os.environ["NAME"], int(os.environ.get("PORT", 0))
known, ending, latest, started = threading.Event(), threading.Event(), {}, 0
browser = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # whatever proxy the environment names
signal.signal(signal.SIGTERM, lambda *_: ending.set())
threading.Thread(target=lambda: (sys.stdin.read(), ending.set()), daemon=True).start()

def say(**line): print(json.dumps(line), flush=True)
def call(url, body=None, method=None):
    data = body and json.dumps(body).encode()
    return browser.open(urllib.request.Request(url, data, {"content-type": "application/json"}, method=method), timeout=40)
def follow(path, told, body=None):
    while not ending.is_set():  # a connection that breaks is made again
        try:
            for line in call(door + path, body):
                if line.startswith(b"data: "): told(json.loads(line[6:]))
        except OSError as error: print(error, file=sys.stderr)
        ending.wait(random.random())

class Server(socketserver.ThreadingTCPServer):  # http.server's own asks DNS for its name, which may take long
    allow_reuse_address, daemon_threads, request_queue_size = True, True, 128

class Hello(BaseHTTPRequestHandler):
    protocol_version, disable_nagle_algorithm = "HTTP/1.1", True
    def answer(self, body):
        self.send_response(200), self.send_header("content-length", str(len(body))), self.end_headers()
        self.wfile.write(body)
    def do_GET(self): self.answer(json.dumps({"by": name, "hello": self.path.split("/")[-1]}).encode())
    def do_POST(self): self.answer(self.rfile.read(int(self.headers["content-length"])))
    def log_message(self, *_): pass

def told(said):
    latest.update(said)
    if said.get("status") == 410: latest.clear(), ending.set()  # registered elsewhere: not to be taken back
    if "id" in said or said.get("instances"): known.set()
if sys.argv[1] == "provider":
    threading.Thread(target=Server(("", port), Hello).serve_forever, daemon=True).start()
    what = "/v1/instances?follow", told, {"service": "hello", "port": port, "application": name}
else: what = "/v1/services/hello/events", told
threading.Thread(target=follow, args=what, daemon=True).start()
while not ending.is_set() and not known.wait(0.1): pass
say(event="ready")
while not ending.wait(1 / float(os.environ.get("RATE", 1))):
    if sys.argv[1] == "provider": continue
    at, by, error, url, started = time.time(), "", "", "", started + 1
    try:
        url = random.choice(latest["instances"])["url"]
        by = json.load(call(f"{url}/hello/{started}"))["by"]
    except (OSError, IndexError, ValueError) as failure: error = repr(failure)
    say(event="calls", calls=[{"at": at * 1000, "ms": (time.time() - at) * 1000, "dialled": url, "by": by, "error": error}])
if "id" in latest:  # withdraw first, then serve those who have not heard of it
    call(f"{door}/v1/instances/{latest['id']}", method="DELETE").close(), time.sleep(1)
say(event="ended", started=started)
