"""Parse, normalise and print ``registry/repository[:tag][@digest]``, and derive a store's directory names from it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from ..errors import InvalidReferenceError

DOCKER_HUB = "index.docker.io"
DEFAULT_TAG = "latest"
_SHOWN = 300  # characters of a name that an error shows
_MAX_REPOSITORY = 255  # before "library/" is added, as go-containerregistry counts
# Grammar of <name> and <reference>: distribution-spec, "Pulling manifests".
_REPOSITORY = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_LOGIN = re.compile(r"^((?:[A-Za-z][A-Za-z0-9+.-]*://)?).*@(?=[^/@]+/)")  # as in a URL
# Labels may contain "_": not a legal host name, but resolvers and registries accept it.
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?"
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_IPV6 = re.compile(r"\[([0-9A-Fa-f:.]+)\]")
_LOOPBACK = re.compile(r"localhost|(?:.+\.)?localhost|127\.[0-9.]+|\[::1\]")
# White space as Go's unicode.IsSpace sees it: str.strip() would also take U+001C to U+001F.
_WHITE_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]")


@dataclass(frozen=True, slots=True)
class Reference:
    """A place in a registry: a repository, and a tag or a digest in it.

    Make one with :meth:`parse`. ``str(reference)`` is :attr:`name`.

    Attributes:
        registry: host, with the port where one was given; ``index.docker.io`` for Docker Hub. Case is kept.
        repository: path in the registry; ``library/`` is added for Docker Hub's official images.
        tag: the tag, or None if there is a digest.
        digest: ``sha256:…``, or None.
        dropped_tag: the tag of ``name:tag@digest``. It is not set, because the digest decides.
    """

    registry: str
    repository: str
    tag: str | None
    digest: str | None = None
    dropped_tag: str | None = None

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Parse a reference like go-containerregistry's ``name.ParseReference``, but refuse what no registry accepts.

        The default registry is Docker Hub, and the default tag is ``latest`` (docs/matching.md, "References").

        Raises:
            InvalidReferenceError: it says which part is wrong.
        """
        if not text:
            raise _invalid(text, "it is empty")
        if scheme := _SCHEME.match(text):
            raise _invalid(text, "a reference must not have a scheme", hint=f"drop {scheme[0]!r}")
        if _LOGIN.match(text):
            raise _invalid(
                text, "a reference must not contain a login", "save it with `ocipush image login`, or pass credentials="
            )
        head, at, digest = text.partition("@")
        if at and not _DIGEST.fullmatch(digest):
            raise _invalid(text, "the digest is not sha256: and 64 lower-case hexadecimal digits")
        base, tag = _split_tag(head)
        if tag is not None and not _TAG.fullmatch(tag):
            raise _invalid(
                text, f"tag {shown(tag)} is not 1 to 128 of A-Z a-z 0-9 _ . - beginning with a letter, digit or _"
            )
        registry, repository = _split_registry(text, base)
        if at:
            return cls(registry, repository, None, digest, tag)
        return cls(registry, repository, DEFAULT_TAG if tag is None else tag)

    @property
    def identifier(self) -> str:
        """The digest, or else the tag."""
        return self.digest or self.tag or DEFAULT_TAG

    @property
    def kind(self) -> Literal["tag", "digest"]:
        """Which of the two :attr:`identifier` is."""
        return "digest" if self.digest else "tag"

    @property
    def name(self) -> str:
        """The whole reference, normalised."""
        return f"{self.registry}/{self.repository}{'@' if self.digest else ':'}{self.identifier}"

    @property
    def is_loopback(self) -> bool:
        """Whether the registry's name means this machine, so that plain HTTP may be tried (docs/requests.md, "Plain HTTP")."""
        return is_loopback(self.registry)

    def __str__(self) -> str:
        return self.name


def is_loopback(registry: str) -> bool:
    """Whether a registry's name means this machine."""
    return _LOOPBACK.fullmatch(split_port(registry)[0]) is not None


def split_port(registry: str) -> tuple[str, int | None]:
    """Split ``host[:port]``; an IPv6 address keeps its brackets."""
    host, colon, port = registry.rpartition(":")
    if colon and port.isascii() and port.isdigit() and (host.startswith("[") == host.endswith("]")):
        return host, int(port)
    return registry, None


def sanitize_image_name(text: str) -> str:
    """Turn a reference into the name of its directory in a store (docs/matching.md, "Sanitize").

    The tag and the digest are dropped, and characters other than ``A-Za-z0-9_.-`` become ``_``. The result may be empty.
    """
    text = text.strip(_WHITE_SPACE)
    if (at := text.find("@")) > 0:
        text = text[:at]
    if (colon := text.rfind(":")) > text.rfind("/"):
        text = text[:colon]
    text = re.sub(r"[/:@ ]", "_", text).strip("._-")
    return _UNSAFE.sub("_", text).strip("._-")


def parse_registry(text: str) -> str:
    """Check the name of a registry, and return it as :attr:`Reference.registry` has it.

    Raises:
        InvalidReferenceError: it has a scheme or a path, or is a bare word, which a reference would read as a repository.
    """
    if scheme := _SCHEME.match(text):
        raise _invalid(text, "a registry must not have a scheme", f"drop {scheme[0]!r}", "registry")
    if "/" in text or not (text == "localhost" or "." in text or ":" in text):
        raise _invalid(text, "it is not host or host:port", "write it like registry.example or host:5000", "registry")
    _check_registry(text, text)
    return DOCKER_HUB if text == "docker.io" else text


def strip_white_space(text: str) -> str:
    """Trim IMAGE and TARGET as Go's ``strings.TrimSpace`` does."""
    return text.strip(_WHITE_SPACE)


def shown(text: str) -> str:
    """A name as an error shows it: quoted, escaped and shortened."""
    return repr(text) if len(text) <= _SHOWN else f"{text[:_SHOWN]!r}…"


def _split_tag(head: str) -> tuple[str, str | None]:
    base, colon, tag = head.rpartition(":")
    if colon and "/" not in tag:
        return base, tag
    return head, None


def _split_registry(text: str, base: str) -> tuple[str, str]:
    first, slash, rest = base.partition("/")
    named = bool(slash) and (first == "localhost" or "." in first or ":" in first)
    registry, repository = (first, rest) if named else (DOCKER_HUB, base)
    if named:
        _check_registry(text, registry)
    if not repository:
        raise _invalid(text, "the repository is missing")
    if len(repository) > _MAX_REPOSITORY:
        raise _invalid(text, f"the repository is longer than {_MAX_REPOSITORY} characters")
    if not _REPOSITORY.fullmatch(repository):
        hint = f"did you mean {repository.lower()!r}?" if _REPOSITORY.fullmatch(repository.lower()) else None
        raise _invalid(
            text,
            f"repository {repository!r} is not lower-case letters and digits, separated by single / . _ or -",
            hint,
        )
    if registry == "docker.io":
        registry = DOCKER_HUB
    if registry == DOCKER_HUB and "/" not in repository:
        repository = f"library/{repository}"
    return registry, repository


def _check_registry(text: str, registry: str) -> None:
    host, port = split_port(registry)
    if port is not None and not 0 < port < 65536:
        raise _invalid(text, f"port {port} is not between 1 and 65535")
    if address := _IPV6.fullmatch(host):
        import ipaddress  # only here: it costs 4 ms to import

        try:
            ipaddress.IPv6Address(address[1])
        except ValueError:
            raise _invalid(text, f"{host} is not an IPv6 address") from None
    elif not _HOST.fullmatch(host):
        raise _invalid(text, f"registry {shown(registry)} is not host or host:port")


def _invalid(text: str, reason: str, hint: str | None = None, what: str = "reference") -> InvalidReferenceError:
    hint = hint or "write it like registry.example/team/app:1.0"
    named = shown(_LOGIN.sub(r"\1***@", text))
    return InvalidReferenceError(f"{named} is not a valid {what}: {reason}", hint=hint)
