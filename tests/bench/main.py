"""make bench: every line of the benchmark in one run. `main.py --out FOLDER [ID…]` runs only lines of these ids."""

import argparse
import sys

import agent
import attach
import control_plane
import disks
import fleet
import host
import paths
import placements
import report
import scale
import sigv4
import storage_host
import volumes

VERDICTS = {True: "met", False: "NOT met", None: ""}
PARTS = {"sigv4": sigv4.measure, "control-plane": control_plane.measure, "placements": placements.measure,
         "disks": disks.measure, "host": host.measure, "agent": agent.measure, "fleet": fleet.measure, "scale": scale.measure,
         "volumes": volumes.measure, "paths": paths.measure,
         "attach": attach.measure, "storage-host": storage_host.measure}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", required=True)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="only these parts")
    options = parser.parse_args()
    lines = []
    for name in options.parts or PARTS:
        for line in PARTS[name]():
            print(f"{line.id}: {line.measure} / {line.rival}: {line.median:g} ({line.goal}) {VERDICTS[line.met]}", file=sys.stderr)
            lines.append(line)
            report.write(lines, options.out)


main()
