"""From RunInstances to a running domain and its first user code on real libvirt, and what the agent weighs."""

import json
import os
import pathlib
import subprocess
import sys
import time
import uuid

from clouds import dev
from measure import Line, line, pairs
from weight import footprint
from wire import found

# A launch takes two seconds under emulation; so many pairs are what a run can afford. A guest's boot
# varies by a tenth, so that its line needs more of them to tell a twentieth.
LAUNCHES, BOOTS = 15, 45
# Twenty guests at once, and as many pairs of that.
TOGETHER, BATCHES = 20, 12


class Rival:
    """A process inside the host's namespaces that does the bare work."""

    def __init__(self, libvirtd, reference):
        enter = ["nsenter", "-t", str(libvirtd), "-n", "-m", "-u", "--"]
        program = [sys.executable, str(pathlib.Path(__file__).with_name("bare_host.py")), reference]
        self.process = subprocess.Popen(enter + program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, do, **request):
        print(json.dumps({"do": do, **request}), file=self.process.stdin, flush=True)
        reply = json.loads(self.process.stdout.readline())
        if "error" in reply:
            raise RuntimeError(reply["error"])
        return reply

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Launches:
    """One launch of ours and one of the rival's, each left clean. `booted` waits for the guest's first line too."""

    def __init__(self, cloud, rival, booted):
        self.cloud, self.rival, self.booted = cloud, rival, booted
        self.leftover = None

    def ours(self):
        [instance] = launch(self.cloud)
        running = self.rival.ask("wait_running")
        if self.booted:
            self.rival.ask("wait_first_line", console=running["console"])
        self.leftover = lambda: self.end(instance, running["name"])

    def bare(self):
        started = self.rival.ask("start")
        if self.booted:
            self.rival.ask("wait_first_line", console=started["console"])
        self.leftover = lambda: self.rival.ask("stop", **started)

    def end(self, instance, domain):
        terminate(self.cloud, instance)
        self.rival.ask("wait_gone", name=domain)

    def clean(self):
        if self.leftover:
            self.leftover()
        self.leftover = None


class BesideQemu(Launches):
    """Launches until the guest's first line, beside QEMU alone with such a guest."""

    def __init__(self, cloud, rival):
        super().__init__(cloud, rival, True)

    def bare(self):
        started = self.rival.ask("start_qemu")
        self.rival.ask("wait_first_line", console=started["console"])
        self.leftover = lambda: self.rival.ask("stop_qemu", **started)


class Batches(Launches):
    """Twenty launches by one call of ours, and the rival's side by side."""

    def __init__(self, cloud, rival):
        super().__init__(cloud, rival, False)

    def ours(self):
        instances = launch(self.cloud, TOGETHER, "t2.nano")
        running = self.rival.ask("wait_running_together", count=TOGETHER)["guests"]
        self.leftover = lambda: self.end_all(instances, running)

    def bare(self):
        started = self.rival.ask("start_together", count=TOGETHER)
        self.leftover = lambda: self.rival.ask("stop_together", **started)

    def end_all(self, instances, running):
        for instance in instances:
            wait_running(self.cloud, instance)
        ids = {f"InstanceId.{number}": instance for number, instance in enumerate(instances, 1)}
        self.cloud.wire.call("StopInstances", Force="true", **ids)
        self.cloud.wire.call("TerminateInstances", **ids)
        for guest in running:
            self.rival.ask("wait_gone", name=guest["name"])
        # The host has room for one batch, and for the next one once the books know that this one is gone.
        while "<name>shutting-down</name>" in self.cloud.wire.call("DescribeInstances", **ids):
            time.sleep(0.05)


def measure():
    with dev("libvirt", 1) as cloud:
        wait_running(cloud, launch(cloud)[0])
        agent = pid_of("tepui-node", lambda pid: str(cloud.folder) in command_line(pid))
        libvirtd = pid_of("libvirtd", lambda pid: network_of(pid) == network_of(agent))
        yield weight(agent, libvirtd)
        rival = Rival(libvirtd, newest_domain(libvirtd))
        try:
            yield launches(cloud, rival, False, "M2", "RunInstances → domain running, image cached", 1.15)
            yield launches(cloud, rival, True, "M3", "RunInstances → first user code of the tiny guest", 1.05)
            yield beside_qemu(cloud, rival)
        finally:
            rival.close()
        wait_running(cloud, launch(cloud, 1, "t2.nano")[0])
        rival = Rival(libvirtd, newest_domain(libvirtd))
        try:
            yield batches(cloud, rival)
        finally:
            rival.close()


def beside_qemu(cloud, rival):
    pair = BesideQemu(cloud, rival)
    measured = pairs(pair.ours, pair.bare, LAUNCHES, before=pair.clean)
    pair.clean()
    return line("M3q", "RunInstances → first user code of the tiny guest", "overlay + tap + QEMU alone, without libvirt", measured,
                note="for information: what libvirt and its domain's further devices add is in it")


def batches(cloud, rival):
    batch = Batches(cloud, rival)
    measured = pairs(batch.ours, batch.bare, BATCHES, before=batch.clean)
    batch.clean()
    return line("M8", f"{TOGETHER} VMs from one RunInstances, all running", f"{TOGETHER} in parallel through the binding, same XML, taps and rules",
                measured, at_most=1.2)


def launches(cloud, rival, booted, id, name, goal):
    pair = Launches(cloud, rival, booted)
    measured = pairs(pair.ours, pair.bare, BOOTS if booted else LAUNCHES, before=pair.clean)
    pair.clean()
    return line(id, name, "overlay + tap + nft + defineXML + create through the binding, same XML", measured, at_most=goal)


def launch(cloud, count=1, size="t3.nano"):
    """The ids of new instances."""
    reply = cloud.wire.call("RunInstances", ImageId=cloud.image, InstanceType=size, MinCount=count, MaxCount=count,
                            ClientToken=uuid.uuid4().hex)
    return found("<instanceId>(.*?)</instanceId>", reply)


def newest_domain(libvirtd):
    """The one with the largest number: libvirt counts its domains."""
    table = run_in(libvirtd, ["virsh", "-c", "qemu:///system", "list"])
    return max(found(r"(?m)^\s*(\d+)\s+(\S+)", table), key=lambda row: int(row[0]))[1]


def wait_running(cloud, instance):
    while "<name>running</name>" not in cloud.wire.call("DescribeInstances", **{"InstanceId.1": instance}):
        time.sleep(0.01)


def terminate(cloud, instance):
    wait_running(cloud, instance)
    # A guest that still boots does not hear its power button: pulling the plug saves the wait.
    cloud.wire.call("StopInstances", **{"InstanceId.1": instance, "Force": "true"})
    cloud.wire.call("TerminateInstances", **{"InstanceId.1": instance})


def weight(agent, libvirtd):
    ours, theirs = footprint(agent), footprint(libvirtd)
    ratio = round(ours.resident / theirs.resident, 3)
    return Line("M7", "resident memory of the agent, one guest", "libvirtd", ratio, [ratio, ratio], "≤ 0.5×", ratio <= 0.5,
                str(ours), str(theirs))


def run_in(pid, command):
    return subprocess.run(["nsenter", "-t", str(pid), "-n", "-m", "-u", "--", *command], capture_output=True, text=True,
                          check=True).stdout


def pid_of(name, fits):
    for entry in pathlib.Path("/proc").iterdir():
        try:
            if (entry / "comm").read_text().strip() == name and fits(entry.name):
                return int(entry.name)
        except OSError:  # no process, or one that just ended
            continue
    raise RuntimeError(f"no {name} of the measured host runs")


def command_line(pid):
    return pathlib.Path(f"/proc/{pid}/cmdline").read_text()


def network_of(pid):
    return os.readlink(f"/proc/{pid}/ns/net")
