"""What a process weighs: all its pages, its share of them, and what is its own."""

import dataclasses
import pathlib
import re


@dataclasses.dataclass
class Footprint:
    """In MiB. `share` counts a page that several processes map in parts (PSS), `own` only what no other maps."""

    resident: float
    share: float
    own: float

    def __str__(self):
        return f"{self.resident:.1f} MiB (PSS {self.share:.1f}, private {self.own:.1f})"


def footprint(pid):
    rollup = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    kib = dict((name, int(value)) for name, value in re.findall(r"^(\w+): +(\d+) kB$", rollup, re.MULTILINE))
    own = kib["Private_Clean"] + kib["Private_Dirty"]
    return Footprint(kib["Rss"] / 1024, kib["Pss"] / 1024, own / 1024)
