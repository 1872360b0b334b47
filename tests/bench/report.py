"""Writes the figures for people and for programs."""

import dataclasses
import json
import os
import pathlib


def write(lines, folder):
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    rows = [dataclasses.asdict(line) for line in lines]
    (folder / "report.json").write_text(json.dumps(rows, indent=2, ensure_ascii=False) + "\n")
    (folder / "report.md").write_text(markdown(lines))


def markdown(lines):
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    text = [
        "# Benchmark",
        "",
        f"Ratios of paired, interleaved measurements in one run on {os.cpu_count()} cores (load at the end: {load}). A goal is met",
        "when the 95 % interval of the median ratio is inside it. Absolute times are shown for orientation only.",
        "",
        "| | measure | rival | ratio | 95 % | goal | met | ours | rival's |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for line in lines:
        interval = "–".join(f"{value:g}" for value in line.spread)
        met = {True: "yes", False: "**no**", None: "–"}[line.met]
        text.append(f"| {line.id} | {line.measure} | {line.rival} | {line.median:g} | {interval} | {line.goal} | {met} | {line.ours} | {line.theirs} |")
    notes = [f"- {line.id}: {line.note}" for line in lines if line.note]
    return "\n".join(text + ([""] + notes if notes else [])) + "\n"
