"""Interleaved pairs of ours and a rival's, as ratios. Absolute times of one machine mean nothing."""

import dataclasses
import random
import statistics
import time


@dataclasses.dataclass
class Line:
    """One row of the report. `median` and `spread` are of the paired ratios ours / rival."""

    id: str
    measure: str
    rival: str
    median: float
    spread: list
    goal: str
    # None where there is no goal.
    met: bool | None
    ours: str = ""
    theirs: str = ""
    note: str = ""


def pairs(ours, rival, count, warmup=1, before=lambda: None, check=lambda reply: None):
    """Runs both in the order A B B A A B … and returns seconds of each pair. `before`, and the `check` of
    what a call returned, are not timed."""
    seconds = lambda call: lambda: timed(call, before, check)
    return in_turns(seconds(ours), seconds(rival), count, warmup)


def in_turns(ours, rival, count, warmup=1):
    """The same of calls that tell their seconds themselves."""
    for _ in range(warmup):
        ours(), rival()
    found = []
    for index in range(count):
        if index % 2 == 0:
            mine = ours()
            found.append((mine, rival()))
        else:
            theirs = rival()
            found.append((ours(), theirs))
    return found


def timed(call, before, check):
    before()
    started = time.perf_counter()
    reply = call()
    took = time.perf_counter() - started
    check(reply)
    return took


def line(id, measure, rival, found, at_most=None, at_least=None, note="", unit=1e3, unit_name="ms"):
    """Sums pairs up. `at_most` bounds ours/rival; `at_least` bounds rival/ours (times faster); without
    either the line is for information."""
    faster = at_least is not None
    ratios = [theirs / mine if faster else mine / theirs for mine, theirs in found]
    median = statistics.median(ratios)
    low, high = bootstrap(ratios)
    goal, met = judged(low, high, at_most, at_least)
    return Line(id, measure, rival, round(median, 3), [round(low, 3), round(high, 3)], goal, met,
                shown([mine for mine, _ in found], unit, unit_name), shown([theirs for _, theirs in found], unit, unit_name), note)


def figure(id, measure, rival, values, published, unit, at_most=None, at_least=None, note=""):
    """Sums up what has a figure for a rival that was not measured here: `values` as multiples of it."""
    ratios = [value / published for value in values]
    low, high = bootstrap(ratios)
    goal, met = "–", None
    if at_least is not None:
        goal, met = f"≥ {at_least:g}×", low >= at_least
    elif at_most is not None:
        goal, met = f"≤ {at_most:g}×", high <= at_most
    return Line(id, measure, rival, round(statistics.median(ratios), 3), [round(low, 3), round(high, 3)], goal, met,
                f"{statistics.median(values):.4g} {unit}", f"{published:g} {unit}", note)


def difference(id, measure, rival, found, at_most, note=""):
    """Sums pairs up by how many milliseconds ours takes longer."""
    longer = [(mine - theirs) * 1e3 for mine, theirs in found]
    low, high = bootstrap(longer)
    return Line(id, measure, rival, round(statistics.median(longer), 1), [round(low, 1), round(high, 1)], f"≤ +{at_most} ms", high <= at_most,
                shown([mine for mine, _ in found], 1e3, "ms"), shown([theirs for _, theirs in found], 1e3, "ms"), note)


def judged(low, high, at_most, at_least):
    if at_least is not None:
        return f"≥ {at_least:g}× faster", low >= at_least
    if at_most is not None:
        return f"≤ {at_most:g}×", high <= at_most
    return "–", None


def shown(values, unit, unit_name):
    return f"{statistics.median(values) * unit:.2f} {unit_name}"


def bootstrap(ratios, rounds=2000):
    """95 % interval of the median."""
    chance = random.Random(1)
    medians = sorted(statistics.median(chance.choices(ratios, k=len(ratios))) for _ in range(rounds))
    return medians[int(rounds * 0.025)], medians[int(rounds * 0.975)]
