"""The clouds that are measured: dev clouds of ours, and moto's server."""

import contextlib
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time

from wire import Wire, found

ROOT = pathlib.Path(__file__).resolve().parents[2]
TEPUI = ROOT / "target/release/tepui"
REGION = "us-east-1"


def free_port():
    """A port that is free with the two beside it that a dev cloud takes too."""
    while True:
        with socket.socket() as probe, socket.socket() as agents, socket.socket() as metrics:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
            with contextlib.suppress(OSError, OverflowError):
                agents.bind(("127.0.0.1", port + 1))
                metrics.bind(("127.0.0.1", port + 1000))
                return port


class Dev:
    """A dev cloud of ours with the tiny image imported."""

    def __init__(self, folder, hypervisor, nodes):
        self.folder = folder
        command = [TEPUI, "dev", "up", "--dir", folder, "--listen", f"127.0.0.1:{free_port()}"]
        run(command + ["--hypervisor", hypervisor, "--nodes", str(nodes)])
        self.env = dict(os.environ, **environment(folder / "env"))
        self.wire = Wire(self.env["AWS_ENDPOINT_URL"].rstrip("/"), self.env["AWS_ACCESS_KEY_ID"],
                         self.env["AWS_SECRET_ACCESS_KEY"], self.env["AWS_DEFAULT_REGION"])
        image = ROOT / "target/images/tiny.qcow2"
        run([TEPUI, "image", "import", image, "--name", "tiny", "--login-user", "root"], env=self.env)
        self.image = found("<imageId>(.*?)</imageId>", self.wire.call("DescribeImages"))[0]

    def tepui(self, *arguments):
        return run([TEPUI, *arguments], env=self.env)


@contextlib.contextmanager
def dev(hypervisor, nodes):
    with tempfile.TemporaryDirectory(prefix="tb-", dir="/tmp") as scratch:
        folder = pathlib.Path(scratch) / "c"
        try:
            yield Dev(folder, hypervisor, nodes)
        finally:
            run([TEPUI, "dev", "down", "--dir", folder])


@contextlib.contextmanager
def moto():
    port = free_port()
    server = subprocess.Popen([ROOT / "target/venv/bin/moto_server", "-H", "127.0.0.1", "-p", str(port)],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_port(port)
        wire = Wire(f"http://127.0.0.1:{port}", "key", "secret", REGION)
        wire.image = found("<imageId>(.*?)</imageId>", wire.call("DescribeImages", **{"Owner.1": "amazon"}))[0]
        wire.pid = server.pid
        yield wire
    finally:
        server.terminate()
        server.wait()


@contextlib.contextmanager
def serving(command, log):
    """A daemon that runs as long as it is needed; one that was stopped ends too."""
    with open(log, "wb") as output:
        server = subprocess.Popen([str(word) for word in command], stdout=output, stderr=output)
    try:
        yield server
    finally:
        server.send_signal(signal.SIGCONT)
        server.terminate()
        server.wait()


@contextlib.contextmanager
def memory(reply):
    """A server that sends these bytes."""
    program = pathlib.Path(__file__).with_name("memory.py")
    server = subprocess.Popen([sys.executable, program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    server.stdin.write(reply)
    server.stdin.close()
    wire = Wire(f"http://127.0.0.1:{int(server.stdout.readline())}", "key", "secret", REGION)
    try:
        yield wire
    finally:
        wire.connection.close()
        server.wait()


def wait_port(port, deadline=60):
    ends = time.monotonic() + deadline
    while time.monotonic() < ends:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise RuntimeError(f"nothing listens on port {port}")


def run(command, env=None):
    done = subprocess.run([str(word) for word in command], env=env, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{command} failed\n{done.stdout}\n{done.stderr}")
    return done.stdout


def environment(path):
    text = subprocess.run(["sh", "-c", f". '{path}'; env"], env={"PATH": os.environ["PATH"]}, capture_output=True, text=True).stdout
    return dict(re.findall(r"^((?:AWS|TEPUI)_\w+)=(.*)$", text, re.MULTILINE))
