"""Snapshots and clones of a pool against bare FICLONE, and launches with volumes against launches without."""

import fcntl
import itertools
import os
import pathlib
import subprocess
import tempfile
import time
import uuid

from clouds import ROOT, dev
from control_plane import run_parameters, wait_running
from measure import line, pairs

ROUNDS = 30
MIB = 1 << 20
# So much of each volume is written, whatever its size: the time follows the extents.
WRITTEN = 64
# linux/fs.h
FICLONE = 0x40049409


class FileSystem:
    """An XFS in a file of its own."""

    def __init__(self, folder):
        self.mount, image = folder / "mount", folder / "pool.xfs"
        self.mount.mkdir()
        with open(image, "wb") as file:
            file.truncate(4 << 30)
        subprocess.run(["mkfs.xfs", "-q", "-m", "reflink=1", image], check=True)
        subprocess.run(["mount", "-o", "loop", image, self.mount], check=True)

    def close(self):
        subprocess.run(["umount", self.mount], check=True)


class Copies:
    """The functions that the agent of a storage host calls, kept running as it is, and their rival on the same file."""

    def __init__(self, mount, gib):
        self.numbers, self.folder = itertools.count(), mount / f"bare-{gib}"
        self.folder.mkdir()
        pool = mount / f"pool-{gib}"
        pool.mkdir()
        self.process = subprocess.Popen([ROOT / "target/release/examples/pool_copies", pool, str(gib)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        self.file = self.process.stdout.readline().strip()
        with open(self.file, "r+b") as file:
            for _ in range(WRITTEN):
                file.write(os.urandom(MIB))
            os.fsync(file.fileno())

    def ask(self, what):
        print(what, file=self.process.stdin, flush=True)
        if self.process.stdout.readline() != "done\n":
            raise RuntimeError(f"no {what} was made")

    def bare(self):
        with open(self.file, "rb") as source, open(self.folder / str(next(self.numbers)), "wb") as copy:
            fcntl.ioctl(copy.fileno(), FICLONE, source.fileno())
            os.fsync(copy.fileno())

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def measure():
    # Not below /tmp, which may be memory: flushes count.
    with tempfile.TemporaryDirectory(prefix="bench-", dir=ROOT / "target") as scratch:
        system = FileSystem(pathlib.Path(scratch))
        try:
            yield from copies(system.mount)
        finally:
            system.close()
    yield launches()


def copies(mount):
    all = {gib: Copies(mount, gib) for gib in (1, 10, 100)}
    try:
        for what in ("snapshot", "clone"):
            for gib, own in all.items():
                yield line(f"M16-{what}", f"{what} of a volume of {gib} GiB with {WRITTEN} MiB written", "FICLONE and fsync of the same file",
                           pairs(lambda: own.ask(what), own.bare, ROUNDS), at_most=1.5)
            found = pairs(lambda: all[100].ask(what), lambda: all[1].ask(what), ROUNDS)
            yield line(f"M16-{what}", f"{what} of a volume of 100 GiB", "ours of 1 GiB", found)
    finally:
        for own in all.values():
            own.close()


def launches():
    with dev("sim", 10) as cloud:
        cloud.tepui("pool", "create", "fast", "--backend", "iscsi", "--node", cloud.tepui("node", "list", "--quiet").split()[0], "--path", "/srv/fast")
        wait_pool(cloud)
        mappings = {}
        for number, letter in enumerate("fgh", 1):
            mappings[f"BlockDeviceMapping.{number}.DeviceName"] = f"/dev/sd{letter}"
            mappings[f"BlockDeviceMapping.{number}.Ebs.VolumeSize"] = 1
        ready = {}

        def before():
            wait_running(cloud.wire)
            for name, more in (("with", mappings), ("without", {})):
                parameters = run_parameters(cloud.image) | more
                ready[name] = cloud.wire.prepare("RunInstances", **parameters, ClientToken=uuid.uuid4().hex)

        send = lambda name: lambda: cloud.wire.send(ready[name])
        return line("M17", "RunInstances with three volumes, acknowledged, simulated hosts", "without",
                    pairs(send("with"), send("without"), 41, 5, before), at_most=1.3)


def wait_pool(cloud):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if "fully operational" in cloud.tepui("pool", "list"):
            return
        time.sleep(0.2)
    raise RuntimeError("the pool cannot be used")
