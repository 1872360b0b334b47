"""Ten thousand hosts on one control plane: what they cost while nothing happens, and how they come back after its death."""

import statistics
import threading
import time

from measure import Line, bootstrap, judged
from planes import AcceptLoop, Plane, fleet, running, scratch

HOSTS = 10_000
# A poll is held for 50 seconds: so long a window has one of each host.
WINDOW = 55
# Each takes some ten seconds, ours and the rival's by turns.
STORMS = 3
# Between two calls of a client.
PAUSE = 0.005


class Calls:
    """A client that lists instances, one call after the other, and how long each took."""

    def __init__(self, wire):
        self.wire, self.took, self.ends = wire, [], False
        self.thread = threading.Thread(target=self.call, daemon=True)

    def call(self):
        while not self.ends:
            prepared = self.wire.prepare("DescribeInstances")
            begun = time.perf_counter()
            self.wire.send(prepared)
            self.took.append(time.perf_counter() - begun)
            time.sleep(PAUSE)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ends = True
        self.thread.join()


def measure():
    with scratch() as folder:
        plane, identities = Plane(folder), folder / "hosts"
        with running(plane):
            begun = time.perf_counter()
            with fleet(plane.agents, identities, HOSTS, plane.env) as hosts:
                hosts.wait(lambda state: state["back"] == HOSTS, 600)
                joined = time.perf_counter() - begun
                yield from idle(plane, hosts, joined)
                bare = AcceptLoop(plane, folder)
                with running(bare), fleet(bare.agents, identities, HOSTS, plane.env, "--handshakes-only") as held:
                    held.all_back()
                    yield from reconnects(plane, hosts, bare, held)


def idle(plane, hosts, joined):
    before, reports = plane.cpu(), hosts.state["reports"]
    time.sleep(WINDOW)
    percent = (plane.cpu() - before) / WINDOW * 100
    note = f"over {WINDOW} s, in which every host polled once; they had joined in {joined:.0f} s"
    weight = plane.footprint()
    yield absolute("M12m", f"{HOSTS:,} hosts idle: memory of the control plane", weight.resident, "MiB", 512, str(weight))
    yield absolute("M12c", f"{HOSTS:,} hosts idle: time of a core", percent, "%", 5, note)


def reconnects(plane, hosts, bare, held):
    ours, theirs, quiet, storm = [], [], [], []
    with Calls(plane.wire) as calls:
        time.sleep(10)
    quiet += calls.took
    for _ in range(STORMS):
        seconds, took = return_of(plane, hosts)
        ours.append(seconds)
        storm += took
        theirs.append(bare_return(bare, held))
    lost = HOSTS - plane.tepui("node", "list", "--json").count('"up"')
    ratios = [mine / other for mine, other in zip(ours, theirs)]
    low, high = bootstrap(ratios)
    goal, met = judged(low, high, 2.5, None)
    yield Line("M13", f"{HOSTS:,} hosts back after kill -9 of the control plane", "bare rustls accept loop, the same handshakes",
               round(statistics.median(ratios), 3), [round(low, 3), round(high, 3)], goal, met and lost == 0,
               f"{statistics.median(ours):.1f} s", f"{statistics.median(theirs):.1f} s",
               f"{lost} lost; ours also answered a poll and took a report of each")
    before, during = percentile(quiet), percentile(storm)
    ratio = round(during / before, 2)
    yield Line("M13p", "p99 of DescribeInstances while the hosts come back", "the same while they are idle", ratio, [ratio, ratio],
               "≤ 5×", ratio <= 5, f"{during * 1e3:.1f} ms", f"{before * 1e3:.1f} ms", f"{len(storm)} and {len(quiet)} calls")


def return_of(plane, hosts):
    """Kills the control plane; seconds until the last host was back, and of each call from its first answer on."""
    plane.kill()
    hosts.wait(lambda state: state["back"] == 0)
    begun = time.perf_counter()
    plane.start()
    with Calls(plane.wire) as calls:
        hosts.all_back()
        seconds = time.perf_counter() - begun
    return seconds, calls.took


def bare_return(bare, held):
    bare.kill()
    held.wait(lambda state: state["back"] == 0)
    begun = time.perf_counter()
    bare.start()
    held.all_back()
    return time.perf_counter() - begun


def percentile(took):
    return statistics.quantiles(took, n=100)[98]


def absolute(id, measure, value, unit, at_most, note=""):
    value = round(value, 2)
    return Line(id, measure, "–", value, [value, value], f"≤ {at_most} {unit}", value <= at_most, f"{value} {unit}", "", note)
