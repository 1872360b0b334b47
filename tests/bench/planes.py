"""A control plane by itself, the fleets of simulated hosts that it holds, and the bare loop that only accepts them."""

import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import tempfile
import threading
import time
import urllib.request

from clouds import REGION, ROOT, free_port, run
from weight import footprint
from wire import Wire

PROGRAMS = ROOT / "target/release"
TICKS = os.sysconf("SC_CLK_TCK")


class Daemon:
    """A process that is ended as if the power went, and can be started again."""

    def __init__(self, command, log):
        self.command, self.log = [str(word) for word in command], log
        self.process = None

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def footprint(self):
        return footprint(self.process.pid)

    def cpu(self):
        """Seconds of a core since its start."""
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS


class Plane(Daemon):
    """A control plane of ours on a database of its own."""

    def __init__(self, folder, **scheduling):
        port = free_port()
        self.url, self.agents = f"http://127.0.0.1:{port}", f"127.0.0.1:{port + 1}"
        config = folder / "api.toml"
        self.data = folder / "api"
        lines = [f'data_dir = "{self.data}"', f'region = "{REGION}"', f'public.listen = "127.0.0.1:{port}"',
                 f'agents = {{ listen = "{self.agents}", names = ["127.0.0.1"] }}',
                 f'metrics.listen = "127.0.0.1:{port + 1000}"']
        lines += [f"scheduling.{name} = {json.dumps(value)}" for name, value in scheduling.items()]
        config.write_text("\n".join(lines) + "\n")
        super().__init__([PROGRAMS / "tepui-api", "--config", config], folder / "api.log")
        self.first = json.loads(run([PROGRAMS / "tepui-api", "--config", config, "init"]))
        self.wire = self.wire_of(self.first["access_key_id"], self.first["secret_access_key"])
        self.env = dict(os.environ, TEPUI_URL=self.url, TEPUI_TOKEN=self.first["token"])

    def wire_of(self, key, secret):
        return Wire(self.url, key, secret, REGION)

    def start(self):
        """Starts it; the seconds until it gave the first authenticated answer."""
        request = urllib.request.Request(f"{self.url}/v1/projects", headers={"Authorization": f"Bearer {self.first['token']}"})
        begun = time.perf_counter()
        super().start()
        while True:
            with contextlib.suppress(OSError), urllib.request.urlopen(request, timeout=60) as reply:
                reply.read()
                return time.perf_counter() - begun
            if self.process.poll() is not None:
                raise RuntimeError(self.log.read_text())
            time.sleep(0.001)

    def tepui(self, *arguments):
        return run([PROGRAMS / "tepui", *arguments], env=self.env)


class AcceptLoop(Daemon):
    """Shakes the same hands as the control plane, with the same authority."""

    def __init__(self, plane, folder):
        self.agents = f"127.0.0.1:{free_port()}"
        pki = plane.data / "pki"
        super().__init__([PROGRAMS / "tepui-accept-loop", "--listen", self.agents, "--ca", pki / "ca.pem",
                          "--ca-key", pki / "ca.key"], folder / "accept.log")


class Fleet:
    """Simulated hosts in one process, and how they stand."""

    def __init__(self, agents, identities, count, env, *options):
        # On machines of their own, hosts would not take the cores that the control plane and its clients share.
        command = ["nice", "-n", "15", PROGRAMS / "tepui-fleet", "--api-url", f"https://{agents}", "--dir", identities, "--count", count, *options]
        self.process = subprocess.Popen([str(word) for word in command], env=env, stdout=subprocess.PIPE, text=True)
        self.count, self.state = count, {}
        self.changed = threading.Condition()
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        for line in self.process.stdout:
            with self.changed:
                self.state = json.loads(line)
                self.changed.notify_all()

    def wait(self, fits, deadline=180):
        with self.changed:
            if not self.changed.wait_for(lambda: self.state and fits(self.state), deadline):
                raise RuntimeError(f"the fleet did not get there in {deadline} s: {self.state}")

    def all_back(self):
        self.wait(lambda state: state["back"] == self.count)

    def close(self):
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def scratch():
    """A folder in memory: thousands of identities, each with its fsync, are not what is measured."""
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else "/tmp"
    with tempfile.TemporaryDirectory(prefix="tb-", dir=memory) as folder:
        yield pathlib.Path(folder)


@contextlib.contextmanager
def running(daemon):
    daemon.start()
    try:
        yield daemon
    finally:
        daemon.kill()


@contextlib.contextmanager
def fleet(*arguments):
    hosts = Fleet(*arguments)
    try:
        yield hosts
    finally:
        hosts.close()
