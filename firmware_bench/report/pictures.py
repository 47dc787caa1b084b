"""Pictures of a report."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from wav2small.export.base.errors import BenchError
from wav2small.export.base.files import replace_file

from .rows import RAM_PARTS, ram_check, ram_parts, verdict_of

_COLOURS = {"float": "#e8a35c", "integer": "#5b8fc7"}
_WIDTH, _HEIGHT, _DOTS = 12.0, 7.0, 100
_PART_COLOURS = ("#5b8fc7", "#9cc3e6", "#2e5c8a", "#b9c4cf", "#e8a35c", "#c9a0dc")
"""Colours of the parts of RAM."""


def draw_memory(report: dict[str, Any], path: str | Path) -> None:
    """Draw what RAM is for, as PNG.

    Of a model with C99 a bar for each target: state, stack, samples that are held.
    Of another one the arena of the whole window,
    see :func:`draw_arena`.

    Args:
        report: report of :func:`wav2small.firmware_bench.bench.bench`
        path: file to write, 1200 pixels wide

    Raises:
        BenchError: if the file cannot be written

    """
    if report["c99"]["plan"] is None:
        draw_arena(report, path)
        return
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    budgets = report["budgets"]
    checks = [ram_check(budget) for budget in budgets]
    longest = max(check["actual"] for check in checks) / 1024
    figure, axes = _bars(len(budgets))
    for row, (budget, check) in enumerate(zip(budgets, checks, strict=True)):
        start = 0.0
        sizes = ram_parts(report, budget)
        for name, colour in zip(RAM_PARTS, _PART_COLOURS, strict=True):
            size = sizes[name]
            axes.barh(row, size / 1024, left=start, color=colour, edgecolor="white")
            start += size / 1024
        text = f" {check['actual']:,.0f} B, {budget['basis']}, {verdict_of(check)}"
        limit = None if check["limit"] is None else check["limit"] / 1024
        if limit is not None and limit <= 1.4 * longest:
            axes.plot([limit, limit], [row - 0.4, row + 0.4], color="#b3261e")
            start = max(start, limit)
        elif limit is not None:
            text += f"; the limit of {limit:,.1f} KiB is outside the picture"
        axes.text(start, row, text, va="center", fontsize=9, parse_math=False)
    axes.set_xlim(0, 2.1 * longest)
    names = [_target_name(budget) for budget in budgets]
    axes.set_yticks(range(len(names)), names, parse_math=False)
    axes.set_xlabel("RAM, KiB")
    axes.set_title(
        _heading(report, f"RAM for a window of {report['window']['seconds']:g} s"),
        fontsize=13,
        parse_math=False,
    )
    handles: list[Any] = [
        Patch(color=colour, label=text)
        for text, colour in zip(RAM_PARTS.values(), _PART_COLOURS, strict=True)
    ]
    handles.append(Line2D([], [], color="#b3261e", label="limit"))
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False)
    _save(figure, path)


def draw_arena(report: dict[str, Any], path: str | Path) -> None:
    """Draw where each tensor lies in the arena of the whole window, and when, as PNG.

    From left to right the steps, upwards the bytes of the arena.
    The lower bound and the RAM of the targets are lines;
    what is more than twice as high as the arena stands in the legend alone.

    Args:
        report: report of :func:`wav2small.firmware_bench.bench.bench`
        path: file to write, 1200 x 700 pixels

    Raises:
        BenchError: if the file cannot be written

    """
    figure, axes = _figure(_HEIGHT)
    steps, blocks = report["steps"], report["arena"]["blocks"]
    arena = report["arena"]["bytes"] / 1024
    lines, highest = _ram_limits(report, 2 * arena)
    top = 1.06 * max(arena, highest)
    bound = report["arena"]["lower_bound_bytes"] / 1024
    lines.insert(0, (f"lower bound, {bound:,.1f} KiB", bound, "#333333"))
    _draw_blocks(axes, blocks)
    handles = _draw_lines(axes, lines, top)
    axes.set_xlim(0, len(steps))
    axes.set_ylim(0, top)
    _label_steps(axes, steps)
    axes.set_ylabel("offset in the arena, KiB")
    axes.set_title(
        f"{report['model']['file'][:60]}, no C99: {arena:,.1f} KiB for a window of "
        f"{report['window']['seconds']:g} s",
        fontsize=13,
        parse_math=False,
    )
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False)
    figure.canvas.draw()  # fixes the layout, which the texts are fitted into
    figure.set_layout_engine("none")
    _name_blocks(axes, figure.canvas.get_renderer(), blocks)
    _save(figure, path)


def _draw_blocks(axes: Any, blocks: list[dict[str, Any]]) -> None:
    from matplotlib.patches import Rectangle

    for block in blocks:
        steps = block["last_step"] - block["first_step"] + 1
        axes.add_patch(
            Rectangle(
                (block["first_step"], block["offset"] / 1024),
                steps,
                block["bytes"] / 1024,
                facecolor=_block_colour(block),
                edgecolor="white",
                linewidth=1,
            )
        )


def _draw_lines(
    axes: Any, lines: list[tuple[str, float, str]], top: float
) -> list[Any]:
    """Draw limits as lines; return the entries of the legend."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [
        Patch(color=_COLOURS["integer"], label="integers"),
        Patch(color=_COLOURS["float"], label="floats"),
    ]
    for text, height, colour in lines:
        style: dict[str, Any] = {"color": colour, "linewidth": 1.5, "linestyle": "--"}
        if height <= top:
            axes.axhline(height, **style)
        else:
            text += " (above the picture)"
        handles.append(Line2D([], [], label=text, **style))
    return handles


def _label_steps(axes: Any, steps: list[dict[str, Any]]) -> None:
    every = max(1, -(-len(steps) // 45))
    ticks = range(0, len(steps), every)
    axes.set_xticks(
        [tick + 0.5 for tick in ticks],
        [f"{steps[tick]['operators'][0][:16]} {tick}" for tick in ticks],
        rotation=90,
        fontsize=8,
        parse_math=False,
    )
    axes.set_xlabel("step")


def draw_fit(report: dict[str, Any], path: str | Path) -> None:
    """Draw RAM and flash memory against those of each target, as PNG.

    A bar is the share of what there is; one that does not fit ends behind the line.
    Where there is no limit there is no bar.

    Args:
        report: report of :func:`wav2small.firmware_bench.bench.bench`
        path: file to write, 1200 pixels wide

    Raises:
        BenchError: if the file cannot be written

    """
    rows = [
        (f"{_target_name(budget)}\n{check['name']}", budget["basis"], check)
        for budget in report["budgets"]
        for check in budget["checks"]
        if check["name"] in ("ram", "flash")
    ]
    figure, axes = _bars(len(rows))
    for row, (_, basis, check) in enumerate(rows):
        actual, limit = check["actual"], check["limit"]
        share = actual / limit if limit else 0.0
        colour = "#9a9a9a" if check["passed"] is None else "#2e7d32"
        if check["passed"] is False:
            colour = "#b3261e"
        axes.barh(row, min(share, 1.6), color=colour)
        there = f"of {limit:,.0f} B, {share:.1%}" if limit else "(no limit known)"
        text = f" {actual:,} B {there}, {basis}, {verdict_of(check)}"
        axes.text(
            min(share, 1.6) if share < 0.6 else 0.01,
            row,
            text,
            va="center",
            fontsize=9,
            color="black" if share < 0.6 else "white",
            parse_math=False,
        )
    axes.axvline(1, color="#333333", linewidth=1.5, linestyle="--")
    axes.set_xlim(0, 1.7 if any(_is_over(check) for _, _, check in rows) else 1.05)
    axes.set_yticks(range(len(rows)), [name for name, _, _ in rows], parse_math=False)
    axes.set_xlabel("share of what the target has")
    axes.set_title(_heading(report, "RAM and flash"), fontsize=13, parse_math=False)
    _save(figure, path)


def draw_layers(report: dict[str, Any], path: str | Path) -> None:
    """Draw the instructions of each layer on each emulated core, as PNG.

    Args:
        report: report of :func:`wav2small.firmware_bench.bench.bench`
            with emulated cores
        path: file to write, 1200 pixels wide

    Raises:
        BenchError: if no core was emulated or the file cannot be written

    """
    cores = report["firmware"]["cores"] if report["firmware"] else []
    if not cores:
        raise BenchError(
            "report must have emulated cores to draw their layers, got none: "
            "use --emulate and a target whose core is emulated"
        )
    names = [layer["name"] for layer in cores[0]["layers"]]
    figure, axes = _bars(len(names))
    height = 0.8 / len(cores)
    colours = ("#5b8fc7", "#e8a35c", "#7b3fa0", "#2e7d32")
    for number, core in enumerate(cores):
        counts = [entry["instructions_per_second"] / 1e6 for entry in core["layers"]]
        places = [row - 0.4 + (number + 0.5) * height for row in range(len(names))]
        total = core["figures"]["instructions"] / 1e6
        label = f"{core['core']}, {total:,.2f} M in all, {core['compiler']}"
        colour = colours[number % len(colours)]
        axes.barh(places, counts, height, color=colour, label=label)
        for place, count in zip(places, counts, strict=True):
            axes.text(
                count,
                place,
                f" {count:.2f}",
                va="center",
                fontsize=max(5, 9 - 2 * number),
            )
    axes.margins(x=0.08)
    axes.set_yticks(range(len(names)), names, parse_math=False)
    axes.set_xlabel("M instructions per second of audio")
    axes.set_title(
        _heading(report, "instructions per layer"), fontsize=13, parse_math=False
    )
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    _save(figure, path)


def _bars(rows: int) -> tuple[Any, Any]:
    """Figure for horizontal bars, the first on top."""
    figure, axes = _figure(max(3.0, 1.5 + 0.38 * rows))
    axes.set_ylim(rows - 0.5, -0.5)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _figure(height: float) -> tuple[Any, Any]:
    # without pyplot, which would choose a window system and keep the figure
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH, height), dpi=_DOTS, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def _save(figure: Any, path: str | Path) -> None:
    buffer = io.BytesIO()
    figure.canvas.print_png(buffer, metadata={"Software": ""})
    try:
        replace_file(Path(path), buffer.getvalue())
    except OSError as error:
        raise BenchError(
            f"picture '{Path(path).name}' must be in a folder that can be written to, "
            f"got {error.strerror}: choose another"
        ) from error


def _heading(report: dict[str, Any], what: str) -> str:
    return f"{report['model']['file'][:60]}: {what}"


def _target_name(budget: dict[str, Any]) -> str:
    return str(budget["target"]["name"][:30]) if budget["target"] else "given limits"


def _is_over(check: dict[str, Any]) -> bool:
    return bool(check["limit"]) and check["actual"] > check["limit"]


def _ram_limits(
    report: dict[str, Any], highest: float
) -> tuple[list[tuple[str, float, str]], float]:
    """Lines of the budgets, and how high the picture must be to show them."""
    colours = ("#b3261e", "#7b3fa0", "#2e7d32", "#8a6d00")
    names: dict[float, dict[str, None]] = {}  # by limit; a dict keeps the order
    for budget in report["budgets"]:
        check = ram_check(budget)
        if check["limit"] is None:
            continue
        given = budget["target"] is None or check["source"] == "given limit"
        name = "given limit" if given else budget["target"]["name"]
        if not check["verified"]:
            name += " (unverified)"
        names.setdefault(check["limit"] / 1024, {})[name] = None
    lines = [
        (f"{', '.join(there)}, {limit:,.1f} KiB", limit, colours[i % len(colours)])
        for i, (limit, there) in enumerate(names.items())
    ]
    return lines, max((limit for limit in names if limit <= highest), default=0.0)


def _name_blocks(axes: Any, renderer: Any, blocks: list[dict[str, Any]]) -> None:
    """Write into each block the longest text that fits it."""
    for block in blocks:
        start, end = block["first_step"], block["last_step"] + 1
        bottom, height = block["offset"] / 1024, block["bytes"] / 1024
        corners = axes.transData.transform([(start, bottom), (end, bottom + height)])
        width, room = corners[1] - corners[0]
        shape = "x".join(str(length) for length in block["shape"] if length > 1)
        name, size = block["name"][:20], f"{height:,.1f} KiB"
        texts = [(f"{name}\n{shape}\n{size}", 0), (f"{name}\n{size}", 0)]
        texts += [(f"{name}, {size}", 90), (size, 0), (size, 90)]
        for text, rotation in texts:
            label = axes.text(
                (start + end) / 2,
                bottom + height / 2,
                text,
                ha="center",
                va="center",
                fontsize=8.5,
                parse_math=False,
                rotation=rotation,
                zorder=4,
                # in front of a line that crosses the block
                bbox={"facecolor": _block_colour(block), "linewidth": 0, "pad": 0.5},
            )
            extent = label.get_window_extent(renderer)
            if extent.width + 6 <= width and extent.height + 6 <= room:
                break
            label.remove()


def _block_colour(block: dict[str, Any]) -> str:
    floating = block["dtype"].startswith(("float", "bfloat"))
    return _COLOURS["float" if floating else "integer"]
