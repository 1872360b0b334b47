"""A storage host with a thousand volumes, each open over iSCSI by a tgtd of its own: its agent is killed and comes back.

The host, its pool and its tgtd are real; the instances that have the volumes are on a simulated host, which opens none."""

import contextlib
import os
import pathlib
import signal
import subprocess
import time

from clouds import ROOT, dev
from host import command_line, network_of, pid_of, run_in
from measure import figure
from wire import found

INSTANCES, LETTERS = 125, "fghijklm"
VOLUMES = INSTANCES * len(LETTERS)
MOST_SECONDS = 5
RESTARTS = 7
# For the thousand volumes to be made and opened.
PATIENCE = 300
LOOK_SECONDS = 0.01


def measure():
    with dev("libvirt", 1) as cloud:
        one = StorageHost(cloud)
        with one.instances():
            one.fill()
            exact = f"{VOLUMES} volumes, all open over iSCSI"
            seconds = [one.restart() for _ in range(RESTARTS)]
            yield figure("M20", f"agent of a storage host with {exact}, killed and started: until all is as wanted and reported",
                         f"{MOST_SECONDS} s", seconds, MOST_SECONDS, "s", at_most=1, note=NOTE)
            seconds = [one.restart(tgtd=True) for _ in range(RESTARTS)]
            yield figure("M20t", f"the same, with tgtd killed too: {VOLUMES} targets are made anew", f"{MOST_SECONDS} s", seconds,
                         MOST_SECONDS, "s", note="for information")


NOTE = ("from the agent's exec to the moment at which a volume is available that was asked for while it was away: each pass looks at "
        "every volume and every export before it reports")


class StorageHost:
    def __init__(self, cloud):
        self.cloud = cloud
        self.agent = pid_of("tepui-node", lambda pid: str(cloud.folder) in command_line(pid))
        self.libvirtd = pid_of("libvirtd", lambda pid: network_of(pid) == network_of(self.agent))
        self.program = command_line(self.agent).split("\0")[:-1]
        self.name = cloud.tepui("node", "list", "--quiet").split()[0]
        config = (cloud.folder / "n1/node.toml").read_text()
        self.api_url, self.run_dir = (config.split(f'{name} = "')[1].split('"')[0] for name in ("api_url", "run_dir"))

    @contextlib.contextmanager
    def instances(self):
        """Simulated guests, on a simulated host that comes to the same control plane; the real one has none."""
        cloud = self.cloud
        cloud.tepui("node", "drain", self.name)
        cloud.tepui("quota", "set", "default", "--instances", str(2 * INSTANCES), "--vcpus", "1000", "--memory-mib", "1000000",
                    "--volumes", str(2 * VOLUMES), "--volume-gib", str(2 * VOLUMES))
        token = cloud.tepui("node", "join-token", "--jq", ".token").strip()
        config = cloud.folder / "large.toml"
        config.write_text(f'api_url = "{self.api_url}"\ndata_dir = "{cloud.folder / "large"}"\ncount = 1\njoin_tokens = ["{token}"]\n'
                          f"vcpus = {4 * INSTANCES}\nmemory_mib = {1024 * INSTANCES}\ndisk_gib = {100 * INSTANCES}\n")
        agent = self.start([ROOT / "target/release/tepui-node", "--config", config, "simulate"])
        try:
            until(lambda: len(cloud.tepui("node", "list", "--quiet").split()) == 2)
            yield
        finally:
            agent.terminate()
            agent.wait()

    def start(self, command):
        enter = ["nsenter", "-t", str(self.libvirtd), "-n", "-m", "-u", "--"]
        return subprocess.Popen(enter + [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                stderr=subprocess.DEVNULL)

    def fill(self):
        """Makes the pool and the volumes, and gives each to an instance."""
        folder = pathlib.Path(self.cloud.folder) / "mount"
        image = self.cloud.folder / "pool.xfs"
        run_in(self.libvirtd, ["sh", "-ec", f"truncate --size 8G {image}; mkfs.xfs -q -m reflink=1 {image}; mkdir {folder}; mount -o loop {image} {folder}; mkdir {folder}/pool"])
        self.cloud.tepui("pool", "create", "fast", "--class", "gp3", "--backend", "iscsi", "--node", self.name, "--path", str(folder / "pool"))
        until(self.has_pool)
        mappings = {}
        for number, letter in enumerate(LETTERS, 1):
            mappings[f"BlockDeviceMapping.{number}.DeviceName"] = f"/dev/sd{letter}"
            mappings[f"BlockDeviceMapping.{number}.Ebs.VolumeSize"] = 1
        self.cloud.wire.call("RunInstances", ImageId=self.cloud.image, InstanceType="t3.nano", MinCount=INSTANCES, MaxCount=INSTANCES, **mappings,
                             **{"NetworkInterface.1.DeviceIndex": 0, "NetworkInterface.1.AssociatePublicIpAddress": "false"})
        until(lambda: self.attached() == VOLUMES and self.open() == VOLUMES)

    def has_pool(self):
        return "fully operational" in self.cloud.tepui("pool", "list")

    def attached(self):
        told = self.cloud.wire.call("DescribeVolumes")
        return len(found(f"<device>/dev/sd[{LETTERS}]</device><instanceId>[^<]*</instanceId><status>attached</status>", told))

    def open(self):
        """How many targets tgtd has to which an initiator is admitted."""
        told = run_in(self.libvirtd, ["env", f"TGT_IPC_SOCKET={self.run_dir}/iscsi/tgt", "tgtadm", "-C", "0", "--lld", "iscsi", "--op", "show", "--mode", "target"])
        return len(found(r"ACL information:\n\s+\S", told))

    def restart(self, tgtd=False):
        """Seconds until the new agent has all as wanted and has said so."""
        os.kill(self.agent, signal.SIGKILL)
        gone(self.agent)
        if tgtd:
            pid = pid_of("tgtd", lambda pid: network_of(pid) == network_of(self.libvirtd))
            os.kill(pid, signal.SIGKILL)
            gone(pid)
        reply = self.cloud.wire.call("CreateVolume", AvailabilityZone=self.zone(), Size=1, VolumeType="gp3")
        [volume] = found("<volumeId>(.*?)</volumeId>", reply)
        started = time.perf_counter()
        self.agent = self.start(self.program).pid
        while "<status>available</status>" not in self.cloud.wire.call("DescribeVolumes", **{"VolumeId.1": volume}):
            if time.perf_counter() - started > PATIENCE:
                raise RuntimeError("the agent does not come back")
            time.sleep(LOOK_SECONDS)
        took = time.perf_counter() - started
        if (self.attached(), self.open(), self.has_pool()) != (VOLUMES, VOLUMES, True):
            raise RuntimeError("it said so too early")
        self.cloud.wire.call("DeleteVolume", VolumeId=volume)
        until(lambda: volume not in self.cloud.wire.call("DescribeVolumes"))
        return took

    def zone(self):
        return found("<zoneName>(.*?)</zoneName>", self.cloud.wire.call("DescribeAvailabilityZones"))[0]


def gone(pid):
    """Waits for the end of a process that may be a child of this one or not."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)
    while pathlib.Path(f"/proc/{pid}").exists():
        time.sleep(0.001)


def until(done):
    deadline = time.monotonic() + PATIENCE
    while not done():
        if time.monotonic() > deadline:
            raise RuntimeError("it does not come to be as wanted")
        time.sleep(0.2)
