"""The public API as a type checker sees it. mypy and pyright read this file; nothing runs it.

What must be refused has a ``type: ignore``: both report each one that ignores nothing.
"""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Unpack, assert_never, assert_type

import ocipush
from ocipush import errors, sync
from ocipush.testing import BasicAuth, BearerAuth, RecordedRequest, Registry

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping


def on_event(event: ocipush.Event) -> None:
    """Every event is one of these, and a checker knows it."""
    match event:
        case ocipush.PushStarted():
            assert_type((event.push_id, event.source, event.reference, event.digest), tuple[str, str, str, str])
            assert_type((event.blobs, event.size), tuple[int, int])
        case ocipush.BlobStarted():
            assert_type((event.digest, event.size, event.media_type), tuple[str, int, str])
        case ocipush.BlobProgress():
            assert_type((event.digest, event.offset, event.size), tuple[str, int, int])
        case ocipush.BlobDone():
            if event.outcome == "pushed":  # type: ignore[comparison-overlap]
                pass
        case ocipush.ManifestDone():
            assert_type((event.reference, event.digest, event.size), tuple[str, str, int])
        case ocipush.RetryScheduled():
            assert_type((event.what, event.reason, event.attempt, event.delay), tuple[str, str, int, float])
        case ocipush.PushWarning() | ocipush.RegistryWarning():
            assert_type(event.text, str)
        case ocipush.PushDone():
            assert_type(event.result, ocipush.PushResult)
        case _:
            assert_never(event)


def result(value: ocipush.PushResult) -> None:
    assert_type((value.reference, value.digest, value.media_type, value.name_with_digest), tuple[str, str, str, str])
    assert_type((value.size, value.requests, value.sent), tuple[int, int, int])
    assert_type((value.unchanged, value.seconds), tuple[bool, float])
    assert_type(value.blobs, tuple[ocipush.BlobResult, ...])
    assert_type((value.blobs[0].digest, value.blobs[0].size), tuple[str, int])
    value.digest = ""  # type: ignore[misc]


async def asynchronous(context: ssl.SSLContext, logins: Mapping[str, ocipush.Login]) -> None:
    assert_type(await ocipush.push("app"), ocipush.PushResult)
    assert_type(await ocipush.push(Path("layout"), target="r.example/a:1", tls_verify=False), ocipush.PushResult)
    await ocipush.push(1)  # type: ignore[arg-type]
    await ocipush.push("app", "r.example/a:1")  # type: ignore[call-arg]
    await ocipush.push(source="app")
    await ocipush.push("app", tag="1")  # type: ignore[call-arg]
    events: list[ocipush.Event] = []
    async with ocipush.Pusher(
        store=Path("store"),
        authfile="auth.json",
        credentials=logins,
        tls_verify=True,
        ca_file="ca.pem",
        ssl_context=context,
        timeouts=ocipush.Timeouts(connect=1, stall=2.5, answer=None, commit=None),
        retry=ocipush.RetryPolicy(attempts=3, base=0.1, cap=5),
        concurrency=8,
        large_concurrency=2,
        allow_hosts=["storage.example:5000"],
        chunk_size=16 * 1024 * 1024,
        resume_dir=Path("uploads"),
        transport=object(),
        user_agent="mine/1",
    ) as pusher:
        assert_type(pusher, ocipush.Pusher)
        done = await pusher.push("app", target="r.example/a:1", ref="1", on_event=on_event, verify=True)
        assert_type(done, ocipush.PushResult)
        await pusher.push("app", on_event=events.append, include_foreign=True, tls_verify=None)
        await pusher.push(source="app", target=ocipush.Reference.parse("alpine"), mount_from="team/base", force=True)
        await pusher.push("app", on_event=lambda event: event.push_id)
        await pusher.push("app", store="elsewhere")  # type: ignore[call-arg]
        await pusher.check_login("r.example", ocipush.Login("user", "password"))
        await pusher.push("app", tls_verify="false")  # type: ignore[arg-type]
    ocipush.Pusher(timeout=1)  # type: ignore[call-arg]
    ocipush.Pusher("store")  # type: ignore[call-arg]


async def logins(registry: str) -> ocipush.Login | None:
    """Logins can come from several files, and from a function, sync or async."""
    ocipush.Pusher(authfile=["docker", "podman", Path("auth.json")], credentials=logins)
    ocipush.Pusher(credentials=lambda registry: ocipush.Login("user", registry))
    ocipush.Pusher(credentials={registry: ocipush.Login(registry_token="token")})
    return None


async def wrong_types(pusher: ocipush.Pusher) -> None:
    """Each option refuses what is not of its type, wherever it is given."""
    ocipush.Pusher(store=1)  # type: ignore[arg-type]
    ocipush.Pusher(authfile=b"auth.json")  # type: ignore[arg-type]
    ocipush.Pusher(credentials={"r.example": ("user", "password")})  # type: ignore[dict-item]
    ocipush.Pusher(tls_verify=None)  # type: ignore[arg-type]
    ocipush.Pusher(ca_file=1)  # type: ignore[arg-type]
    ocipush.Pusher(ssl_context=True)  # type: ignore[arg-type]
    ocipush.Pusher(timeouts=5)  # type: ignore[arg-type]
    ocipush.Pusher(retry=3)  # type: ignore[arg-type]
    ocipush.Pusher(concurrency="8")  # type: ignore[arg-type]
    ocipush.Pusher(large_concurrency=None)  # type: ignore[arg-type]
    ocipush.Pusher(allow_hosts=5)  # type: ignore[arg-type]
    ocipush.Pusher(chunk_size="16MiB")  # type: ignore[arg-type]
    ocipush.Pusher(resume_dir=1)  # type: ignore[arg-type]
    ocipush.Pusher(user_agent=b"mine")  # type: ignore[arg-type]
    ocipush.Pusher(authfile=["docker", 1])  # type: ignore[list-item]
    ocipush.Pusher(credentials=len)  # type: ignore[arg-type]
    await pusher.push("app", target=1)  # type: ignore[arg-type]
    await pusher.push("app", ref=1)  # type: ignore[arg-type]
    await pusher.push("app", on_event="print")  # type: ignore[arg-type]
    await pusher.push("app", on_event=lambda: None)  # type: ignore[arg-type]
    await pusher.push("app", verify="yes")  # type: ignore[arg-type]
    await pusher.push("app", include_foreign=None)  # type: ignore[arg-type]
    await pusher.push("app", mount_from=["team/base"])  # type: ignore[arg-type]
    await pusher.push("app", force="yes")  # type: ignore[arg-type]
    await ocipush.push("app", force="yes")  # type: ignore[arg-type]
    await ocipush.push("app", concurrency="8")  # type: ignore[arg-type]
    sync.push("app", force="yes")  # type: ignore[arg-type]
    sync.push("app", concurrency="8")  # type: ignore[arg-type]
    sync.Pusher(concurrency="8")  # type: ignore[arg-type]
    sync.Pusher().push("app", force="yes")  # type: ignore[arg-type]


async def deploy(image: str, **options: Unpack[ocipush.AllOptions]) -> ocipush.PushResult:
    """A function of the user's own can take the options and pass them on, also in parts."""
    assert_type(options.get("concurrency", 64), int)
    deploy_with: ocipush.PusherOptions = {"store": "store", "tls_verify": False}
    once: ocipush.PushOptions = {"target": "r.example/a:1", "on_event": on_event}
    async with ocipush.Pusher(**deploy_with) as pusher:
        await pusher.push(image, **once)
    callback: ocipush.OnEvent = on_event
    once["on_event"] = callback
    deploy_with["tag"] = "1"  # type: ignore[typeddict-unknown-key]
    return await ocipush.push(image, **options)


def blocking() -> None:
    assert_type(sync.push("app", target="r.example/a:1", store="store"), ocipush.PushResult)
    sync.push(1)  # type: ignore[arg-type]
    sync.push(source="app")
    sync.push("app", "r.example/a:1")  # type: ignore[call-arg]
    sync.push("app", tag="1")  # type: ignore[call-arg]
    with sync.Pusher(store="store", authfile=Path("auth.json"), concurrency=8) as pusher:
        assert_type(pusher, sync.Pusher)
        assert_type(pusher.push("app", on_event=on_event), ocipush.PushResult)
        pusher.push("app", store="elsewhere")  # type: ignore[call-arg]
        pusher.check_login("r.example")
    sync.Pusher(timeout=1)  # type: ignore[call-arg]


def names() -> None:
    reference = ocipush.Reference.parse("alpine")
    assert_type(
        (reference.name, reference.registry, reference.repository, reference.identifier), tuple[str, str, str, str]
    )
    assert_type(reference.tag, str | None)
    assert_type(reference.digest, str | None)
    assert_type(ocipush.sanitize_image_name("alpine"), str)
    assert_type(ocipush.list_images(), list[ocipush.StoreImage])
    (image,) = ocipush.list_images(Path("store"), sizes=True)
    assert_type((image.name, image.path, image.ref, image.size), tuple[str, Path, str | None, int | None])
    ocipush.save_login("r.example", ocipush.Login("user", "password"), authfile="auth.json")
    assert_type(ocipush.remove_login("r.example", authfile=Path("auth.json")), bool)


def failures(error: ocipush.OcipushError) -> None:
    assert_type(error.hint, str | None)
    assert_type(error.message, str)
    match error:
        case errors.ImageNotFoundError():
            assert_type(error.available, tuple[str, ...])
        case errors.AmbiguousImageError():
            assert_type(error.candidates, tuple[str, ...])
        case errors.LayoutError():
            assert_type(error.path, str)
        case errors.CredentialError():
            assert_type(error.source, str)
        case errors.TransportError():
            assert_type((error.method, error.url, error.attempts), tuple[str, str, int])
        case errors.RegistryError():
            assert_type((error.status, error.codes, error.detail), tuple[int, tuple[str, ...], str])
        case _:
            pass


async def registry(context: ssl.SSLContext) -> None:
    auth = BearerAuth({"user": "password"}, lifetime=60)
    async with Registry(auth=auth, ssl_context=context, storage="directory", strict=True) as one:
        assert_type((one.host, one.url), tuple[str, str])
        assert_type(one.requests, list[RecordedRequest])
        assert_type(one.repository("app").tags, dict[str, str])
    Registry(auth=BasicAuth({"user": "password"}), port=5000)
