"""Offers `rating` over HTTP, with Python's standard library alone, and registers it at an HTTP door: a registry's, or its sidecar's.

It is told what examples/services/README.md says of a provider, and tells the same. REGISTRY is the door: http://HOST:PORT.
"""
import json
import os
import random
import signal
import socketserver
import sys
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler

LONGEST_END_S = 10  # a door that does not answer cannot keep the service: it ends after a while anyway
QUIET_S = 1  # callers learn within milliseconds that an instance was withdrawn; this is that, many times over
LONGEST_QUIET_S = 7
END = {signal.SIGTERM, signal.SIGINT}

signal.pthread_sigmask(signal.SIG_BLOCK, END)  # for every thread: the main one asks for them when it has nothing else to do
door, name, port = os.environ["REGISTRY"], os.environ["NAME"], int(os.environ["PORT"])
work_s = int(os.environ["WORK_MS"]) / 1000
browser = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # whatever proxy the environment names


def report(**line):
    try:
        print(json.dumps(line), flush=True)
    except BrokenPipeError:
        pass  # whoever started the service is gone, and it ends


def ask(method, path, body=None, timeout=40):
    data = None if body is None else json.dumps(body).encode()
    headers = {"content-type": "application/json"}
    return browser.open(urllib.request.Request(door + path, data, headers, method=method), timeout=timeout)


class Traffic:
    """Counts the calls, so that the service closes only once nobody uses it any more."""

    def __init__(self):
        self.lock, self.serving, self.last_at, self.leaving = threading.Lock(), 0, 0.0, False

    def __enter__(self):
        with self.lock:
            self.serving, self.last_at = self.serving + 1, time.monotonic()

    def __exit__(self, *_):
        with self.lock:
            self.serving -= 1

    def quiet(self):
        begin = time.monotonic()
        while time.monotonic() - begin < LONGEST_QUIET_S:
            if self.serving == 0 and time.monotonic() - max(self.last_at, begin) >= QUIET_S:
                return
            time.sleep(0.05)


class Rating(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # the default closes the connection after each answer
    disable_nagle_algorithm = True

    def do_GET(self):
        with traffic:
            time.sleep(work_s)
            item = self.path.rsplit("/", 1)[-1]
            body = json.dumps({"by": name, "item": item, "stars": sum(item.encode()) % 5 + 1}).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            if traffic.leaving:
                self.send_header("connection", "close")  # the next call goes to another instance
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(socketserver.ThreadingTCPServer):  # http.server's own asks DNS for its name, which may take long
    allow_reuse_address, daemon_threads, request_queue_size = True, True, 128


class Registration(threading.Thread):
    """Lives as long as the connection to the door; one that breaks is made again."""

    def __init__(self):
        super().__init__(daemon=True)
        self.in_force, self.id, self.wanted = threading.Event(), "", True

    def run(self):
        offer = {"service": "rating", "host": "127.0.0.1", "port": port, "application": name}
        while self.wanted:
            try:
                with ask("POST", "/v1/instances?follow", offer) as events:
                    for line in events:
                        if line.startswith(b"data: "):
                            self.hear(json.loads(line[6:]))
            except OSError as error:
                print(error, file=sys.stderr)
            time.sleep(0.1 + random.random())

    def hear(self, said):
        if said.get("status") == 410:
            self.wanted = False  # registered elsewhere: not to be taken back
        if said.get("inForce"):
            self.id = said["id"]
            self.in_force.set()

    def withdraw(self):
        self.wanted = False
        try:
            if self.id:
                ask("DELETE", f"/v1/instances/{self.id}", timeout=3).close()
        except OSError as error:
            print(error, file=sys.stderr)  # the door is gone, and what it knew of this service with it


def end_with_standard_input():
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)


traffic, registration = Traffic(), Registration()
server = Server(("127.0.0.1", port), Rating)
threading.Thread(target=server.serve_forever, daemon=True).start()
threading.Thread(target=end_with_standard_input, daemon=True).start()
registration.start()
threading.Thread(target=lambda: registration.in_force.wait() and report(event="ready"), daemon=True).start()

signal.sigwait(END)
threading.Timer(LONGEST_END_S, os._exit, [1]).start()
registration.withdraw()
traffic.leaving = True
traffic.quiet()
report(event="ended", started=0)
os._exit(0)
