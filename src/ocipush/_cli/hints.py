"""Hints in the command line's words: errors of the library name parameters, the command names its own options."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

# The option, or the command, that does what a parameter of the library does.
OPTIONS: Final = {
    "allow_hosts": "--allow-host",
    "authfile": "--authfile",
    "ca_file": "--ca-file",
    "cert": "--cert",
    "cert_dir": "--cert-dir",
    "chunk_size": "--chunk-size",
    "compress": "--compress",
    "concurrency": "--concurrency",
    "credentials": "`ocipush image login`",
    "deadline": "--deadline",
    "follow_links": "--follow-links",
    "force": "--force",
    "include_foreign": "--allow-nondistributable",
    "key": "--key",
    "mount_from": "--mount-from",
    "no_proxy": "--no-proxy",
    "proxy": "--proxy",
    "ref": "--ref",
    "resume_dir": "--resume-dir",
    "store": "--images-store-dir",
    "target": "--target",
    "tls_verify": "--tls-verify",
}
# What only Python code can set. A hint that names one of these is not shown.
LIBRARY_ONLY: Final = frozenset(
    {
        "attempts",
        "base",
        "cap",
        "jitter",
        "large_concurrency",
        "on_event",
        "retry",
        "ssl_context",
        "timeouts",
        "transport",
        "user_agent",
        "verify",
    }
)
_FUNCTIONS: Final = {"list_images": "`ocipush image list`", "save_login": "`ocipush image login`"}

_NAMES: Final = "|".join(sorted(OPTIONS.keys() | LIBRARY_ONLY, key=len, reverse=True))
_VALUE: Final = r"""True|False|\.\.\.|"[^"]*"|'[^']*'|\[[^\]]*\]|\([^)]*\)|\{[^}]*\}|\w(?:[\w./:-]*\w)?|"""
_PARAMETER: Final = re.compile(
    rf"(?P<policy>(?:\bretry=)?\bRetryPolicy\()?(?<![\w?&/-])(?P<name>{_NAMES})=(?P<value>{_VALUE})(?(policy)\))"
)
_PARENTHESIS: Final = re.compile(r" \(([^()]*=(?:\([^()]*\)|[^()])*)\)")
_CALL: Final = re.compile(rf"`?(?:\bocipush\.)?\b({'|'.join(_FUNCTIONS)})\([^()]*\)`?")
_CLAUSE: Final = re.compile(r".+?(?:; |\? |$)", re.DOTALL)
_QUOTED: Final = re.compile(rf"`({_NAMES})`")
_INVALID: Final = re.compile(rf"({_NAMES})(\[[^\]]*\])? (?=must )")


def rewrite_hint(hint: str | None, *, store: str | None = None) -> str | None:
    """A hint of the library with options in place of parameters; None if nothing is left that the command can do.

    Hints that name both, such as ``--ca-file (ca_file=)``, keep the option.

    Args:
        hint: the hint of an error.
        store: the store that was given on the command line, for hints that name another command.
    """
    if hint is None:
        return None
    text = _PARENTHESIS.sub(_rewrite_parenthesis, _QUOTED.sub(r"`\1=`", hint))
    text = _CALL.sub(lambda call: _FUNCTIONS[call[1]], text)
    clauses = [clause for clause in _CLAUSE.findall(text) if not _is_library_only(clause)]
    text = _PARAMETER.sub(_rewrite_parameter, "".join(clauses).rstrip("; "))
    if store is not None:
        text = text.replace("`ocipush image list`", f"`ocipush image list --images-store-dir {shlex.quote(store)}`")
    return text or None


def describe_invalid_option(error: Exception, given: Mapping[str, Any]) -> str | None:
    """What a ValueError or TypeError says of an option that the library refused; None for any other.

    An option that was set by a variable of the environment is called by the variable's name.
    """
    found = _INVALID.match(str(error))
    option = OPTIONS.get(found[1], "") if found is not None else ""
    if found is None or not option.startswith("--"):
        return None
    return f"{given.get('variables', {}).get(option, option)} {str(error)[found.end() :]}"


def _is_library_only(clause: str) -> bool:
    return any(found["name"] in LIBRARY_ONLY for found in _PARAMETER.finditer(clause))


def _rewrite_parenthesis(found: re.Match[str]) -> str:
    """Leave out of a parenthesis what only the library has, and what the text before it says already."""
    before = found.string[: found.start()]
    kept: list[str] = []
    for item in found[1].split(", "):
        parameter = _PARAMETER.fullmatch(item)
        if parameter is None:
            kept.append(item)
        elif parameter["name"] in OPTIONS and OPTIONS[parameter["name"]].strip("`") not in before:
            kept.append(_rewrite_parameter(parameter))
    if len(kept) == found[1].count(", ") + 1 and not _PARAMETER.search(found[1]):
        return found[0]
    return f" ({', '.join(kept)})" if kept else ""


def _rewrite_parameter(found: re.Match[str]) -> str:
    option, value = OPTIONS[found["name"]], found["value"]
    if found["name"] == "tls_verify" and value in {"True", "False"}:
        return f"{option}={value.lower()}"
    words = "" if value in {"", "True", "..."} else " ".join(re.findall(r"[^\s\"'\[\](){},]+", value))
    return f"{option} {words}" if words else option
