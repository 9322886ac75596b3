"""Options: what each of them accepts, and that a wrong value is refused before anything is read or sent."""

from __future__ import annotations

import inspect
import pydoc
import re
from functools import partial
from typing import TYPE_CHECKING, Any

import httpx
import pytest

import ocipush
from ocipush import errors, sync
from ocipush._push import options
from ocipush.testing import Registry

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ocipush import Event

pytestmark = pytest.mark.anyio
NAN = float("nan")


async def on_event_async(event: Event) -> None: ...


class AsyncCallable:
    async def __call__(self, event: Event) -> None: ...

    async def method(self, event: Event) -> None: ...


async def on_event_generator(event: Event) -> Any:
    yield event


class SyncTransport(httpx.BaseTransport): ...


PUSHER = [
    ({"store": 1}, TypeError, r"store must be str or PathLike, not int"),
    ({"store": None}, TypeError, r"store must be str or PathLike, not None"),
    ({"authfile": 1}, TypeError, r"authfile must be str or PathLike or Sequence or None, not int"),
    ({"authfile": ["docker", 1]}, TypeError, r"authfile must hold str or PathLike, not int"),
    ({"authfile": b"auth.json"}, TypeError, r"authfile must hold str or PathLike, not int"),
    ({"credentials": [("r.example", "x")]}, TypeError, r"credentials must be Mapping or Callable or None, not list"),
    (
        {"credentials": {"r.example": ("user", "secret")}},
        TypeError,
        r"^credentials\['r.example'\] must be Login, not tuple$",
    ),
    ({"credentials": {"a b": ocipush.Login("u", "p")}}, ValueError, r"'a b' is not a valid registry"),
    ({"tls_verify": "false"}, TypeError, r"tls_verify must be bool, not str"),
    ({"tls_verify": None}, TypeError, r"tls_verify must be bool, not None"),
    ({"ca_file": 1}, TypeError, r"ca_file must be str or PathLike or None, not int"),
    ({"ssl_context": True}, TypeError, r"ssl_context must be SSLContext or None, not bool"),
    ({"timeouts": 5}, TypeError, r"timeouts must be Timeouts or None, not int"),
    ({"retry": 3}, TypeError, r"retry must be RetryPolicy or None, not int"),
    ({"concurrency": 0}, ValueError, r"concurrency must be at least 1, not 0"),
    ({"concurrency": True}, TypeError, r"concurrency must be int, not bool"),
    ({"concurrency": NAN}, TypeError, r"concurrency must be int, not float"),
    ({"large_concurrency": -1}, ValueError, r"large_concurrency must be at least 1, not -1"),
    ({"allow_hosts": 5}, TypeError, r"allow_hosts must be Collection, not int"),
    ({"allow_hosts": [5]}, TypeError, r"allow_hosts must hold str, not int"),
    ({"allow_hosts": ["http://foo"]}, ValueError, r"allow_hosts must hold host or host:port, not 'http://foo'"),
    ({"allow_hosts": ["foo", "foo/bar"]}, ValueError, r"not 'foo/bar'"),
    ({"allow_hosts": ["foo:0"]}, ValueError, r"not 'foo:0'"),
    ({"allow_hosts": ["foo:65536"]}, ValueError, r"not 'foo:65536'"),
    ({"allow_hosts": [""]}, ValueError, r"not ''"),
    ({"allow_hosts": "user@foo"}, ValueError, r"not 'user@foo'"),
    ({"chunk_size": 0}, ValueError, r"chunk_size must be at least 1, not 0"),
    ({"chunk_size": -5}, ValueError, r"chunk_size must be at least 1, not -5"),
    ({"chunk_size": 1.5}, TypeError, r"chunk_size must be int or None, not float"),
    ({"resume_dir": 1}, TypeError, r"resume_dir must be str or PathLike or None, not int"),
    ({"transport": SyncTransport()}, TypeError, r"async httpx transport, with handle_async_request, not SyncTransport"),
    ({"transport": httpx.AsyncHTTPTransport}, TypeError, r"not AsyncHTTPTransport"),
    ({"user_agent": 1}, TypeError, r"user_agent must be str or None, not int"),
    ({"user_agent": "mine\r\nHost: other"}, ValueError, r"user_agent must be printable ASCII"),
]
PUSH = [
    ({"target": 1}, TypeError, r"target must be str or Reference or None, not int"),
    ({"target": "docker://a"}, errors.InvalidReferenceError, r"a reference must not have a scheme"),
    ({"target": ocipush.Reference("r.example", "A b", "1")}, errors.InvalidReferenceError, r"repository 'A b'"),
    ({"ref": 1}, TypeError, r"ref must be str or None, not int"),
    ({"on_event": "print"}, TypeError, r"on_event must be OnEvent or None, not str"),
    ({"verify": 1}, TypeError, r"verify must be bool, not int"),
    ({"include_foreign": None}, TypeError, r"include_foreign must be bool, not None"),
    ({"mount_from": "BAD REPO"}, ValueError, r"mount_from must be a repository such as team/base, not 'BAD REPO'"),
    ({"mount_from": "team/app:1"}, ValueError, r"not 'team/app:1'"),
    ({"mount_from": ""}, ValueError, r"not ''"),
    ({"force": "yes"}, TypeError, r"force must be bool, not str"),
    *(
        ({"on_event": callback}, TypeError, r"on_event must be a plain function, not an async one")
        for callback in (
            on_event_async,
            partial(on_event_async),
            partial(partial(AsyncCallable())),
            AsyncCallable(),
            AsyncCallable().method,
            on_event_generator,
        )
    ),
]


def _in(store: Path, option: dict[str, Any]) -> dict[str, Any]:
    return {"store": store, **option}


def named(value: object) -> str:
    """A test's name for an option; without addresses, which differ between workers."""
    return re.sub(r" at 0x[0-9a-f]+", "", str(value))[:80] if not isinstance(value, type) else value.__name__


@pytest.mark.parametrize(("option", "error", "words"), PUSHER, ids=named)
def test_wrong_option_of_a_pusher_is_refused_immediately(
    option: dict[str, Any], error: type[Exception], words: str
) -> None:
    for make in (ocipush.Pusher, sync.Pusher):
        with pytest.raises(error, match=words):
            make(**option)


@pytest.mark.parametrize(("option", "error", "words"), [*PUSHER, *PUSH], ids=named)
async def test_wrong_option_of_a_push_is_refused_before_anything_is_read(
    tmp_path: Path, option: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        await ocipush.push("nothing", **_in(tmp_path, option))


@pytest.mark.parametrize(("option", "error", "words"), PUSH, ids=named)
async def test_wrong_option_of_a_pushers_push_is_refused_before_anything_is_read(
    tmp_path: Path, option: dict[str, Any], error: type[Exception], words: str
) -> None:
    async with ocipush.Pusher(store=tmp_path) as pusher:
        with pytest.raises(error, match=words):
            await pusher.push("nothing", **option)


def test_value_given_instead_of_a_login_is_not_shown() -> None:
    with pytest.raises(TypeError) as caught:
        ocipush.Pusher(credentials={"r.example": ("user", "secret")})  # type: ignore[dict-item]
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("option", [{"concurrency": 1, "large_concurrency": 1}, {"chunk_size": 1}, {"user_agent": ""}])
def test_smallest_value_of_a_range_is_accepted(option: dict[str, Any]) -> None:
    ocipush.Pusher(**option)


@pytest.mark.parametrize("hosts", ["foo", ["foo", "foo.bar:5000"], ("[::1]:5000", "::1", "[::1]"), {"10.0.0.1"}, []])
def test_allowed_hosts_may_be_names_or_addresses_with_or_without_a_port(hosts: Any) -> None:
    ocipush.Pusher(allow_hosts=hosts)


def test_callback_may_be_any_plain_callable() -> None:
    class Sync:
        def __call__(self, event: Event) -> None: ...

    events: list[Event] = []
    for callback in (print, events.append, partial(print, end=""), Sync(), str, AsyncCallable):
        given = options.complete(options.PushOptions, {"on_event": callback}, "push")
        assert given.get("on_event") is callback


@pytest.mark.parametrize("name", ["connect", "stall", "answer", "commit"])
@pytest.mark.parametrize(
    ("value", "error", "words"),
    [
        (-1, ValueError, "must be more than 0 seconds, or None for no limit, not -1"),
        (0, ValueError, "must be more than 0 seconds"),
        (NAN, ValueError, "must be more than 0 seconds"),
        ("5", TypeError, "must be a number or None, not str"),
        (True, TypeError, "must be a number or None, not bool"),
    ],
)
def test_wrong_timeout_is_refused(name: str, value: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=f"{name} {words}"):
        ocipush.Timeouts(**{name: value})


def test_timeout_may_be_any_number_of_seconds_or_none() -> None:
    timeouts = ocipush.Timeouts(connect=1, stall=0.5, answer=None, commit=float("inf"))
    assert (timeouts.connect, timeouts.stall, timeouts.answer) == (1, 0.5, None)


@pytest.mark.parametrize(
    ("name", "value", "error", "words"),
    [
        ("attempts", 0, ValueError, "at least 1, not 0"),
        ("attempts", 1.5, TypeError, "an integer, not float"),
        ("attempts", True, TypeError, "an integer, not bool"),
        ("base", -1, ValueError, "at least 0 seconds, and finite, not -1"),
        ("base", NAN, ValueError, "at least 0 seconds, and finite, not nan"),
        ("base", float("inf"), ValueError, "at least 0 seconds, and finite, not inf"),
        ("base", None, TypeError, "a number, not NoneType"),
        ("cap", -1, ValueError, "at least 0 seconds, not -1"),
        ("cap", NAN, ValueError, "at least 0 seconds, not nan"),
        ("jitter", 2, ValueError, "from 0 to 1, not 2"),
        ("jitter", NAN, ValueError, "from 0 to 1, not nan"),
        ("deadline", 0, ValueError, "more than 0 seconds, or None for no limit, not 0"),
        ("deadline", NAN, ValueError, "more than 0 seconds"),
        ("deadline", "1", TypeError, "a number, not str"),
    ],
)
def test_wrong_retry_policy_is_refused(name: str, value: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=f"{name} must be {words}"):
        ocipush.RetryPolicy(**{name: value})


async def test_unknown_option_is_a_type_error_that_names_it(tmp_path: Path) -> None:
    unexpected = "got an unexpected keyword argument 'tag'"
    with pytest.raises(TypeError, match=rf"^push\(\) {unexpected}$"):
        await ocipush.push(tmp_path, tag="1")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=rf"^Pusher.__init__\(\) {unexpected}$"):
        ocipush.Pusher(tag="1")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=rf"^Pusher.__init__\(\) {unexpected}$"):
        sync.Pusher(tag="1")  # type: ignore[call-arg]
    async with ocipush.Pusher() as pusher:
        with pytest.raises(TypeError, match=rf"^push\(\) {unexpected}$"):
            await pusher.push(tmp_path, tag="1")  # type: ignore[call-arg]
        with pytest.raises(TypeError, match=r"^push\(\) got an unexpected keyword argument 'store'$"):
            await pusher.push(tmp_path, store="elsewhere")  # type: ignore[call-arg]


async def test_target_may_be_a_reference(image: Path, authfile: Path) -> None:
    warnings: list[str] = []
    async with Registry() as registry:
        target = ocipush.Reference.parse(f"{registry.host}/team/app:1")
        result = await ocipush.push(image, target=target, authfile=authfile)
        assert registry.repository("team/app").tags == {"1": result.digest}

        def on_event(event: Event) -> None:
            if isinstance(event, ocipush.PushWarning):
                warnings.append(event.text)

        target = ocipush.Reference.parse(f"{registry.host}/other:1@{result.digest}")
        await ocipush.push(image, target=target, authfile=authfile, on_event=on_event)
        assert registry.repository("other").tags == {}
    assert any("the tag '1' will not be set" in text for text in warnings)


FUNCTIONS = [
    pytest.param(ocipush.push, options.AllOptions, id="push"),
    pytest.param(ocipush.Pusher, options.PusherOptions, id="Pusher"),
    pytest.param(ocipush.Pusher.push, options.PushOptions, id="Pusher.push"),
]


@pytest.mark.parametrize(("function", "kind"), FUNCTIONS)
def test_signature_shows_each_option_with_its_default(function: Callable[..., object], kind: Any) -> None:
    shown = inspect.signature(function).parameters
    defaults = options.complete(kind, kind(), "push")
    assert {name: one.default for name, one in shown.items() if one.kind is one.KEYWORD_ONLY} == defaults
    assert defaults.keys() == kind.__annotations__.keys()
    assert shown.keys() - defaults.keys() <= {"self", "source"}


@pytest.mark.parametrize(("function", "kind"), FUNCTIONS)
def test_help_shows_each_option(function: Any, kind: Any) -> None:
    text = pydoc.plain(pydoc.render_doc(function))
    assert [name for name in kind.__annotations__ if f"{name}: " not in text] == []
    assert "concurrency: int = 64" in text or "concurrency" not in kind.__annotations__


@pytest.mark.parametrize("kind", [options.PushOptions, options.PusherOptions])
def test_each_option_is_described(kind: Any) -> None:
    described = re.findall(r"^ +(\w+): ", kind.__doc__, re.MULTILINE)
    assert set(kind.__annotations__) == set(described)
