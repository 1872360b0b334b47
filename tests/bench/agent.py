"""One agent with many simulated guests at rest: its memory, and its share of a core."""

import contextlib
import os
import pathlib
import statistics
import subprocess
import time

from clouds import ROOT, dev
from control_plane import fill, wait_running, whole
from measure import Line, bootstrap
from weight import footprint

GUESTS = 500
MOST_MIB = 64
MOST_PERCENT = 2
# Several signs of life, looks at the network and rounds of housekeeping.
WINDOWS, SECONDS = 9, 10
SETTLE_SECONDS = 15


def measure():
    with dev("sim", 1) as cloud:
        cloud.tepui("quota", "set", "default", "--instances", "1000", "--vcpus", "10000", "--memory-mib", "10000000")
        cloud.tepui("node", "drain", "sim-0")
        with host(cloud) as agent:
            while len(cloud.tepui("node", "list", "--quiet").split()) < 2:
                time.sleep(0.1)
            fill(cloud.wire, cloud.image, GUESTS)
            wait_running(cloud.wire)
            running = whole(cloud.wire).count(b"<name>running</name>")
            assert running == GUESTS, running
            time.sleep(SETTLE_SECONDS)
            yield cpu(agent)
            yield memory(agent)


@contextlib.contextmanager
def host(cloud):
    """One large simulated host in a process of its own."""
    token = cloud.tepui("node", "join-token", "--jq", ".token").strip()
    api_url = (cloud.folder / "sim.toml").read_text().split('api_url = "')[1].split('"')[0]
    config = cloud.folder / "large.toml"
    config.write_text(f'api_url = "{api_url}"\ndata_dir = "{cloud.folder / "large"}"\ncount = 1\njoin_tokens = ["{token}"]\n'
                      f"vcpus = {2 * GUESTS}\nmemory_mib = {1024 * GUESTS}\ndisk_gib = {100 * GUESTS}\n")
    agent = subprocess.Popen([ROOT / "target/release/tepui-node", "--config", config, "simulate"],
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield agent.pid
    finally:
        agent.terminate()
        agent.wait()


def cpu(agent):
    shares = [share(agent) for _ in range(WINDOWS)]
    low, high = bootstrap(shares)
    ratio = lambda percent: round(percent / MOST_PERCENT, 3)
    return Line("M14a", f"an agent with {GUESTS} simulated guests at rest: share of a core", f"{MOST_PERCENT} %",
                ratio(statistics.median(shares)), [ratio(low), ratio(high)], "≤ 1×", high <= MOST_PERCENT,
                f"{statistics.median(shares):.2f} %", f"{MOST_PERCENT} %")


def share(agent):
    """Percent of a core in one window."""
    before, began = spent(agent), time.monotonic()
    time.sleep(SECONDS)
    return 100 * (spent(agent) - before) / (time.monotonic() - began)


def spent(pid):
    """Seconds of CPU time, user and system, also of threads that ended (proc(5))."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(agent):
    found = footprint(agent)
    ratio = round(found.resident / MOST_MIB, 3)
    return Line("M14b", f"an agent with {GUESTS} simulated guests at rest: resident memory", f"{MOST_MIB} MiB", ratio,
                [ratio, ratio], "≤ 1×", found.resident <= MOST_MIB, str(found), f"{MOST_MIB} MiB")
