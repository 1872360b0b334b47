"""How fast a control plane places: many at once, on many hosts, and while hosts are in trouble."""

import contextlib
import json
import pathlib
import signal
import sqlite3
import tempfile
import time
import uuid

from clouds import REGION, ROOT, dev, run, serving
from control_plane import run_parameters, wait_running, whole
from measure import figure, line, pairs
from planes import PROGRAMS, Plane, fleet, running, scratch
from wire import found

# A default subnet has 4,091 addresses, so that the placements of a run need several projects.
PROJECTS = 40
RATES = 5
# Calls of a few milliseconds, of which many are needed to tell a tenth.
PAIRS = 101
SECONDS = 2

# Rivals' placements a second with so many hosts, and how many times ours are to be: OpenStack Placement 16 in its own process
# with SQLite, measured on a machine like this one; Nomad's two million containers (hashicorp.com/c2m), in memory.
RIVALS = {10: ("OpenStack Placement, measured once", 10.7, None), 1000: ("OpenStack Placement, measured once", 3.8, 500),
          10000: ("Nomad, as published", 1500, 2)}

# Room for all runs on ten hosts too: what is measured is placing, not what a host can hold.
LARGE = ["--vcpus", 1 << 16, "--memory-mib", 1 << 30, "--disk-gib", 1 << 30]


def measure():
    yield many_in_one_call()
    for hosts in RIVALS:
        yield from placements(hosts)
    yield from in_trouble()


def many_in_one_call():
    with dev("sim", 100) as cloud:
        seconds = [launch_thousand(cloud.wire, cloud.image) for _ in range(RATES)]
    return figure("M9", "1,000 instances in one call on 100 simulated hosts, until all are running",
                  "2 s (StratusLab published 120 s for 30)", seconds, 2, "s", at_most=1)


def launch_thousand(wire, image):
    started = time.perf_counter()
    reply = wire.call("RunInstances", **(run_parameters(image) | {"MinCount": 1000, "MaxCount": 1000}))
    while pending(wire):
        time.sleep(0.02)
    took = time.perf_counter() - started
    ids = found("<instanceId>(.*?)</instanceId>", reply)
    shown = whole(wire)
    assert len(ids) == 1000 and shown.count(b"<name>running</name>") == 1000, len(ids)
    for start in range(0, 1000, 500):
        wire.call("TerminateInstances", **{f"InstanceId.{n}": id for n, id in enumerate(ids[start:start + 500], 1)})
    while b"<name>shutting-down</name>" in whole(wire):
        time.sleep(0.1)
    return took


def pending(wire):
    """Whether instances are on their way; a short reply, so that asking does not slow down what is measured."""
    only = {"Filter.1.Name": "instance-state-name", "Filter.1.Value.1": "pending"}
    return "<instanceId>" in wire.call("DescribeInstances", **only)


def placements(hosts):
    with tempfile.TemporaryDirectory(prefix="tb-", dir="/tmp") as folder, scratch() as identities:
        # On a disk, unlike the hosts: what is measured is durable.
        plane = Plane(pathlib.Path(folder))
        with running(plane):
            image = shared_image(plane)
            keys = plane.data / "keys"
            keys.write_text("".join(key_of_project(plane, number) for number in range(PROJECTS)))
            with fleet(plane.agents, identities, hosts, plane.env, *LARGE) as heard:
                heard.wait(lambda state: state["back"] == hosts, 600)
            # From here on a host has a minute and a half to be heard again.
            for each in (1, 10):
                yield placed(hosts, each, [rate(plane, keys, image, each) for _ in range(RATES)])
            assert count(plane, "node WHERE state = 'up'") == hosts


def placed(hosts, each, rates):
    rival, published, at_least = RIVALS[hosts]
    id, calls = (f"M10-{hosts}", "one a call") if each == 1 else (f"M10-{hosts}x{each}", f"{each} a call")
    return figure(id, f"durable placements a second, {hosts:,} hosts, {calls}", rival, rates, published, "/s", at_least=at_least,
                  note="instances of signed RunInstances calls with a token that were acknowledged after their fsync, over 64 connections and "
                       "with the load on the same cores; all are found in the books afterwards. The hosts have joined, reported and are up, and "
                       "fetch no parts meanwhile")


def shared_image(plane):
    plane.tepui("image", "import", ROOT / "target/images/tiny.qcow2", "--name", "tiny", "--public")
    return found("<imageId>(.*?)</imageId>", plane.wire.call("DescribeImages"))[0]


def key_of_project(plane, number):
    plane.tepui("project", "create", f"project-{number}")
    made = json.loads(plane.tepui("key", "create", "--project", f"project-{number}", "--json"))
    return f"{made['access_key']['id']} {made['secret_access_key']}\n"


def rate(plane, keys, image, each):
    before = count(plane, "placement")
    told = json.loads(run([PROGRAMS / "tepui-load", "--host", plane.url.removeprefix("http://"), "--region", REGION, "--keys", keys,
                           "--image", image, "--count", each, "--seconds", SECONDS, "--run", uuid.uuid4().hex[:8]]))
    assert not told["refused"], told
    assert count(plane, "placement") - before == told["placed"], told
    return told["placed"] / told["seconds"]


def count(plane, rows):
    with contextlib.closing(sqlite3.connect(plane.data / "db.sqlite3", timeout=30)) as db:
        return db.execute(f"SELECT count(*) FROM {rows}").fetchone()[0]


def in_trouble():
    """Two clouds of ten hosts each, of which one has a host that hangs and one that is dead."""
    with ten_hosts() as healthy, ten_hosts() as troubled:
        for cloud in (healthy, troubled):
            cloud.wire.call("RunInstances", **(run_parameters(cloud.image) | {"MinCount": 100, "MaxCount": 100}))
            wait_running(cloud.wire)
        troubled.single[0].send_signal(signal.SIGSTOP)
        troubled.single[1].kill()
        launch = lambda cloud: cloud.wire.call("RunInstances", **run_parameters(cloud.image), ClientToken=uuid.uuid4().hex)
        listed = lambda cloud: whole(cloud.wire)
        complete = lambda reply: complete_listing(reply, 100)
        yield line("M11-launch", "RunInstances while 1 of 10 hosts hangs and 1 is dead", "the same with all healthy",
                   pairs(lambda: launch(troubled), lambda: launch(healthy), PAIRS, 5), at_most=1.1)
        yield line("M11-list", "DescribeInstances while 1 of 10 hosts hangs and 1 is dead", "the same with all healthy",
                   pairs(lambda: listed(troubled), lambda: listed(healthy), PAIRS, 5, check=complete), at_most=1.1)
        counts = [whole(cloud.wire).count(b"<instanceId>") for cloud in (healthy, troubled)]
        assert counts[0] == counts[1], counts


def complete_listing(reply, least):
    assert reply.count(b"<instanceId>") >= least, reply.count(b"<instanceId>")


@contextlib.contextmanager
def ten_hosts():
    """Eight hosts in one process and two in one each."""
    with dev("sim", 8) as cloud, contextlib.ExitStack() as stack:
        cloud.single = [stack.enter_context(host(cloud, name)) for name in ("hangs", "dies")]
        while len(cloud.tepui("node", "list", "--quiet").split()) < 10:
            time.sleep(0.1)
        yield cloud


def host(cloud, name):
    token = cloud.tepui("node", "join-token", "--jq", ".token").strip()
    api_url = (cloud.folder / "sim.toml").read_text().split('api_url = "')[1].split('"')[0]
    config = cloud.folder / f"{name}.toml"
    config.write_text(f'api_url = "{api_url}"\ndata_dir = "{cloud.folder / name}"\ncount = 1\njoin_tokens = ["{token}"]\n')
    return serving([PROGRAMS / "tepui-node", "--config", config, "simulate"], config.with_suffix(".log"))
