"""The rival of a volume that is made and attached: a script with truncate, tgtadm and virsh on an equal guest."""

import os
import pathlib
import queue
import subprocess
import time

import libvirt

XML = """<disk type="network" device="disk">
  <driver name="qemu" type="raw" cache="none" error_policy="stop" rerror_policy="stop" discard="unmap"/>
  <source protocol="iscsi" name="{target}/1"><host name="{address}" port="{port}"/>
    <initiator><iqn name="iqn.2026-11.test:bare"/></initiator></source>
  <target dev="vdb" bus="virtio"/>
</disk>
"""
PORT = 3261
ADMIN = ["tgtadm", "--lld", "iscsi", "-C", "7"]
VIRSH = ["virsh", "--quiet", "--connect", "qemu:///system"]


class Disks:
    """Asks for no secret, which spares it two commands of each program."""

    def serve_disks(self, folder, address):
        self.folder, self.address, self.disks = pathlib.Path(folder), address, 0
        self.folder.mkdir()
        self.added = queue.Queue()
        self.connection.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_ADDED, self.note_disk, None)
        os.environ["TGT_IPC_SOCKET"] = str(self.folder / "tgt")
        self.tgtd = subprocess.Popen(["setsid", "tgtd", "-f", "-C", "7", "--iscsi", f"portal={address}:{PORT}"], stdin=subprocess.DEVNULL,
                                     stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while subprocess.run(ADMIN + ["--op", "show", "--mode", "sys"], capture_output=True).returncode != 0:
            time.sleep(0.05)
        return {}

    def end_disks(self):
        self.tgtd.kill()
        self.tgtd.wait()
        return {}

    def note_disk(self, _connection, domain, _alias, _opaque):
        self.added.put(domain.name())

    def wait_disk(self, name):
        """Waits until libvirt says that a guest has one more; it is in the live XML then."""
        while self.added.get(timeout=60) != name:
            pass
        return {}

    def give_disk(self, name):
        self.disks += 1
        number, target = self.disks, f"iqn.2026-11.test:bare-{self.disks}"
        file, xml = self.folder / f"{number}.raw", self.folder / f"{number}.xml"
        xml.write_text(XML.format(target=target, address=self.address, port=PORT))
        run("truncate", "--size", "1G", file)
        tid = ["--tid", number]
        run(*ADMIN, "--op", "new", "--mode", "target", *tid, "-T", target)
        run(*ADMIN, "--op", "new", "--mode", "logicalunit", *tid, "--lun", 1, "--bsoflags=sync", "-b", file)
        run(*ADMIN, "--op", "update", "--mode", "logicalunit", *tid, "--lun", 1, "--params", "thin_provisioning=1")
        run(*ADMIN, "--op", "bind", "--mode", "target", *tid, "-I", "ALL")
        run(*VIRSH, "attach-device", name, xml, "--live")
        return {}

    def take_disk(self, name):
        xml = self.folder / f"{self.disks}.xml"
        domain = self.connection.lookupByName(name)
        run(*VIRSH, "detach-device", name, xml, "--live")
        while f"bare-{self.disks}/1" in domain.XMLDesc():
            time.sleep(0.02)
        run(*ADMIN, "--op", "delete", "--mode", "target", "--tid", self.disks, "--force")
        (self.folder / f"{self.disks}.raw").unlink()
        return {}


def run(*command):
    subprocess.run([str(word) for word in command], check=True, capture_output=True)
