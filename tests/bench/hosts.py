"""Storage hosts of the benchmark: a network, a /run and processes of their own."""

import contextlib
import pathlib
import subprocess

ADDRESS = "10.99.0.1"
# Its processes end with the first of them, which ends once nobody holds its standard input: also when the benchmark is killed.
SETUP = f"""
mount -t tmpfs tmpfs /run && mkdir /run/tgtd && ip link set lo up && ip address add {ADDRESS}/24 dev lo && echo ready && exec cat
"""


class Host:
    def __init__(self):
        command = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-ec", SETUP]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if self.process.stdout.readline() != "ready\n":
            raise RuntimeError("the host has no network or /run")
        pid = self.process.pid
        self.init = int(pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text())

    def inside(self, command):
        return ["nsenter", "--target", str(self.init), "--net", "--mount", "--pid", "--", *(str(word) for word in command)]

    def start(self, command, **options):
        return subprocess.Popen(self.inside(command), **options)

    def run(self, command):
        done = subprocess.run(self.inside(command), capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"{command} failed\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def close(self):
        self.process.stdin.close()
        self.process.wait()


@contextlib.contextmanager
def host():
    one = Host()
    try:
        yield one
    finally:
        one.close()
