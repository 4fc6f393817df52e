# SPDX-License-Identifier: MIT
"""The results of a comparison as a Markdown table and as an SVG plot."""

import statistics
from xml.sax.saxutils import escape

from verdicts import DUNLIN, METRICS, best_peer, ratios, verdict, words

COLOURS = {"dunlin": "#2f81f7", "llama.cpp": "#8b949e", "ik_llama.cpp": "#bf8700",
           "openvino": "#8250df"}
BAR, GAP, LABEL, WIDTH, NUMBER = 14, 18, 200, 400, 70
STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1f2328; }
.title { font-weight: 600; }
line { stroke: #8b949e; }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3; } }
"""


def key(model, level, threads):
    return f"{model}|{level}|{threads}"


def figure(values, digits):
    """Median, and the least and the most where there are several."""
    if not values:
        return "-"
    text = f"{statistics.median(values):,.{digits}f}"
    if len(values) > 1:
        text += f" ({min(values):,.{digits}f} to {max(values):,.{digits}f})"
    return text


def rows(results):
    """A dictionary for each measured cell, in the order of the results."""
    for place, cells in results["cells"].items():
        model, level, threads = place.split("|")
        limits = results["limits"].get(place, {})
        for metric in METRICS:
            if not cells.get(metric):
                continue
            yield {"model": model, "level": level, "threads": threads, "metric": metric,
                   "cell": cells[metric], **verdict(metric, cells, limits)}


def markdown(results):
    sides = [side for side in COLOURS
             if any(side in row["cell"] for row in rows(results))]
    head = ["model", "level", "threads", "measure", *sides, "times the best peer", "of the bound",
            "aim"]
    lines = [head, ["---"] * len(head)]
    for row in rows(results):
        about = METRICS[row["metric"]]
        peer, _ = best_peer(row["metric"], row["cell"])
        times = figure(ratios(row["metric"], row["cell"][DUNLIN], row["cell"][peer]), 2) \
            if peer else "-"
        lines.append([row["model"], row["level"], row["threads"], about.title,
                      *(figure(row["cell"].get(side), about.digits) for side in sides),
                      f"{times} {peer}" if peer else "-",
                      f"{100 * row['share']:.0f} %" if row["share"] else "-",
                      words(row["metric"], row)])
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    failures = "\n".join(f"- {what.replace('|', ', ')}: {why}"
                         for what, why in results["failures"].items())
    return f"{text}\n\n{failures}\n" if failures else f"{text}\n"


def panel(results, metric, level, threads):
    """[(model, {side: median})] of a metric."""
    found = []
    for place, cells in results["cells"].items():
        model, its_level, its_threads = place.split("|")
        if (its_level, its_threads) == (level, str(threads)) and cells.get(metric, {}).get(DUNLIN):
            found.append((model, {side: statistics.median(cells[metric][side])
                                  for side in COLOURS if cells[metric].get(side)}))
    return found


def bars(groups, title, top):
    """Elements of a panel from @top on, and where it ends."""
    longest = max((value for _, sides in groups for value in sides.values()), default=1)
    parts = [f'<text class="title" x="0" y="{top + 14}">{escape(title)}</text>']
    y = top + 28
    for model, sides in groups:
        parts.append(f'<text x="{LABEL - 8}" y="{y + BAR * len(sides) / 2 + 5:.0f}" '
                     f'text-anchor="end">{escape(model)}</text>')
        for side, value in sides.items():
            width = WIDTH * value / longest
            parts.append(f'<rect x="{LABEL}" y="{y}" width="{width:.1f}" height="{BAR - 2}" '
                         f'fill="{COLOURS[side]}"><title>{escape(f"{model}, {side}")}: {value:.1f}'
                         f'</title></rect>')
            parts.append(f'<text x="{LABEL + width + 6:.1f}" y="{y + BAR - 3}">{value:,.0f}</text>')
            y += BAR
        y += GAP - BAR // 2
    parts.append(f'<line x1="{LABEL}" y1="{top + 24}" x2="{LABEL}" y2="{y - 4}"/>')
    return parts, y + GAP


def legend(sides, top):
    parts, x = [], LABEL
    for side in sides:
        parts.append(f'<rect x="{x}" y="{top}" width="12" height="12" fill="{COLOURS[side]}"/>')
        parts.append(f'<text x="{x + 18}" y="{top + 11}">{escape(side)}</text>')
        x += 40 + 8 * len(side)
    return parts


def svg(results, level="native", threads=2, metrics=("prefill", "decode")):
    """Bars of each model, a panel for each metric; more is better in all of them."""
    body, y, shown = [], 40, []
    for metric in metrics:
        groups = panel(results, metric, level, threads)
        shown += [side for _, sides in groups for side in sides if side not in shown]
        if groups:
            parts, y = bars(groups, METRICS[metric].title, y)
            body += parts
    body = legend([side for side in COLOURS if side in shown], 8) + body
    cpu = results["machine"].get("cpu", "this machine")
    description = "; ".join(
        f"{METRICS[metric].title}, {model}: " +
        ", ".join(f"{side} {value:.0f}" for side, value in sides.items())
        for metric in metrics for model, sides in panel(results, metric, level, threads))
    return (f'<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{LABEL + WIDTH + NUMBER}" '
            f'height="{y}" viewBox="0 0 {LABEL + WIDTH + NUMBER} {y}" '
            f'aria-labelledby="title description">\n'
            f'<title id="title">Tokens per second of Dunlin and others, {threads} threads, '
            f'{escape(cpu)}</title>\n<desc id="description">{escape(description)}</desc>\n'
            f'<style>{STYLE}</style>\n' + "\n".join(body) + "\n</svg>\n")
