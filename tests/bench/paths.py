"""The way from QEMU to a volume over iSCSI and NFS and in place, served by us and by the stock servers set up by hand.

Both serve one and the same file, in turns. The client is QEMU's own initiator, with the options that guests' disks have."""

import contextlib
import dataclasses
import os
import pathlib
import statistics
import subprocess
import tempfile
import time

from clouds import ROOT
from hosts import ADDRESS, host
from measure import in_turns, line
from volumes import FileSystem

GIB, MIB, KIB = 1 << 30, 1 << 20, 1 << 10
# A step over this many blocks, which divides no volume, comes by every block in no order that a disk would read ahead.
SCATTER = 40503
ROUNDS = 48
# At least 0.95 of the rival's rate.
MOST = 1 / 0.95
# libvirt-qemu, as Debian numbers it.
QEMU = 64055
# cache="none" and discard="unmap" of the domain's XML; libvirt names no aio, so that QEMU takes its threads.
AS_GUESTS = "driver=raw,discard=unmap,file.discard=unmap,cache.direct=on,cache.no-flush=off"


@dataclasses.dataclass
class Load:
    id: str
    name: str
    size: int
    depth: int
    step: int
    # How many one measurement has, of reads and of writes: some tenths of a second.
    reads: int
    writes: int


IOPS = Load("iops", "of 4 KiB, 16 at once, all over the volume", 4 * KIB, 16, 4 * KIB * SCATTER, 12000, 600)
STREAM = Load("throughput", "of 1 MiB, 4 at once", MIB, 4, MIB, 512, 48)
RATES = {"iops": lambda count, seconds: f"{count / seconds:.0f} /s", "throughput": lambda count, seconds: f"{count / seconds:.0f} MiB/s"}


class Client:
    """QEMU's own, on the host that serves."""

    def __init__(self, on, options):
        self.on, self.options = on, f"{AS_GUESTS},{options}"

    def bench(self, load, writes):
        """Seconds by QEMU's own word, from the first request to the last answer: without its start and login."""
        count = load.writes if writes else load.reads
        command = ["qemu-img", "bench", "-t", "none", "-c", count, "-d", load.depth, "-s", load.size, "-S", load.step]
        told = self.on.run(command + (["-w", "--pattern", "165"] if writes else []) + ["--image-opts", self.options])
        return float(told.split("Run completed in ")[1].split(" seconds")[0])


class Ours:
    """An export that the storage crate makes, as the agent does."""

    def __init__(self, on, backend, folder):
        self.process = on.start([ROOT / "target/release/examples/pool_export", backend, folder, 1, "/run/tepui", ADDRESS],
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.file = pathlib.Path(self.process.stdout.readline().strip())
        options = self.process.stdout.readline().strip()
        if not options:
            raise RuntimeError(f"no export over {backend}")
        self.client = Client(on, options)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def tgt(on, file):
    """The stock tgtd with the volume's file, written through as ours (docs/adr/0008), open to all. Like ours it has a session of
    its own: the kernel shares the processors out by sessions (sched(7), autogroup)."""
    on.start(["setsid", "tgtd", "-f", "--iscsi", f"portal={ADDRESS}:3260"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    admin = ["tgtadm", "--lld", "iscsi"]
    until(lambda: on.run(admin + ["--op", "show", "--mode", "sys"]))
    on.run(admin + ["--op", "new", "--mode", "target", "--tid", 1, "-T", "iqn.2026-11.test:bare"])
    on.run(admin + ["--op", "new", "--mode", "logicalunit", "--tid", 1, "--lun", 1, "--bsoflags=sync", "-b", file])
    on.run(admin + ["--op", "update", "--mode", "logicalunit", "--tid", 1, "--lun", 1, "--params", "thin_provisioning=1"])
    on.run(admin + ["--op", "bind", "--mode", "target", "--tid", 1, "-I", "ALL"])
    return Client(on, f"file.driver=iscsi,file.transport=tcp,file.portal={ADDRESS}:3260,file.target=iqn.2026-11.test:bare,file.lun=1,"
                      "file.initiator-name=iqn.2026-11.test:client")


def ganesha(on, file):
    """The stock ganesha with one plain export, of which each write is committed as of ours. Its client is QEMU's user, in the file's
    group: root would be spared the check."""
    folder = file.parent / "bare"
    folder.mkdir()
    os.link(file, folder / file.name)
    on.run(["sh", "-ec", f"""
mkdir -p /run/bare/recovery
cat >/run/bare/conf <<END
NFS_CORE_PARAM {{ Protocols = 3; Bind_Addr = {ADDRESS}; NFS_Port = 2049; MNT_Port = 20048; Enable_NLM = false; Enable_RQUOTA = false; Enable_UDP = false; }}
NFSV4 {{ Graceless = true; RecoveryRoot = "/run/bare/recovery"; }}
EXPORT {{ Export_Id = 1; Path = "{folder}"; Protocols = 3; Transports = TCP; Access_Type = RW; Squash = No_Root_Squash; SecType = sys; NFS_Commit = true;
  FSAL {{ Name = VFS; }} }}
END
rpcbind
ganesha.nfsd -f /run/bare/conf -L /run/bare/log -p /run/bare/pid
"""])
    until(lambda: on.run(["rpcinfo", "-T", "tcp", ADDRESS, "100005", "3"]))
    return Client(on, f"file.driver=nfs,file.server.type=inet,file.server.host={ADDRESS},file.path={folder / file.name},"
                      f"file.user={QEMU},file.group={file.stat().st_gid}")


def plain(on, file):
    return Client(on, f"file.driver=file,file.filename={file}")


RIVALS = {"iscsi": ("over iSCSI", "tgtd by hand, written through", tgt), "nfs": ("over NFS", "ganesha by hand, each write committed", ganesha),
          "local": ("in place", "the file by hand", plain)}


def measure():
    # Not below /tmp, which may be memory: flushes count.
    with tempfile.TemporaryDirectory(prefix="bench-", dir=ROOT / "target") as scratch:
        system = FileSystem(pathlib.Path(scratch))
        try:
            for backend in RIVALS:
                yield from path(system.mount, backend)
        finally:
            system.close()


def path(mount, backend):
    folder = mount / backend
    folder.mkdir()
    _, _, by_hand = RIVALS[backend]
    with host() as own, host() as bare, contextlib.closing(Ours(own, backend, folder)) as ours:
        fill(ours.file)
        rival = by_hand(bare, ours.file)
        for load in (IOPS, STREAM):
            for what, writes in (("reads", False), ("writes", True)):
                found = in_turns(lambda: ours.client.bench(load, writes), lambda: rival.bench(load, writes), ROUNDS)
                yield summed(backend, load, what, found)


def summed(backend, load, what, found):
    way, rival, _ = RIVALS[backend]
    told = line(f"M18-{backend}-{load.id}-{what}", f"{what} {load.name}, {way}", rival, found, at_most=round(MOST, 3))
    count = load.writes if what == "writes" else load.reads
    rates = [RATES[load.id](count, statistics.median(seconds)) for seconds in zip(*found)]
    return dataclasses.replace(told, ours=rates[0], theirs=rates[1])


def fill(file):
    """Writes the whole volume, so that no block is new to the file system."""
    with open(file, "r+b") as volume:
        for _ in range(GIB // MIB):
            volume.write(os.urandom(MIB))
        os.fsync(volume.fileno())


def until(done, deadline=30):
    """Waits until a command succeeds."""
    ends = time.monotonic() + deadline
    while True:
        try:
            return done()
        except RuntimeError:
            if time.monotonic() > ends:
                raise
            time.sleep(0.05)
