"""Content digests."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Annotated, Any

from .json import quoted

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema

_DIGEST = re.compile(r"(sha256):([0-9a-f]{64})|(sha512):([0-9a-f]{128})")


class Digest(str):
    """A content digest: ``sha256:`` or ``sha512:`` with its lower-case hexadecimal digits.

    Only :meth:`parse` and :meth:`of` make one, so a ``Digest`` is always safe in a path or a URL. As the type of a field
    of a pydantic model it is parsed.
    """

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Check ``text``; raises ValueError if it is not a digest of a known algorithm."""
        if not _DIGEST.fullmatch(text):
            raise ValueError(
                f"{quoted(text)} is not a digest (sha256: and 64, or sha512: and 128 lower-case hexadecimal digits)"
            )
        return cls(text)

    @classmethod
    def of(cls, content: bytes, algorithm: str = "sha256") -> Digest:
        """The digest of ``content``."""
        return cls(f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}")

    @property
    def algorithm(self) -> str:
        """``sha256`` or ``sha512``."""
        return self.partition(":")[0]

    @property
    def encoded(self) -> str:
        """The hexadecimal digits."""
        return self.partition(":")[2]

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        from pydantic import AfterValidator, Strict  # here, because references need digests, but no pydantic

        return handler(Annotated[str, Strict(), AfterValidator(cls.parse)])
