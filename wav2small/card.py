"""The card of a model: what the hub reads of it, and what people do."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from wav2small.export.base.escape import line, markdown

from . import hub
from .adv import DIMENSIONS
from .teachers.licence import RESEARCH, canonical

_LICENCES = frozenset(
    {
        "apache-2.0", "bsd-2-clause", "bsd-3-clause", "bsl-1.0", "cc-by-3.0",
        "cc-by-4.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0",
        "cc-by-sa-3.0", "cc-by-sa-4.0", "cc0-1.0", "cdla-permissive-1.0",
        "cdla-permissive-2.0", "isc", "mit", "unlicense", "zlib",
    }
)  # fmt: skip
"""Licences that the hub knows by these names."""

OWN = "From its maker"
"""Heading of the part that is kept when a card is written again."""

MARK = "library_name: wav2small\n"
"""Line by which a card is known that may be written again."""

_TASK = {"type": "audio-classification", "name": "Speech emotion recognition"}


@dataclass(frozen=True)
class Known:
    """What is known of a model when its card is written."""

    name: str
    """What it is called."""

    bytes: int
    """Size of the ONNX file."""

    metadata: Mapping[str, str]
    """What the ONNX file says of itself."""

    selection: Mapping[str, Any] | None = None
    """``metrics`` of its checkpoint: concordance with the teacher, by dimension,
    on the speakers that were held back to choose the checkpoint."""

    checks: Mapping[str, Any] | None = None
    """What ``export.json`` holds."""

    figures: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What ``evaluate --json`` wrote, by name of the data."""

    costs: Sequence[tuple[str, str]] = ()
    """What it takes on a chip, in words."""

    clips: Sequence[tuple[str, Sequence[float]]] = ()
    """Recordings that go with it, and their scores."""

    files: Sequence[tuple[str, str]] = ()
    """Files that go with it, and what they are."""

    text: str = ""
    """What its maker wrote of it."""


def write_card(known: Known) -> str:
    """Return the card in Markdown, with the YAML of the hub before it."""
    front = yaml.safe_dump(_front(known), sort_keys=False, default_flow_style=False)
    parts = [f"---\n{front}---\n", f"# {markdown(known.name)}\n", *_body(known)]
    return "\n".join(parts).rstrip("\n") + "\n"


def _provenance(known: Known) -> dict[str, Any]:
    try:
        found = json.loads(known.metadata.get("provenance", ""))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _front(known: Known) -> dict[str, Any]:
    """Front matter; only what is known is in it."""
    stated = canonical(known.metadata.get("licence"))
    front: dict[str, Any] = {"license": stated.lower()}
    if stated.lower() not in _LICENCES:
        front = {"license": "other", "license_name": _slug(stated)}
    provenance = _provenance(known)
    members = provenance.get("members") or [{"name": provenance.get("teacher")}]
    names = [str(member.get("name")) for member in members if isinstance(member, dict)]
    teachers = [name for name in names if hub.NAME.fullmatch(name)]
    data = _data_sets(str(provenance.get("training_data") or ""))
    front |= {
        "library_name": "wav2small",
        "pipeline_tag": _TASK["type"],
        "tags": ["speech-emotion-recognition", "onnx", "tinyml", "hearing-aids"],
        **({"base_model": teachers} if teachers else {}),
        **({"datasets": data} if data else {}),
    }
    if results := _results(known):
        front["metrics"] = sorted(
            {metric["type"] for result in results for metric in result["metrics"]}
        )
        front["model-index"] = [{"name": line(known.name), "results": results}]
    return front


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-") or "unknown"


def _data_sets(stated: str) -> list[str]:
    """Names of data sets in a sentence such as 'A (CC0-1.0); noise: B (CC BY 3.0)'."""
    plain = re.sub(r"\([^)]*\)", "", line(stated))
    names = [part.split(":")[-1].strip() for part in re.split("[;,]", plain)]
    return list(dict.fromkeys(n for n in names if n and n.lower() != "unknown"))


def _results(known: Known) -> list[dict[str, Any]]:
    """Results as the hub's model index has them."""
    found = []
    if known.selection:
        metrics = [
            _metric("ccc", f"{name} against the teacher", known.selection[name])
            for name in DIMENSIONS
            if name in known.selection
        ]
        found.append(_result("speakers held back from training", metrics))
    for name, figures in known.figures.items():
        metrics = [
            _metric(kind, f"{dimension} against {reference}", row[dimension][kind])
            for reference, row in figures.items()
            if isinstance(row, Mapping)
            for kind in ("ccc", "mae")
            for dimension in DIMENSIONS
            if isinstance(row.get(dimension), Mapping) and kind in row[dimension]
        ]
        found.append(_result(name, metrics))
    return [result for result in found if result["metrics"]]


def _metric(kind: str, name: str, value: float) -> dict[str, Any]:
    return {"type": kind, "name": f"{kind.upper()}, {name}", "value": round(value, 4)}


def _result(name: str, metrics: list[dict[str, Any]]) -> dict[str, Any]:
    kept = [metric for metric in metrics if metric["value"] == metric["value"]]
    data_set = {"type": _slug(name), "name": line(name)}
    return {"task": dict(_TASK), "dataset": data_set, "metrics": kept}


# -- what people read --------------------------------------------------------


def _body(known: Known) -> list[str]:
    parts = [_facts(known), _use(known), _tables(known)]
    if known.clips:
        rows = [
            [f"[{markdown(name)}]({name})", *(f"{score:.2f}" for score in scores)]
            for name, scores in known.clips
        ]
        parts += ["## Examples\n", "Synthetic speech, CC0-1.0: nobody speaks here.\n"]
        parts += [_table(["clip", *DIMENSIONS], rows)]
    if known.files:
        parts += ["## Files\n"]
        parts += [
            _table(["file", ""], [[f"`{name}`", what] for name, what in known.files])
        ]
    parts += [_limits(known)]
    if known.text:
        parts += [f"## {OWN}\n", known.text.strip() + "\n"]
    return parts


def _facts(known: Known) -> str:
    metadata, provenance = known.metadata, _provenance(known)
    rows = [
        ["input", "mono signal, 16 kHz, float32 in -1 to 1, `[1, time]`"],
        ["output", "arousal, dominance, valence, 0.5 being neutral"],
        ["lowest and highest scores measured", metadata.get("range", "not stated")],
        ["length of a signal, s", metadata.get("window", "any")],
        ["bytes of `model.onnx`", f"{known.bytes:,}"],
        *([key, value] for key, value in known.costs),
        ["student", provenance.get("student", "not stated")],
        ["teacher", provenance.get("teacher", "not stated")],
        ["data that teacher or student learned from",
         provenance.get("training_data", "not stated")],
        ["licence", metadata.get("licence", "unknown")],
        ["may be used for", metadata.get("use", "what the licence says")],
    ]  # fmt: skip
    plain = [[row[0], row[1] if "`" in row[1] else markdown(row[1])] for row in rows]
    return _table(["", ""], plain)


def _use(known: Known) -> str:
    return (
        "## Use\n\n```python\nimport wav2small\n\n"
        'model = wav2small.load("FOLDER OR OWNER/NAME")\n'
        "scores = model.predict([signal])  # (1, 3), signal: float32 at 16 kHz\n"
        "```\n\nonnxruntime alone does as well: input `signal`, output `logits`.\n"
    )


def _tables(known: Known) -> str:
    parts = []
    for result in _results(known):
        rows = [
            [markdown(metric["name"]), f"{metric['value']:.3f}"]
            for metric in result["metrics"]
        ]
        parts.append(f"### On {markdown(result['dataset']['name'])}\n")
        parts.append(_table(["figure", ""], rows))
    executions = ((known.checks or {}).get("parity") or {}).get("executions") or {}
    if executions:
        rows = [
            [f"{markdown(name)} execution", f"{entry['max_error']:.4f}",
             " ".join(f"{value:.4f}" for value in entry["concordance_cc"])]
            for name, entry in executions.items()
        ]  # fmt: skip
        parts.append("### The file against the student that it was made of\n")
        parts.append(_table(["", "largest difference", "CCC"], rows))
    return "\n".join(["## Figures\n", *parts]) if parts else ""


def _limits(known: Known) -> str:
    text = (
        "## What it can't do\n\nIt can't be better than its teacher, and it says how "
        "speech sounds, not what somebody feels. "
    )
    if not known.figures:
        text += "No figure on speakers that nobody trained or chose with is known. "
    if known.metadata.get("use") == RESEARCH:
        text += "It must not go into a product: a licence behind it forbids that. "
    return text + "Noise and silence need a gate before it (`wav2small predict`).\n"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
