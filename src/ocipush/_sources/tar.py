"""Index a tar archive: where the bytes of each member are, found without reading them.

``tarfile`` is not used: it reads extended headers of any size into memory, and keeps every member.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from ..errors import InvalidLayoutError

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_MEMBERS: Final = 100_000
_BLOCK: Final = 512
_MAX_EXTENDED: Final = 1024 * 1024  # bytes of an extended header, which holds names
_MAX_LINKS: Final = 40  # followed for one name, as many as Linux follows
_PIECE: Final = 1024 * 1024
_COPY: Final = "copy the archive again, or write it again with the tool that made it"
_OCTAL: Final = re.compile(rb"[0-7]*")
_REGULAR: Final = frozenset(b"\0007")
_EXTENDED: Final = frozenset(b"LKxg")
_SPECIAL: Final = {ord("3"): "a device", ord("4"): "a device", ord("6"): "a FIFO"}


class Member(NamedTuple):
    """A file in an archive: ``size`` bytes from ``offset`` on.

    A symbolic link has a ``target``, which is a name in the archive. Of a ``sparse`` file only parts are stored.
    """

    offset: int
    size: int
    target: str | None = None
    sparse: bool = False


class Members:
    """The files of an archive by name.

    Attributes:
        is_complete: the archive has an end marker. Without one, it may have been cut off between two members.
    """

    def __init__(self, files: dict[str, Member], *, is_complete: bool) -> None:
        self._files = files
        self.is_complete = is_complete

    def find(self, name: str) -> Member | None:
        """The file that a name leads to; symbolic links are followed. None if there is none."""
        for _ in range(_MAX_LINKS):
            found = self._files.get(name)
            if found is not None and found.target is None:
                return found
            followed = self._follow(name)
            if followed is None:
                return None
            name = followed
        return None

    def has(self, name: str) -> bool:
        """Whether there is a file of this name, or one below it."""
        return name in self._files or any(one.startswith(f"{name}/") for one in self._files)

    def _follow(self, name: str) -> str | None:
        """The name with the link replaced that stands in it."""
        head, rest = name, ""
        while head:
            found = self._files.get(head)
            if found is not None:
                return None if found.target is None else f"{found.target}{rest}".lstrip("/")
            head, slash, last = head.rpartition("/")
            rest = f"{slash}{last}{rest}" if slash else ""
        return None


def read_members(
    read: Callable[[int, int], bytes], size: int, *, where: str, check_cancelled: Callable[[], None] = lambda: None
) -> Members:
    """Index the members of an archive of ``size`` bytes. Blocking; ``check_cancelled`` may end it.

    ``read(count, offset)`` gives up to ``count`` bytes of the archive from ``offset`` on.

    Raises:
        InvalidLayoutError: it is not a tar archive or is cut off, a member or link leads out of it, a member is a device
            or a FIFO, two different files have one name, or there are more than 100,000 members.
    """
    reader = _Reader(read, size, where, check_cancelled)
    is_complete = reader.run()
    return Members(reader.files, is_complete=is_complete)


class _Reader:
    def __init__(
        self, read: Callable[[int, int], bytes], size: int, where: str, check_cancelled: Callable[[], None]
    ) -> None:
        self._read_at = read
        self._size = size
        self._where = where
        self._check_cancelled = check_cancelled
        self._extended: dict[str, bytes] = {}  # what extended headers say of the next member
        self._global: dict[str, bytes] = {}
        self.files: dict[str, Member] = {}

    def run(self) -> bool:
        """Read all headers; whether there was an end marker."""
        position = count = 0
        while position < self._size:
            header = self._read(position, _BLOCK)
            if not header.strip(b"\0"):
                return True
            if count % 100 == 0:
                self._check_cancelled()
            count += 1
            if count > MAX_MEMBERS:
                raise self._error(f"has more than {MAX_MEMBERS:,} members", hint="push it from a directory")
            position = self._member(header, position)
        if not count:
            raise self._error("is empty")
        return False

    def _member(self, header: bytes, position: int) -> int:
        """Take in one member; where the next header is."""
        if not _has_checksum(header):
            what = "is not a tar archive" if position == 0 else f"has no valid header at byte {position}"
            raise self._error(what)
        kind, size, start = header[156], self._number(header[124:136]), position + _BLOCK
        if kind in _EXTENDED:
            self._take_extended(kind, start, size)
            return self._after(start, size, "an extended header")
        said = {**self._global, **self._extended}
        self._extended = {}
        if "size" in said:
            size = self._decimal(said["size"])
        name = _text(said.get("path") or _name(header))
        if kind == ord("S") and header[482]:
            start = self._after_sparse_map(start)
        is_file = kind in _REGULAR or kind == ord("S") or kind not in b"123456"
        end = self._after(start, size, name) if is_file else start
        if kind == ord("5") or (kind in b"\0000" and name.endswith("/")):
            self._normal(name)
        elif kind in b"12":
            self._add_link(name, _text(said.get("linkpath") or _cut(header[157:257])), is_hard=kind == ord("1"))
        elif kind in _SPECIAL:
            raise self._error(
                f"holds {_SPECIAL[kind]}, {name[:200]!a}", hint="an image has none; make the archive again"
            )
        else:
            sparse = kind == ord("S") or any(key.startswith("GNU.sparse.") for key in said)
            self._add(name, Member(start, size, sparse=sparse))
        return end

    def _take_extended(self, kind: int, start: int, size: int) -> None:
        if size > _MAX_EXTENDED:
            raise self._error(f"has an extended header of {size} bytes")
        raw = self._read(start, size)
        if kind in b"LK":
            self._extended["path" if kind == ord("L") else "linkpath"] = _cut(raw)
            return
        records = self._global if kind == ord("g") else self._extended
        while raw.strip(b"\0"):
            found = re.match(rb"([0-9]{1,9}) ", raw)
            length = int(found[1]) if found else 0
            key, equals, value = raw[found.end() if found else 0 : length].partition(b"=")
            if not equals or not value.endswith(b"\n") or length > len(raw):
                raise self._error("has an invalid extended header")
            records[_text(key)] = value[:-1]
            raw = raw[length:]

    def _add_link(self, name: str, target: str, *, is_hard: bool) -> None:
        base = "" if is_hard else self._normal(name).rpartition("/")[0]
        steps: list[str] = []
        for step in f"{base}/{target}".split("/"):
            if step == ".." and not steps:
                break
            if step == "..":
                steps.pop()
            elif step not in {"", "."}:
                steps.append(step)
        else:
            if not target.startswith("/") and "\0" not in target:
                inside = "/".join(steps)
                linked = self.files.get(inside) if is_hard else None
                self._add(name, linked or Member(0, 0, target=inside))
                return
        raise self._error(
            f"holds a link that leads out of it, {name[:200]!a}",
            hint="write the archive again with `tar --dereference`, which stores the files that links point to",
        )

    def _add(self, name: str, member: Member) -> None:
        name = self._normal(name)
        known = self.files.get(name)
        if known is not None and not self._is_same(known, member):
            raise self._error(f"holds two different files of the name {name[:200]!a}", hint=_COPY)
        self.files[name] = member

    def _is_same(self, one: Member, other: Member) -> bool:
        if one.size != other.size or one.target != other.target or one.sparse != other.sparse:
            return False
        if one.offset == other.offset:
            return True
        for start in range(0, one.size, _PIECE):
            self._check_cancelled()
            count = min(_PIECE, one.size - start)
            if self._read(one.offset + start, count) != self._read(other.offset + start, count):
                return False
        return True

    def _normal(self, name: str) -> str:
        steps = [step for step in name.split("/") if step not in {"", "."}]
        if name.startswith("/") or ".." in steps or "\0" in name:
            raise self._error(
                f"holds a member whose name leads out of it, {name[:200]!a}",
                hint="such an archive can overwrite files where it is unpacked; make it again",
            )
        return "/".join(steps)

    def _after(self, start: int, size: int, name: str) -> int:
        end = start + size
        if end > self._size:
            missing = end - self._size
            raise self._error(f"is cut off: {missing} bytes of {name[:200]!a} are missing", hint=_COPY)
        return end + -end % _BLOCK

    def _after_sparse_map(self, start: int) -> int:
        more = 1
        while more:
            more = self._read(start, _BLOCK)[504]
            start += _BLOCK
        return start

    def _number(self, field: bytes) -> int:
        """A size: in octal, or base 256 where the first bit is set."""
        if field[0] & 0x80:
            if field[0] != 0x80:
                raise self._error("has a member of an impossible size")
            return int.from_bytes(field[1:], "big")
        digits = _cut(field).strip()
        if not _OCTAL.fullmatch(digits):
            raise self._error("has a member whose size is not a number")
        return int(digits or b"0", 8)

    def _decimal(self, digits: bytes) -> int:
        if not re.fullmatch(rb"[0-9]{1,18}", digits):
            raise self._error("has a member whose size is not a number")
        return int(digits)

    def _read(self, position: int, size: int) -> bytes:
        piece = self._read_at(size, position)
        if len(piece) < size:
            raise self._error("is cut off" if position else "is not a tar archive", hint=_COPY)
        return piece

    def _error(self, problem: str, *, hint: str | None = _COPY) -> InvalidLayoutError:
        return InvalidLayoutError(f"{self._where} {problem}", hint=hint, path=self._where)


def _has_checksum(header: bytes) -> bool:
    digits = _cut(header[148:156]).strip()
    if not digits or not _OCTAL.fullmatch(digits):
        return False
    total = sum(header) - sum(header[148:156]) + 8 * ord(" ")
    wanted = int(digits, 8)
    if header.isascii() or wanted == total:
        return wanted == total
    others = header[:148] + header[156:]
    return wanted == total - 256 * sum(byte > 127 for byte in others)  # old tools add up signed bytes


def _name(header: bytes) -> bytes:
    name, prefix = _cut(header[:100]), _cut(header[345:500])
    return prefix + b"/" + name if prefix and header[257:263] == b"ustar\0" else name


def _cut(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")
