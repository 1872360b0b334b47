"""A new root disk of an image that is cached, whatever the image's size."""

import itertools
import pathlib
import subprocess
import tempfile

from clouds import ROOT
from measure import line, pairs

ROUNDS = 60
GIB = 1 << 30


class Maker:
    """The function the agent calls for a launch, kept running as the agent is."""

    def __init__(self, folder):
        self.folder, self.numbers = folder, itertools.count()
        self.process = subprocess.Popen([ROOT / "target/release/examples/create_overlay"], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)

    def ours(self, base, size):
        print(self.fresh(), base, size, file=self.process.stdin, flush=True)
        if self.process.stdout.readline() != "done\n":
            raise RuntimeError("no overlay was made")

    def rival(self, base, size):
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", base, self.fresh(), str(size)], check=True)

    def fresh(self):
        return self.folder / f"{next(self.numbers)}.qcow2"

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def measure():
    # Not below /tmp, which may be memory: flushes count.
    with tempfile.TemporaryDirectory(prefix="bench-", dir=ROOT / "target") as scratch:
        folder = pathlib.Path(scratch)
        maker = Maker(folder)
        try:
            yield from lines(maker, folder)
        finally:
            maker.close()


def lines(maker, folder):
    sizes = {size: image(folder, size) for size in (1, 10, 100)}
    for size, base in sizes.items():
        measured = pairs(lambda: maker.ours(base, size * GIB), lambda: maker.rival(base, size * GIB), ROUNDS)
        yield line("M4", f"root disk of a {size} GiB image", "qemu-img create -b", measured, at_most=1.1)
    large, small = (lambda: maker.ours(sizes[100], 100 * GIB)), (lambda: maker.ours(sizes[1], GIB))
    yield line("M4", "root disk of a 100 GiB image", "ours of a 1 GiB image", pairs(large, small, ROUNDS), at_most=1.1)


def image(folder, size):
    path = folder / f"{size}.raw"
    with open(path, "wb") as file:
        file.truncate(size * GIB)
    return path
