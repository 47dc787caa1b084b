"""How the source distribution is packed; everything else stands in pyproject.toml."""

from __future__ import annotations

from pathlib import Path

from setuptools import setup
from setuptools.command.sdist import sdist


class LinkedParts(sdist):
    """Packs the parts that lie at the top of the repository once.

    ``wav2small/export`` and ``wav2small/firmware_bench`` are links to them.
    Followed, as setuptools does it, they would become a second copy,
    and whoever changes one copy would test the other.
    """

    def make_release_tree(self, base_dir: str, files: list[str]) -> None:
        """Copy what is packed, and links as links."""
        links = [path for path in Path("wav2small").iterdir() if path.is_symlink()]
        copies = tuple(f"{link.as_posix()}/" for link in links)
        kept = [name for name in files if not name.startswith(copies)]
        super().make_release_tree(base_dir, kept)
        for link in links:
            (Path(base_dir) / link).symlink_to(link.readlink())


setup(cmdclass={"sdist": LinkedParts})
