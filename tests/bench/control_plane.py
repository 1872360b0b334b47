"""RunInstances and DescribeInstances on simulated hosts, against bare SQLite and moto."""

import os
import sqlite3
import statistics
import tempfile
import time
import uuid

from clouds import dev, memory, moto
from measure import Line, line, pairs, timed
from wire import found

# What one RunInstances of ours writes: rows that it adds, and rows that it changes.
ADDED = ("token", "instance", "placement", "interface", "volume")
CHANGED = ("node", "vpc", "subnet", "project")
ROW_BYTES = 300
# Replies sent from memory take milliseconds, so that many pairs cost nothing.
FLOOR_PAIRS = 41


class BareSqlite:
    """As many rows of the same size in one durable commit."""

    def __init__(self, folder):
        self.db = sqlite3.connect(f"{folder}/bare.sqlite3", isolation_level=None)
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            self.db.execute(f"PRAGMA {pragma}")
        for name in ADDED + CHANGED:
            self.db.execute(f"CREATE TABLE {name} (id TEXT PRIMARY KEY, parent TEXT, body BLOB) STRICT")
            self.db.execute(f"CREATE INDEX {name}_parent ON {name} (parent)")
        for name in CHANGED:
            self.insert(name, "only")

    def insert(self, name, key):
        self.db.execute(f"INSERT INTO {name} VALUES (?, ?, ?)", (key, uuid.uuid4().hex, os.urandom(ROW_BYTES)))

    def commit(self):
        self.db.execute("BEGIN IMMEDIATE")
        for name in ADDED:
            self.insert(name, uuid.uuid4().hex)
        for name in CHANGED:
            self.db.execute(f"UPDATE {name} SET body = ? WHERE id = 'only'", (os.urandom(ROW_BYTES),))
        self.db.execute("COMMIT")


def run_parameters(image):
    # Without public addresses: the dev cloud has a pool of 254.
    return {"ImageId": image, "InstanceType": "t3.nano", "MinCount": 1, "MaxCount": 1,
            "NetworkInterface.1.DeviceIndex": 0, "NetworkInterface.1.AssociatePublicIpAddress": "false"}


def measure():
    with dev("sim", 10) as cloud, moto() as rival, tempfile.TemporaryDirectory(dir="/tmp") as scratch:
        bare, ready = BareSqlite(scratch), {}

        def before():
            """What the launch before set in motion on its host is over, so that each pair has the disk to itself; and the
            client has signed its requests."""
            wait_running(cloud.wire)
            for wire in (cloud.wire, rival):
                image = cloud.image if wire is cloud.wire else rival.image
                ready[wire] = wire.prepare("RunInstances", **run_parameters(image), ClientToken=uuid.uuid4().hex)

        ours, theirs = lambda: cloud.wire.send(ready[cloud.wire]), lambda: rival.send(ready[rival])
        yield line("M1a", "RunInstances acknowledged, durable, simulated hosts", "bare SQLite FULL commit of as many rows",
                   pairs(ours, bare.commit, 41, 5, before), at_most=2.0)
        yield line("M1b", "RunInstances acknowledged, durable, simulated hosts", "moto server's RunInstances (not durable)",
                   pairs(ours, theirs, 41, 5, before), at_most=0.6)
    seconds = {}
    for count, goal in ((20, 20), (1000, 100), (5000, 500)):
        yield from describe(count, goal, seconds)
    yield growth(seconds)


def growth(seconds):
    """Two clouds that were measured one after the other: medians, and no interval."""
    ratio = round(seconds[5000] / seconds[1000], 3)
    return Line("M6-linear", "DescribeInstances with 5000 instances", "ours with 1000", ratio, [ratio, ratio], "≤ 5.5×", ratio <= 5.5,
                f"{seconds[5000] * 1e3:.2f} ms", f"{seconds[1000] * 1e3:.2f} ms")


def describe(count, goal, seconds):
    with dev("sim", 100) as cloud, moto() as rival:
        cloud.tepui("quota", "set", "default", "--instances", "10000", "--vcpus", "100000", "--memory-mib", "100000000")
        widen_subnet(cloud.folder)
        fill(rival, rival.image, count)
        fill(cloud.wire, cloud.image, count)
        wait_running(cloud.wire)
        rounds = {20: 41, 1000: 15, 5000: 7}[count]
        ours = lambda: whole(cloud.wire)
        check = lambda reply: has(reply, count)
        found = pairs(ours, lambda: whole(rival), rounds, check=check)
        seconds[count] = statistics.median(mine for mine, _ in found)
        yield line(f"M6-{count}", f"DescribeInstances with {count} instances", "moto server", found, at_least=goal)
        with memory(ours()) as wire:
            floor = pairs(ours, lambda: whole(wire), FLOOR_PAIRS, check=check)
        yield line(f"M6-{count}f", f"DescribeInstances with {count} instances", "as many bytes of XML sent from memory", floor,
                   note="for information: what of the time is the way through the kernel and the client's reading")
        # The same with a change before each, which leaves nothing kept from the read before.
        changed = pairs_after_change(cloud.wire, ours, [theirs for _, theirs in found], check)
        yield line(f"M6-{count}c", f"DescribeInstances with {count} instances, each read after a change", "moto server",
                   changed, at_least=goal, note="for information: the goal is that of the line above")


def pairs_after_change(wire, ours, rival, check):
    instance = found("<instanceId>(.*?)</instanceId>", wire.call("DescribeInstances", MaxResults=5))[0]
    result = []
    for number, theirs in enumerate(rival):
        change = {"ResourceId.1": instance, "Tag.1.Key": "number", "Tag.1.Value": number}
        result.append((timed(ours, lambda: wire.call("CreateTags", **change), check), theirs))
    return result


def widen_subnet(folder):
    """The default subnet has 4,091 addresses, as on AWS, and subnets cannot be created yet."""
    with sqlite3.connect(folder / "api/db.sqlite3", timeout=30) as db:
        db.execute("UPDATE subnet SET cidr = '172.31.0.0/16'")


def wait_running(wire):
    while b"<name>pending</name>" in wire.send(wire.prepare("DescribeInstances")):
        time.sleep(0.02)


def fill(wire, image, count):
    batch = 500
    for start in range(0, count, batch):
        size = min(batch, count - start)
        wire.call("RunInstances", **(run_parameters(image) | {"MinCount": size, "MaxCount": size}))


def whole(wire):
    return wire.send(wire.prepare("DescribeInstances"))


def has(reply, count):
    assert reply.count(b"<instanceId>") >= count, reply.count(b"<instanceId>")
