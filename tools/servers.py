"""Servers and clients for the scripts that play incidents (restart-matrix, sentinel)."""
import atexit
import os
import random
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
AOF = {
    "off": ["--appendonly", "no", "--save", "3600 1"],
    "everysec": ["--appendonly", "yes", "--appendfsync", "everysec", "--save", ""],
    "always": ["--appendonly", "yes", "--appendfsync", "always", "--save", ""],
}
RING = 64 << 20
PATIENCE = 180


class Client:
    """RESP2 replies; an error is raised."""

    def __init__(self, port, patience=PATIENCE):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=patience)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb")

    def __call__(self, *words):
        words = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        self.socket.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words))
        return self.reply()

    def reply(self):
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("cut off")
        kind, rest = line[:1], line[1:-2]
        if kind == b"-":
            raise RuntimeError(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == b"-1" else self.file.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return [self.reply() for _ in range(int(rest))]
        return rest

    def info(self, section="everything"):
        lines = self("INFO", section).decode().splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)


def free_port():
    """Below the ports of outgoing connections, so that none takes it while its server is down."""
    while True:
        port = random.randrange(30_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                pass


class Server:
    """A server with a directory of its own; the same port over all its lives."""

    def __init__(self, binary, work, name, aof, replica_of=None):
        self.binary, self.dir, self.port, self.aof = binary, work / name, free_port(), aof
        self.dir.mkdir()
        self.replica_of, self.process = replica_of, None
        self.ours = "ringhold" in os.path.basename(binary)

    def directives(self):
        lines = ["--port", self.port, "--dir", self.dir, "--enable-debug-command", "yes"]
        lines += ["--repl-diskless-sync-delay", "0", "--repl-backlog-size", RING, *AOF[self.aof]]
        lines += ["--rdbcompression", "no"]  # DEBUG POPULATE's values are zeros
        return lines + (["--replicaof", f"127.0.0.1 {self.replica_of.port}"] if self.replica_of else [])

    def start(self):
        command = [str(word) for word in [self.binary, *self.directives()]]
        self.log = open(self.dir / "log", "ab")
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log, cwd=self.dir)
        wait(lambda: self.connect()("PING") == b"PONG", f"{self.dir.name} to start")
        atexit.register(self.process.kill)  # if whoever plays the incident gives up
        return self

    def connect(self):
        return Client(self.port)

    def end(self, how=signal.SIGKILL):
        self.process.send_signal(how)
        self.process.wait(PATIENCE)

    def stop(self):
        """Stock refuses to end while it writes its first log: it is asked again."""
        until = time.monotonic() + PATIENCE
        while self.process.poll() is None and time.monotonic() < until:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(2 if not self.ours else PATIENCE)
            except subprocess.TimeoutExpired:
                pass


def wait(probe, what, limit=PATIENCE):
    until = time.monotonic() + limit
    while True:
        try:
            if probe():
                return
        except (OSError, RuntimeError, ConnectionError):
            pass
        if time.monotonic() > until:
            raise TimeoutError(what)
        time.sleep(0.02)


class Writer(threading.Thread):
    """Counts up under its own keys as fast as answers come; remembers the last count that was acknowledged."""

    def __init__(self, server, size=100):
        super().__init__(daemon=True)
        self.server, self.size, self.acked, self.going = server, size, 0, True
        self.start()

    def run(self):
        pad = b"x" * self.size
        try:
            client = self.server.connect()
            while self.going:
                client("SET", f"w:{self.acked + 1}", pad)
                self.acked += 1
        except (OSError, RuntimeError, ConnectionError):
            pass

    def stop(self):
        self.going = False
        self.join()

    def lost(self, server):
        client = server.connect()
        return sum(client("EXISTS", f"w:{n}") == 0 for n in range(1, self.acked + 1))
