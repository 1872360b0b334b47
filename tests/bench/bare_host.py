"""The rival of a launch: overlay, tap, filter, defineXML and create, by hand, through libvirt's binding.

Runs inside the namespaces of the host that is measured. Reads requests, one JSON object a line, and answers
each with one."""

import fcntl
import json
import os
import queue
import re
import struct
import subprocess
import sys
import threading
import time
import uuid
import xml.etree.ElementTree as ElementTree
from concurrent.futures import ThreadPoolExecutor

import libvirt

from bare_disks import Disks

TUNSETIFF, TUNSETPERSIST = 0x400454CA, 0x400454CB
IFF_TAP, IFF_NO_PI = 0x0002, 0x1000
FIRST_LINE = b"tepui-tiny: user code"
POLL_SECONDS = 0.001


class Starts:
    """The domains that libvirt says have started. To ask it again and again would slow down what is measured."""

    def __init__(self):
        libvirt.virEventRegisterDefaultImpl()
        threading.Thread(target=run_events, daemon=True).start()
        self.names = queue.Queue()
        self.connection = libvirt.open("qemu:///system")
        self.connection.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self.note, None)

    def note(self, _connection, domain, event, _detail, _opaque):
        if event == libvirt.VIR_DOMAIN_EVENT_STARTED:
            self.names.put(domain.name())


def run_events():
    while True:
        libvirt.virEventRunDefaultImpl()


class BareHost(Disks):
    def __init__(self, reference):
        self.starts = Starts()
        self.connection = libvirt.open("qemu:///system")
        self.template = self.connection.lookupByName(reference).XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
        self.count = 0
        self.pool, self.processes = [], {}
        nft("add table bridge bare\nadd set bridge bare ports { type ifname . ether_addr; }")

    def start(self):
        """Everything that a launch does on the host, with nothing of ours."""
        [guest] = self.prepare(1)
        return guest.start(self.connection)

    def start_together(self, count):
        """As many launches at once, each over a connection of its own, and the rules of all in one transaction."""
        while len(self.pool) < count:
            self.pool.append(libvirt.open("qemu:///system"))
        guests = self.prepare(count)
        with ThreadPoolExecutor(count) as threads:
            return {"guests": list(threads.map(Guest.start, guests, self.pool))}

    def start_qemu(self):
        """QEMU by itself with such a guest, of which libvirt knows nothing."""
        [guest] = self.prepare(1)
        started = guest.start_qemu()
        process = started.pop("process")
        self.processes[process.pid] = process
        return {"pid": process.pid, **started}

    def stop_qemu(self, pid, overlay, console, tap):
        process = self.processes.pop(pid)
        process.kill()
        process.wait()
        remove(tap, overlay, console)
        return {}

    def prepare(self, count):
        guests = [Guest(self.template, number) for number in range(self.count + 1, self.count + count + 1)]
        self.count += count
        elements = ", ".join(f"{guest.tap} . {guest.mac}" for guest in guests)
        nft(f"add element bridge bare ports {{ {elements} }}")
        return guests

    def stop(self, name, overlay, console, tap):
        domain = self.connection.lookupByName(name)
        domain.destroy()
        domain.undefine()
        remove(tap, overlay, console)
        return {}

    def stop_together(self, guests):
        for guest in guests:
            self.stop(**guest)
        return {}

    def wait_running_together(self, count):
        return {"guests": [self.wait_running() for _ in range(count)]}

    def wait_running(self):
        """Waits for the next start that is not one of ours, and tells the domain's name and console."""
        name = "bare-"
        while name.startswith("bare-"):
            name = self.starts.names.get(timeout=60)
        return {"name": name, "console": self.console(name)}

    def wait_boot(self, name):
        return self.wait_first_line(self.console(name))

    def console(self, name):
        tree = ElementTree.fromstring(self.connection.lookupByName(name).XMLDesc())
        return tree.find(".//serial/source").get("path")

    def wait_first_line(self, console):
        while True:
            try:
                with open(console, "rb") as file:
                    if FIRST_LINE in file.read():
                        return {}
            except FileNotFoundError:
                pass
            time.sleep(POLL_SECONDS)

    def wait_gone(self, name):
        while name in [domain.name() for domain in self.connection.listAllDomains()]:
            time.sleep(0.05)
        return {}


class Guest:
    """The reference's domain with another identity and other files."""

    def __init__(self, template, number):
        tree = ElementTree.fromstring(template)
        self.name = f"bare-{number}"
        self.overlay, self.base = rename(tree, number)
        self.tap = tree.find(".//interface/target").get("dev")
        self.mac = tree.find(".//interface/mac").get("address")
        self.console = tree.find(".//serial/source").get("path")
        self.tree, self.xml = tree, ElementTree.tostring(tree, encoding="unicode")

    def start(self, connection):
        self.make_disk_and_tap()
        connection.defineXML(self.xml).create()
        return {"name": self.name, "console": self.console, "overlay": self.overlay, "tap": self.tap}

    def start_qemu(self):
        command = self.command()
        self.make_disk_and_tap()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        return {"process": process, "console": self.console, "overlay": self.overlay, "tap": self.tap}

    def command(self):
        """The devices of the domain, without libvirt's monitor, channel and spare ports."""
        accelerator = {"qemu": "tcg"}.get(self.tree.get("type"), self.tree.get("type"))
        memory = int(self.tree.find("memory").text) // 1024
        model = self.tree.find("cpu/model")
        return [self.tree.find(".//emulator").text, "-nodefaults", "-no-user-config", "-display", "none",
                "-machine", "q35", "-accel", accelerator, "-cpu", "host" if model is None else model.text,
                "-m", str(memory), "-smp", self.tree.find("vcpu").text, "-serial", f"file:{self.console}",
                "-drive", f"file={self.overlay},format=qcow2,if=none,id=root,aio=threads,discard=unmap",
                "-device", "virtio-blk-pci,drive=root",
                "-netdev", f"tap,id=net,ifname={self.tap},script=no,downscript=no",
                "-device", f"virtio-net-pci,netdev=net,mac={self.mac},romfile=",
                "-device", "virtio-balloon-pci", "-device", "virtio-rng-pci"]

    def make_disk_and_tap(self):
        create = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", self.base, self.overlay]
        subprocess.run(create, check=True)
        make_tap(self.tap)


def remove(tap, *paths):
    subprocess.run(["ip", "link", "del", tap], check=True)
    for path in paths:
        os.unlink(path)


def rename(tree, count):
    """Gives the reference's domain another identity and other files; returns overlay and base."""
    identity = f"ec2{uuid.uuid4().hex[3:]}"
    identity = str(uuid.UUID(identity))
    tree.find("name").text = f"bare-{count}"
    tree.find("uuid").text = identity
    for entry in tree.findall(".//sysinfo/system/entry"):
        if entry.get("name") in ("uuid", "serial"):
            entry.text = identity
    disk = tree.find(".//disk/source")
    overlay = re.sub(r"[^/]*$", f"bare-{count}.qcow2", disk.get("file"))
    disk.set("file", overlay)
    for source in tree.findall(".//serial/source") + tree.findall(".//console/source"):
        source.set("path", re.sub(r"[^/]*$", f"bare-{count}.log", source.get("path")))
    tree.find(".//interface/target").set("dev", f"bare{count}")
    tree.find(".//interface/mac").set("address", f"02:ba:5e:00:{count >> 8:02x}:{count & 255:02x}")
    for channel in tree.findall(".//channel/source"):
        tree.find(".//channel").remove(channel)
    return overlay, tree.find(".//disk/backingStore/source").get("file")


def make_tap(name):
    with open("/dev/net/tun", "rb+", buffering=0) as tun:
        fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH", name.encode(), IFF_TAP | IFF_NO_PI))
        fcntl.ioctl(tun, TUNSETPERSIST, 1)
    subprocess.run(["ip", "link", "set", name, "up"], check=True)


def nft(text):
    subprocess.run(["nft", "-f", "-"], input=text, text=True, check=True)


def main():
    host = BareHost(sys.argv[1])
    for request in sys.stdin:
        request = json.loads(request)
        try:
            reply = getattr(host, request.pop("do"))(**request)
        except Exception as error:  # whatever it is, the other side must hear of it
            reply = {"error": repr(error)}
        print(json.dumps(reply), flush=True)
    nft("delete table bridge bare")


main()
