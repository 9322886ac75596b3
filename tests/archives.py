"""Make tar archives for tests, member by member, as tools and attackers write them."""

from __future__ import annotations

import io
import tarfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def member(name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, *, link: str = "") -> tarfile.TarInfo:
    """A member, with its content in ``_content``."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, len(content)
    info.pax_headers = {}
    return info


def write_archive(
    path: Path,
    members: list[tuple[tarfile.TarInfo, bytes]],
    *,
    form: int = tarfile.PAX_FORMAT,
) -> None:
    """An archive of these members, in this order."""
    with tarfile.open(path, "w", format=form) as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content))


def layout_members(layout: Path, *, prefix: str = "") -> list[tuple[tarfile.TarInfo, bytes]]:
    """The files and directories of a layout as members."""
    found: list[tuple[tarfile.TarInfo, bytes]] = []
    for path in sorted(layout.rglob("*")):
        name = f"{prefix}{path.relative_to(layout)}"
        content = path.read_bytes() if path.is_file() else b""
        found.append((member(name, content, tarfile.REGTYPE if path.is_file() else tarfile.DIRTYPE), content))
    return found


def pack(layout: Path, path: Path, *, prefix: str = "", form: int = tarfile.PAX_FORMAT) -> None:
    """An archive of a layout."""
    write_archive(path, layout_members(layout, prefix=prefix), form=form)
