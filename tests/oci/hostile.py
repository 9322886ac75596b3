"""Documents of 4 MiB from a hostile registry or layout, which would cost a careless reader much time or memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

SIZE = 4 * 1024 * 1024
MOST_VALUES = 199_000  # just below the limit, so that the code after the check has to cope with them
DESCRIPTOR = b'{"digest":"sha256:' + b"0" * 64 + b'","size":1'


def _fill(head: bytes, unit: bytes, tail: bytes, *, most: int = SIZE) -> bytes:
    """``head``, as many of ``unit`` as fit, separated by commas, and ``tail``."""
    count = min((SIZE - len(head) - len(tail)) // (len(unit) + 1), most)
    return head + ((unit + b",") * count)[:-1] + tail


def _number(head: bytes, unit: bytes, tail: bytes, *, most: int) -> bytes:
    """Like _fill, with a number in each unit."""
    return head + b",".join(unit % number for number in range(most)) + tail


# What the error says about each; empty if the document is accepted.
DOCUMENTS: dict[str, tuple[str, Callable[[], bytes]]] = {
    # over the limits
    "empty descriptors": ("200,000 values", lambda: _fill(b'{"schemaVersion":2,"manifests":[', b"{}", b"]}")),
    "empty lists": ("200,000 values", lambda: _fill(b'{"manifests":[', b"[]", b"]}")),
    "numbers": ("200,000 values", lambda: _fill(b'{"a":[', b"0", b"]}")),
    "strings": ("200,000 values", lambda: _fill(b'{"a":[', b'""', b"]}")),
    "objects": ("200,000 values", lambda: _fill(b'{"a":[', b'{"":0}', b"]}")),
    "duplicate keys": ("200,000 values", lambda: _fill(b"{", b'"a":0', b"}")),
    "deep lists": ("levels deep", lambda: b'{"a":' + b"[" * (SIZE - 5)),
    "deep objects": ("levels deep", lambda: b'{"a":' * (SIZE // 5)),
    "deep lists beside each other": ("200,000 values", lambda: _fill(b'{"a":[', b"[" * 60 + b"]" * 60, b"]}")),
    "short descriptors": ("20,000 items", lambda: _fill(b'{"manifests":[', DESCRIPTOR + b"}", b"]}")),
    "one integer": ("600 digits", lambda: b'{"a":' + b"9" * (SIZE - 6) + b"}"),
    "long integers": ("600 digits", lambda: _fill(b'{"a":[', b"9" * 4300, b"]}")),
    # just below them
    "floats": ("", lambda: _fill(b'{"a":[', b"1.234567890e-300", b"]}", most=MOST_VALUES)),
    "integers": ("", lambda: _fill(b'{"a":[', b"9" * 19, b"]}", most=MOST_VALUES)),
    "keys": ("", lambda: _number(b"{", b'"%x":0', b"}", most=MOST_VALUES)),
    "objects of one key": ("", lambda: _fill(b'{"a":[', b'{"":0}', b"]}", most=MOST_VALUES // 2)),
    "deep objects beside each other": ("", lambda: _fill(b'{"a":[', b'{"":' * 60 + b"0" + b"}" * 60, b"]}", most=3_200)),
    "duplicate key at the end": ("duplicate key", lambda: _number(b"{", b'"%x":0', b',"0":0}', most=MOST_VALUES)),
    "bad descriptors": ("Field required", lambda: _fill(b'{"manifests":[', b'{"a":0}', b"]}", most=MOST_VALUES // 2)),
    "bad URLs": ("urls.0: ", lambda: _fill(b'{"manifests":[' + DESCRIPTOR + b',"urls":[', b"0", b"]}]}", most=MOST_VALUES)),
    "bad features": ("os.features.0: ", lambda: _fill(
        b'{"manifests":[' + DESCRIPTOR + b',"platform":{"os.features":[', b"0", b"]}}]}", most=MOST_VALUES
    )),
    "bad annotations": ("the value of '0'", lambda: _number(b'{"manifests":[],"annotations":{', b'"%x":0', b"}}", most=MOST_VALUES)),
    "annotations that cannot be encoded": ("the value of '0'", lambda: _number(
        b'{"manifests":[],"annotations":{', b'"%x":"\\ud800"', b"}}", most=MOST_VALUES
    )),
    "annotations": ("", lambda: _number(b'{"manifests":[],"annotations":{', b'"%x":"y"', b"}}", most=MOST_VALUES)),
    "descriptors": ("", lambda: _fill(b'{"manifests":[', DESCRIPTOR + b"}", b"]}", most=20_000)),
    # long texts
    "one string": ("", lambda: b'{"a":"' + b"x" * (SIZE - 8) + b'"}'),
    "wide string": ("", lambda: b'{"a":"' + "\U0001f600".encode() + b"x" * (SIZE - 12) + b'"}'),
    "commas in a string": ("", lambda: b'{"a":"' + b",{[" * ((SIZE - 8) // 3) + b'"}'),
    "escapes": ("", lambda: b'{"a":"' + b"\\n" * ((SIZE - 8) // 2) + b'"}'),
    "long duplicate key": ("duplicate key", lambda: b'{"' + b"\x7f" * (SIZE // 2 - 9) + b'":0,"' + b"\x7f" * (SIZE // 2 - 9) + b'":0}'),
    "long digest": ("is not a digest", lambda: b'{"manifests":[{"size":1,"digest":"' + b"\\u0001" * 699_000 + b'"}]}'),
    "long annotation": ("is not a string", lambda: b'{"manifests":[],"annotations":{"' + b"\\u0001" * 699_000 + b'":1}}'),
    "long media type": ("", lambda: b'{"manifests":[],"mediaType":"' + b"\\u0001" * 699_000 + b'"}'),
    "quotes": ("is not JSON", lambda: b'"' * SIZE),
    "escaped quotes": ("is not JSON", lambda: b'{"a' + b'\\"' * (SIZE // 2 - 2)),
    "spaces": ("is not JSON", lambda: b" " * (SIZE - 1) + b"x"),
    "not UTF-8": ("is not UTF-8", lambda: b'{"a":"' + b"x" * (SIZE - 9) + b"\xff"),
}  # fmt: skip
