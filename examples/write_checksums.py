"""Write the manifests of the models, gate and teachers in the package.

    python examples/write_checksums.py

Run it after a change of a file below ``wav2small/assets``, a card included:
every command checks the SHA-256 of what it loads.
"""

from __future__ import annotations

from pathlib import Path

from wav2small.export.base import checksums

ASSETS = Path(__file__).parent.parent / "wav2small" / "assets"


def folders() -> list[Path]:
    """Return the folders that are loaded as one."""
    single = [ASSETS / name for name in ("gate", "hearing", "teacher", "teachers")]
    return [*single, *sorted(path for path in (ASSETS / "models").iterdir())]


def main() -> None:
    """Write all of them."""
    for folder in folders():
        checksums.write(folder)
        print(folder / checksums.MANIFEST)


if __name__ == "__main__":
    main()
