# SPDX-License-Identifier: MIT
"""What the comparison asks of each figure, and whether it is met. Pure functions of the results.

A cell is {side: [a value for each pair]}. The limits of a machine are what Dunlin measures in the
same runs: {"read_bandwidth": [...], "int8_peak": [...], "bytes_per_token": n,
"operations_per_token": n}.
"""

import statistics
import typing

DUNLIN = "dunlin"
LLAMA = "llama.cpp"
SEQUENCES = 8
DEPTH = 4096


class Metric(typing.NamedTuple):
    """A row of the table, and its aim: so many times the best peer, or a share of the bound."""

    title: str
    larger_is_better: bool
    digits: int
    times: float
    share: float
    bound: typing.Optional[str]


METRICS = {
    "prefill": Metric("prefill 256, tokens/s", True, 1, 2.0, 0.80, "int8"),
    "prefill2048": Metric("prefill 2,048, tokens/s", True, 1, 2.0, 0.80, "int8"),
    "decode": Metric("decode 64, tokens/s", True, 1, 2.0, 0.85, "bandwidth"),
    "depth": Metric("decode after 4,096, tokens/s", True, 1, 0.0, 1.0, "cache"),
    "batch": Metric("decode of 8 sequences, tokens/s", True, 1, 0.0, 1.0, "one"),
    "start": Metric("start to first byte, ms", False, 1, 4.0, 1.0, None),
    "cold": Metric("the same, file not in memory, ms", False, 1, 0.0, 1.0, "disk"),
    "memory": Metric("peak memory, MiB", False, 1, 1 / 0.7, 1.0, None),
}
BATCH_GAIN = 5.0


def ratios(metric, dunlin, peer):
    """How many times better Dunlin is, pair by pair."""
    pairs = zip(dunlin, peer)
    return [d / p if METRICS[metric].larger_is_better else p / d for d, p in pairs]


def median_ratio(metric, cell, side):
    return statistics.median(ratios(metric, cell[DUNLIN], cell[side]))


def best_peer(metric, cell):
    """The peer that Dunlin is the least ahead of, and the median ratio; (None, None): no peer."""
    sides = [side for side in cell if side != DUNLIN and cell[side]]
    if metric == "memory":
        sides = [side for side in sides if side == LLAMA]
    if not sides or not cell.get(DUNLIN):
        return None, None
    return min(((side, median_ratio(metric, cell, side)) for side in sides),
               key=lambda pair: pair[1])


def bound(metric, limits, cells):
    """What the machine allows, in the metric's own unit; None where it was not measured."""
    kind = METRICS[metric].bound
    if kind == "int8" and limits.get("int8_peak"):
        return statistics.median(limits["int8_peak"]) / limits["operations_per_token"]
    if kind == "bandwidth" and limits.get("read_bandwidth"):
        return statistics.median(limits["read_bandwidth"]) / limits["bytes_per_token"]
    if kind == "cache" and cells.get("decode", {}).get(DUNLIN) and "cache_bytes" in limits:
        weights = limits["bytes_per_token"]
        return statistics.median(cells["decode"][DUNLIN]) * weights / \
            (weights + limits["cache_bytes"])
    if kind == "one" and limits.get("one_sequence"):
        return BATCH_GAIN * statistics.median(limits["one_sequence"])
    if kind == "disk" and cells.get("start", {}).get(DUNLIN) and limits.get("disk_ms"):
        return statistics.median(cells["start"][DUNLIN]) + statistics.median(limits["disk_ms"])
    return None


def verdict(metric, cells, limits):
    """Whether a metric's aim is met: {"met", "reached", "peer", "ratio", "share"}.

    "reached" is 1 at the aim, which is the lesser of the two; None where nothing can be said.
    """
    cell = cells.get(metric, {})
    about = METRICS[metric]
    result = {"peer": None, "ratio": None, "share": None, "reached": None, "met": None}
    if not cell.get(DUNLIN):
        return result
    result["peer"], result["ratio"] = best_peer(metric, cell)
    most = bound(metric, limits, cells)
    if most:
        value = statistics.median(cell[DUNLIN])
        result["share"] = value / most if about.larger_is_better else most / value
    reached = []
    if about.times and result["ratio"] is not None:
        reached.append(result["ratio"] / about.times)
    if about.bound and result["share"] is not None:
        reached.append(result["share"] / about.share)
    if reached:
        result["reached"] = max(reached)
        result["met"] = result["reached"] >= 1
    return result


def words(metric, found):
    """A verdict as a cell of the table."""
    if found["met"] is None:
        return "-"
    if found["met"]:
        return "met"
    missing = 1 / found["reached"]
    what = "too much" if metric in ("memory", "start", "cold") else "missing"
    return f"not met: {missing:.2f} times {what}" if missing >= 1.005 else "not met, by a hair"
