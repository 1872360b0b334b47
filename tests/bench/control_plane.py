"""RunInstances and DescribeInstances on simulated hosts, against bare SQLite and moto."""

import sqlite3
import tempfile
import uuid

from clouds import dev, moto
from measure import line, pairs
from wire import found

# What one RunInstances of ours writes: reservation token, instance, placement, interface with its group,
# volume, and the counters of node and VPC.
ROWS = ("token", "instance", "placement", "interface", "interface_group", "volume", "node", "vpc")
ROW_BYTES = 300


class BareSqlite:
    """The same number of rows of the same size in one durable commit."""

    def __init__(self, folder):
        self.db = sqlite3.connect(f"{folder}/bare.sqlite3", isolation_level=None)
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            self.db.execute(f"PRAGMA {pragma}")
        for name in ROWS:
            self.db.execute(f"CREATE TABLE {name} (id TEXT PRIMARY KEY, parent TEXT, body BLOB) STRICT")
            self.db.execute(f"CREATE INDEX {name}_parent ON {name} (parent)")

    def commit(self):
        self.db.execute("BEGIN IMMEDIATE")
        for name in ROWS:
            self.db.execute(f"INSERT INTO {name} VALUES (?, ?, ?)", (uuid.uuid4().hex, uuid.uuid4().hex, b"x" * ROW_BYTES))
        self.db.execute("COMMIT")


def run_parameters(image):
    return {"ImageId": image, "InstanceType": "t3.nano", "MinCount": 1, "MaxCount": 1}


def measure():
    with dev("sim", 10) as cloud, moto() as rival, tempfile.TemporaryDirectory(dir="/tmp") as scratch:
        ours = lambda: cloud.wire.call("RunInstances", **run_parameters(cloud.image), ClientToken=uuid.uuid4().hex)
        theirs = lambda: rival.call("RunInstances", **run_parameters(rival.image), ClientToken=uuid.uuid4().hex)
        bare = BareSqlite(scratch)
        yield line("M1a", "RunInstances acknowledged, durable, simulated hosts", "bare SQLite FULL commit of as many rows",
                   pairs(ours, bare.commit, 41, 5), at_most=2.0)
        yield line("M1b", "RunInstances acknowledged, durable, simulated hosts", "moto server's RunInstances (not durable)",
                   pairs(ours, theirs, 41, 5), at_most=0.6)
    for count, goal in ((20, 20), (1000, 100), (5000, 500)):
        yield describe(count, goal)


def describe(count, goal):
    with dev("sim", 100) as cloud, moto() as rival:
        cloud.tepui("quota", "set", "default", "--instances", "10000", "--vcpus", "100000", "--memory-gib", "100000")
        fill(cloud.wire, cloud.image, count)
        fill(rival, rival.image, count)
        ours = lambda: whole(cloud.wire, count)
        theirs = lambda: whole(rival, count)
        rounds = {20: 41, 1000: 15, 5000: 5}[count]
        return line(f"M6-{count}", f"DescribeInstances with {count} instances", "moto server", pairs(ours, theirs, rounds), at_least=goal)


def fill(wire, image, count):
    batch = 500
    for start in range(0, count, batch):
        size = min(batch, count - start)
        wire.call("RunInstances", **(run_parameters(image) | {"MinCount": size, "MaxCount": size}))


def whole(wire, count):
    reply = wire.send(wire.prepare("DescribeInstances"))
    assert reply.count(b"<instanceId>") >= count, reply.count(b"<instanceId>")
