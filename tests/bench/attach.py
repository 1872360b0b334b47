"""A volume that is made and attached to a running guest, against a script that does so by hand on an equal guest."""

import time

from clouds import dev
from host import Rival, command_line, launch, network_of, newest_domain, pid_of, run_in, wait_running
from measure import difference, in_turns
from storage_host import until
from wire import found

ROUNDS = 25
MOST_MS = 60
LOOK_SECONDS = 0.005


def measure():
    with dev("libvirt", 1) as cloud:
        instance = launch(cloud)[0]
        wait_running(cloud, instance)
        agent = pid_of("tepui-node", lambda pid: str(cloud.folder) in command_line(pid))
        libvirtd = pid_of("libvirtd", lambda pid: network_of(pid) == network_of(agent))
        folder = make_pool(cloud, libvirtd)
        domain = newest_domain(libvirtd)
        rival = Rival(libvirtd, domain)
        try:
            yield from attaches(Pair(cloud, rival, instance, domain, folder))
        finally:
            rival.close()


def make_pool(cloud, libvirtd):
    """On a file system that the bare script takes, too."""
    folder, image = cloud.folder / "mount", cloud.folder / "pool.xfs"
    run_in(libvirtd, ["sh", "-ec", f"truncate --size 8G {image}; mkfs.xfs -q -m reflink=1 {image}; mkdir {folder}; mount -o loop {image} {folder}; mkdir {folder}/pool"])
    node = cloud.tepui("node", "list", "--quiet").split()[0]
    cloud.tepui("pool", "create", "fast", "--class", "gp3", "--backend", "iscsi", "--node", node, "--path", str(folder / "pool"))
    until(lambda: "fully operational" in cloud.tepui("pool", "list"))
    return folder


def attaches(pair):
    measured = in_turns(pair.ours, pair.bare, ROUNDS, warmup=2)
    pair.close()
    name, rival = "volume made and attached to a running guest over iSCSI", "truncate, tgtadm and virsh attach-device on an equal guest"
    yield difference("M19", f"{name}, until libvirt has the disk", rival, measured, MOST_MS, note=NOTE)
    told = [(told, theirs) for told, (_, theirs) in zip(pair.told[-ROUNDS:], measured)]
    yield difference("M19t", f"{name}, until EC2 says attached", rival, told, MOST_MS)


NOTE = ("CreateVolume, DescribeVolumes every 5 ms until it is available, AttachVolume; the control plane, the storage host's agent and the guest's "
        "are three, of which each commits what it knows before it says so")


class Pair:
    """Each leaves its guest as it was before the next begins; that is not timed."""

    def __init__(self, cloud, rival, instance, domain, folder):
        self.cloud, self.rival, self.instance, self.domain = cloud, rival, instance, domain
        self.zone = found("<zoneName>(.*?)</zoneName>", cloud.wire.call("DescribeAvailabilityZones"))[0]
        # Seconds until EC2 said attached.
        self.told = []
        self.bare_guest = rival.ask("start")
        # A guest that boots still lets go of no disk.
        for guest in (self.bare_guest["name"], domain):
            rival.ask("wait_boot", name=guest)
        config = (cloud.folder / "n1/node.toml").read_text()
        address = config.split('underlay_address = "')[1].split('"')[0]
        rival.ask("serve_disks", folder=str(folder / "bare"), address=address)

    def close(self):
        self.rival.ask("end_disks")
        self.rival.ask("stop", **self.bare_guest)

    def ours(self):
        started = time.perf_counter()
        [volume] = found("<volumeId>(.*?)</volumeId>", self.cloud.wire.call("CreateVolume", AvailabilityZone=self.zone, Size=1, VolumeType="gp3"))
        self.wait(volume, "available")
        self.cloud.wire.call("AttachVolume", VolumeId=volume, InstanceId=self.instance, Device="/dev/sdf")
        self.rival.ask("wait_disk", name=self.domain)
        took = time.perf_counter() - started
        self.wait(volume, "attached")
        self.told.append(time.perf_counter() - started)
        self.cloud.wire.call("DetachVolume", VolumeId=volume)
        self.wait(volume, "available")
        self.cloud.wire.call("DeleteVolume", VolumeId=volume)
        until(lambda: volume not in self.cloud.wire.call("DescribeVolumes"))
        return took

    def wait(self, volume, status):
        while f"<status>{status}</status>" not in self.cloud.wire.call("DescribeVolumes", **{"VolumeId.1": volume}):
            time.sleep(LOOK_SECONDS)

    def bare(self):
        started = time.perf_counter()
        self.rival.ask("give_disk", name=self.bare_guest["name"])
        took = time.perf_counter() - started
        self.rival.ask("take_disk", name=self.bare_guest["name"])
        return took
