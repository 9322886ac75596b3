"""What a refusal comes from, and what the user is told to do about it: the table of situations, row by row."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import pytest

from ocipush import Login, errors
from ocipush._cli.hints import rewrite_hint
from ocipush._http.answer import Answer
from ocipush._http.request import Request
from ocipush._registry import answers
from ocipush._registry.answers import error_for
from ocipush._registry.authorizer import Authorizer
from ocipush._registry.hints import HINTS
from ocipush._registry.situations import SITUATIONS, Refusal, Situation, Standing, situation_of
from ocipush._registry.statuses import Kind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ocipush._http.request import Peer
    from ocipush.errors import AnsweredBy

LOGIN, IDENTITY = Login("user", "correct horse"), Login("<token>", "identity-0123456789")
BASIC, BEARER = 'Basic realm="r"', 'Bearer realm="https://auth.example/token",service="s"'
SENT_BASIC, SENT_BEARER = "Basic dXNlcjpjb3JyZWN0IGhvcnNl", "Bearer t"
DOCKER = "application/vnd.docker.distribution.manifest.v2+json"
OCI = "application/vnd.oci.image.manifest.v1+json"
METHODS: Final = {
    Kind.LOGIN: ("GET", "/v2/"),
    Kind.TOKEN: ("GET", "/token"),
    Kind.TAG: ("HEAD", "/v2/team/app/manifests/1"),
    Kind.MANIFEST: ("PUT", "/v2/team/app/manifests/1"),
    Kind.OPEN: ("POST", "/v2/team/app/blobs/uploads/"),
    Kind.CHUNK: ("PATCH", "/v2/team/app/blobs/uploads/1"),
    Kind.COMMIT: ("PUT", "/v2/team/app/blobs/uploads/1"),
}
PAGE = "<html><head><title>{}</title></head><body><center><h1>{}</h1></center><hr>nginx</body></html>"
ACCESS_DENIED = "requested access to the resource is denied"
AUTHENTICATION, AUTHORIZATION = errors.AuthenticationError, errors.AuthorizationError
REJECTED, UNEXPECTED, REGISTRY = errors.ManifestRejectedError, errors.UnexpectedResponseError, errors.RegistryError
LOST, MISSING = errors.UploadInvalidatedError, errors.RepositoryNotFoundError


def says(code: str, message: str = "", detail: object = None) -> bytes:
    """The body of a registry's error."""
    entry = {"code": code, "message": message} | ({} if detail is None else {"detail": detail})
    return json.dumps({"errors": [entry]}).encode()


@dataclass
class Case:
    """A refusal, and what is to come of it.

    Attributes:
        situation: the row of the table that it is.
        hint: words of the hint.
        page: the words of a web page that is the body.
        sent: the Authorization header of the request.
        before: how the login was treated earlier.
        has_token: a token service has granted a token before.
    """

    situation: str
    kind: Kind
    status: int
    body: bytes
    error: type[errors.RegistryError]
    hint: str | None
    by: AnsweredBy = "registry"
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    page: str | None = None
    login: Login | None = LOGIN
    sent: str = ""
    before: Standing | None = None
    has_token: bool = False
    media_type: str = OCI
    path: str | None = None
    peer: Peer | None = None

    def __str__(self) -> str:
        return f"{self.situation}: {self.kind.name} {self.status}"


def raised(case: Case) -> errors.RegistryError:
    """The error that a case becomes."""
    method, path = METHODS[case.kind]
    peer: Peer = case.peer or ("token service" if case.kind is Kind.TOKEN else "registry")
    host = {"registry": "r.example:5000", "token service": "auth.example", "storage": "s3.example"}[peer]
    headers = {"Authorization": case.sent} if case.sent else {}
    if case.kind is Kind.MANIFEST:
        headers["Content-Type"] = case.media_type
    content = bytes(1_000_000 if case.kind in {Kind.CHUNK, Kind.COMMIT} else 500 if case.kind is Kind.MANIFEST else 0)
    request = Request(method=method, url=f"https://{host}{case.path or path}", headers=headers, body=content, peer=peer)
    body, answered = case.body, dict(case.headers)
    if case.page is not None:
        body, answered["content-type"] = PAGE.format(case.page, case.page).encode(), "text/html; charset=utf-8"
    authorizer = Authorizer(case.login, registry="r.example:5000", tls_verify=True)
    authorizer.has_token = case.has_token or case.sent.startswith("Bearer")
    answer = Answer(request, case.status, answered, body)
    return error_for(answer, case.kind, authorizer, repository="team/app", before=case.before)


def challenge(value: str) -> dict[str, str]:
    return {"www-authenticate": value}


NGINX: dict[str, Any] = {"by": "web page"}
TOKEN: dict[str, Any] = {"by": "token service"}
NO_LOGIN = "no login was found for r.example:5000: save one with `ocipush image login r.example:5000`"
CHECK = "check the login (`ocipush image login r.example:5000`)"
LOG_IN = "log in again with `ocipush image login r.example:5000`"
METHODS_HINT = "it has to allow HEAD, GET, POST, PUT, PATCH and DELETE"
CASES: Final = [
    # whoever answers
    Case("redirect", Kind.OPEN, 307, b"", UNEXPECTED, "redirects to https://sso.example/login?…", headers={"location": "https://u:p@sso.example/login?next=/v2/"}),
    Case("rate limit", Kind.TAG, 429, says("TOOMANYREQUESTS", "slow down"), errors.RateLimitedError, "the registry limits requests: wait 30 s, or lower concurrency=", headers={"retry-after": "30"}),
    Case("rate limit", Kind.OPEN, 403, says("DENIED", "You have exceeded a secondary rate limit"), errors.RateLimitedError, "limits requests: wait, or lower concurrency="),
    Case("rate limit", Kind.TOKEN, 429, b"", errors.RateLimitedError, "the token service limits requests", **TOKEN),
    Case("rate limit", Kind.OPEN, 429, b"", errors.RateLimitedError, "the registry, or a proxy in front of it, limits requests", page="429 Too Many Requests", **NGINX),
    Case("large manifest", Kind.MANIFEST, 413, b"", errors.BlobTooLargeError, "client_max_body_size), and this manifest is larger", page="413 Request Entity Too Large", **NGINX),
    Case("large body", Kind.COMMIT, 413, b"", errors.BlobTooLargeError, "or send less than 1,000,000 bytes at once with chunk_size=", page="413 Request Entity Too Large", **NGINX),
    Case("large body", Kind.CHUNK, 416, says("RANGE_INVALID", "chunk size exceeds the maximum permissible limit of 4.00MiB"), errors.BlobTooLargeError, "chunk_size="),
    Case("large body, in words", Kind.COMMIT, 400, says("BLOB_UPLOAD_INVALID", "request body too large"), LOST, "chunk_size="),
    Case("large body, in words", Kind.COMMIT, 404, b"", UNEXPECTED, "chunk_size=", page="404 - a request that exceeds the request content length", **NGINX),
    Case("client certificate", Kind.TAG, 400, b"", UNEXPECTED, "requires a client certificate: pass one with cert= and key=", page="400 No required SSL certificate was sent", **NGINX),
    Case("proxy login", Kind.TAG, 407, b"", UNEXPECTED, "the proxy requires a login"),
    Case("disk full", Kind.CHUNK, 500, says("UNKNOWN", "unknown error", "write /var/lib/registry/data: file too large"), REGISTRY, "the registry has no space left"),
    Case("disk full", Kind.COMMIT, 500, says("UNKNOWN", "unknown error", {"Op": "write", "Err": "no space left on device"}), REGISTRY, "has no space left"),
    Case("disk full", Kind.COMMIT, 507, b"<Error><Code>XMinioStorageFull</Code></Error>", REGISTRY, "the storage has no space left", by="storage", peer="storage"),
    Case("disk full, by status", Kind.COMMIT, 507, b"", REGISTRY, "has no space left"),
    Case("storage failed", Kind.COMMIT, 500, b"<Error><Code>InternalError</Code></Error>", REGISTRY, "sends uploads to this storage, and it failed", by="storage", peer="storage"),
    Case("storage refused", Kind.COMMIT, 403, b"<Error><Code>SignatureDoesNotMatch</Code></Error>", REGISTRY, "check the registry's storage settings", by="storage", peer="storage"),
    # the token service
    Case("token service failed", Kind.TOKEN, 500, b"", REGISTRY, "this token service, and it failed: try again later", **TOKEN),
    Case("token service failed", Kind.TOKEN, 503, b"", UNEXPECTED, "this token service, and it failed", page="503 Service Unavailable", **NGINX),
    Case("token service gone", Kind.TOKEN, 404, b"404 page not found", UNEXPECTED, "it does not exist: check the realm", **TOKEN),
    Case("token service, page", Kind.TOKEN, 403, b"", UNEXPECTED, "a web page answered instead of the token service", page="403 Forbidden", **NGINX),
    Case("token service, no login", Kind.TOKEN, 401, says("UNAUTHORIZED"), AUTHENTICATION, NO_LOGIN, login=None, **TOKEN),
    Case("token service, worked", Kind.TOKEN, 401, says("UNAUTHORIZED"), AUTHENTICATION, f"the login worked until now: it may have expired; {LOG_IN}", has_token=True, **TOKEN),
    Case("token service, identity token", Kind.TOKEN, 400, b'{"error":"invalid_grant"}', AUTHENTICATION, f"does not accept the identity token: it may have expired; {LOG_IN}", login=IDENTITY, **TOKEN),
    Case("token service, login refused", Kind.TOKEN, 401, says("UNAUTHORIZED", "incorrect username or password"), AUTHENTICATION, f"the token service does not accept the user name or the password: {CHECK}", **TOKEN),
    Case("token service, login refused", Kind.TOKEN, 401, b"", AUTHENTICATION, CHECK, page="401 Authorization Required", headers=challenge(BASIC), **NGINX),
    Case("token service, bad login", Kind.TOKEN, 400, b'{"error":"invalid_grant","error_description":"x"}', AUTHENTICATION, CHECK, **TOKEN),
    Case("token service, no permission", Kind.TOKEN, 403, says("DENIED", ACCESS_DENIED), AUTHORIZATION, "does not allow the login to push to team/app", **TOKEN),
    Case("token service, refused", Kind.TOKEN, 400, b'{"error":"invalid_scope"}', REGISTRY, "check the realm and the service in the registry's settings", **TOKEN),
    # 401
    Case("page that wants a login", Kind.TAG, 401, b"", AUTHENTICATION, "asks for a login of its own", page="Sign in", **NGINX),
    Case("no login", Kind.OPEN, 401, says("UNAUTHORIZED"), AUTHENTICATION, NO_LOGIN, login=None, headers=challenge(BASIC)),
    Case("no login", Kind.OPEN, 401, b"", AUTHENTICATION, NO_LOGIN, login=None, headers=challenge(BASIC), page="401 Authorization Required", **NGINX),
    Case("no login", Kind.OPEN, 401, says("UNAUTHORIZED"), AUTHENTICATION, NO_LOGIN, login=None, headers=challenge(f'{BEARER},error="insufficient_scope"'), sent=SENT_BEARER),
    Case("no challenge", Kind.OPEN, 401, says("UNAUTHORIZED"), AUTHENTICATION, "a proxy may have removed the WWW-Authenticate header"),
    Case("unknown challenge", Kind.OPEN, 401, b"", AUTHENTICATION, "a login by Negotiate, Ntlm; only Basic and Bearer are supported", headers=challenge("Negotiate, NTLM")),
    Case("unknown challenge", Kind.OPEN, 401, b"", AUTHENTICATION, "a login by Digest", login=None, headers=challenge('Digest realm="x"')),
    Case("identity token", Kind.OPEN, 401, b"", AUTHENTICATION, "but this registry requires a user name and a password: save them with `ocipush image login r.example:5000`", login=IDENTITY, headers=challenge(BASIC)),
    Case("worked until now", Kind.MANIFEST, 401, says("UNAUTHORIZED"), AUTHENTICATION, f"the login worked until now: it may have expired; {LOG_IN}", sent=SENT_BASIC, headers=challenge(BASIC), before=Standing.WORKED),
    Case("worked until now", Kind.MANIFEST, 401, says("UNAUTHORIZED"), AUTHENTICATION, "worked until now", sent=SENT_BEARER, headers=challenge(f'{BEARER},error="invalid_token"'), before=Standing.WORKED),
    Case("accepted for reading", Kind.OPEN, 401, says("UNAUTHORIZED"), AUTHORIZATION, "accepts the login, but does not allow it to push to team/app", sent=SENT_BASIC, headers=challenge(BASIC), before=Standing.READS),
    Case("token denied", Kind.OPEN, 401, says("UNAUTHORIZED", "reqPackageAccess"), AUTHORIZATION, "the token service accepted the login, but the login has no permission to push to team/app", sent=SENT_BEARER, headers=challenge(BEARER)),
    Case("token denied", Kind.OPEN, 401, says("UNAUTHORIZED"), AUTHORIZATION, "no permission to push", sent=SENT_BEARER, headers=challenge(f'{BEARER},error="insufficient_scope"'), before=Standing.WORKED),
    Case("token not recognized", Kind.OPEN, 401, says("UNAUTHORIZED"), AUTHENTICATION, "does not accept the token of its own token service", sent=SENT_BEARER, headers=challenge(f'{BEARER},error="invalid_token"')),
    Case("token not recognized", Kind.LOGIN, 401, says("UNAUTHORIZED"), AUTHENTICATION, "does not accept the token of its own token service", sent=SENT_BEARER, headers=challenge(BEARER)),
    Case("login refused", Kind.TAG, 401, says("UNAUTHORIZED"), AUTHENTICATION, f"does not accept the user name or the password: {CHECK}", sent=SENT_BASIC, headers=challenge(BASIC)),
    # the registry's words
    Case("content missing", Kind.MANIFEST, 404, says("MANIFEST_BLOB_UNKNOWN", "blob unknown"), REJECTED, "replicas behind one name need shared storage"),
    Case("login expired", Kind.COMMIT, 403, says("DENIED", "Your authorization token has expired. Reauthenticate and try again."), AUTHENTICATION, f"the login has expired: {LOG_IN}"),
    Case("read-only", Kind.COMMIT, 405, says("DENIED", "System is currently read-only. Pulls will succeed but all write operations are currently suspended."), REGISTRY, "in read-only mode, or under maintenance"),
    Case("read-only", Kind.COMMIT, 403, says("DENIED", "The system is in read only mode. Any modification is prohibited."), REGISTRY, "in read-only mode"),
    Case("read-only", Kind.OPEN, 503, b"", REGISTRY, "in read-only mode, or under maintenance", page="Down for maintenance", **NGINX),
    Case("cache", Kind.OPEN, 405, says("METHOD_NOT_ALLOWED", "can not push artifact to a proxy project: hub"), REGISTRY, "a cache, a proxy or a group of others, and does not accept pushes"),
    Case("cache", Kind.OPEN, 403, says("DENIED", "Remote repositories do not accept uploads"), REGISTRY, "a cache, a proxy or a group"),
    Case("cache", Kind.OPEN, 400, says("UNSUPPORTED", "Repository docker-all is a group"), REGISTRY, "a cache, a proxy or a group"),
    Case("immutable tag", Kind.MANIFEST, 412, says("PRECONDITION", "Failed to process request due to 'a/b:1' configured as immutable."), REJECTED, "the tag is immutable or not allowed: push to another tag"),
    Case("immutable tag", Kind.MANIFEST, 403, says("MANIFEST_INVALID", "manifest invalid", {"description": "Not enough permissions to delete/overwrite artifact"}), REJECTED, "push to another tag"),
    Case("immutable tag", Kind.MANIFEST, 400, says("BLOB_UPLOAD_INVALID", "blob upload invalid", "Repository does not allow updating assets: x"), REJECTED, "push to another tag"),
    Case("immutable tag", Kind.MANIFEST, 400, says("TAG_INVALID", "no"), REJECTED, "push to another tag"),
    Case("immutable tag, bare", Kind.MANIFEST, 409, b"", REJECTED, "push to another tag"),
    Case("quota", Kind.COMMIT, 403, says("DENIED", "adding 29.0 MiB of storage resource, which when updated to current usage of 152.4 MiB will exceed the configured upper limit of 10.0 MiB."), REGISTRY, "a quota of the registry is used up"),
    Case("quota", Kind.COMMIT, 412, says("PROJECTPOLICYVIOLATION", "adding 29.0 MiB of storage resource will exceed the configured upper limit"), REGISTRY, "a quota"),
    Case("quota", Kind.MANIFEST, 403, says("DENIED", "The repository with name 'x' in registry with id '1' already has the maximum allowed number of images which is '10000'"), REGISTRY, "a quota"),
    Case("quota", Kind.COMMIT, 403, says("DENIED", "Quota has been exceeded on namespace"), REGISTRY, "a quota"),
    Case("quota", Kind.COMMIT, 400, says("BLOB_UPLOAD_INVALID", "blob upload invalid", "quota exceeded for blob store default"), REGISTRY, "a quota"),
    Case("network rules", Kind.OPEN, 403, says("DENIED", "client with IP '192.0.2.7' is not allowed access"), REGISTRY, "the network rules of the registry"),
    Case("layer URL", Kind.MANIFEST, 400, says("MANIFEST_INVALID", "manifest invalid", "invalid URL on layer"), REJECTED, "validation.manifests.urls"),
    Case("media type", Kind.MANIFEST, 415, b"", REJECTED, f"may not accept {DOCKER}; `skopeo copy --all --format oci oci:IMAGE dir:DIRECTORY`", media_type=DOCKER),
    Case("media type, in words", Kind.MANIFEST, 400, says("MANIFEST_INVALID", "manifest invalid", "unsupported media type"), REJECTED, f"may not accept {OCI}; `skopeo copy --all --format v2s2 oci:IMAGE dir:DIRECTORY`"),
    Case("media type, perhaps", Kind.MANIFEST, 400, says("MANIFEST_INVALID", "manifest invalid", {"reference": "1"}), REJECTED, f"may not accept {DOCKER}", media_type=DOCKER),
    Case("media type, perhaps", Kind.MANIFEST, 400, b"", REJECTED, f"may not accept {OCI}"),
    Case("repository missing", Kind.OPEN, 404, says("NAME_UNKNOWN", "repository name not known to registry"), MISSING, "create the repository team/app first"),
    Case("repository missing", Kind.OPEN, 404, says("NOT_FOUND", "project team not found"), MISSING, "create the repository team/app first"),
    Case("repository name", Kind.OPEN, 400, says("NAME_INVALID", "invalid repository name"), REGISTRY, "REGISTRY/PROJECT/NAME"),
    Case("damaged on the way", Kind.COMMIT, 400, says("DIGEST_INVALID", "provided digest did not match uploaded content"), REGISTRY, "the content changed on its way"),
    # methods
    Case("writes not allowed", Kind.OPEN, 405, b"Method not allowed", REGISTRY, "does not accept pushes: it is read-only", headers={"allow": "GET, HEAD"}),
    Case("pushes not supported", Kind.OPEN, 405, says("UNSUPPORTED", "The operation is unsupported."), REGISTRY, "it is read-only, or a cache of another registry"),
    Case("method refused by a page", Kind.COMMIT, 405, b"", UNEXPECTED, f"in front of the registry refuses PUT requests: {METHODS_HINT}", page="405 Not Allowed", **NGINX),
    Case("method refused", Kind.CHUNK, 501, b"", REGISTRY, "the registry, or a proxy in front of it, refuses PATCH requests"),
    Case("method not supported", Kind.CHUNK, 405, says("UNSUPPORTED"), REGISTRY, "the registry does not support PATCH requests here"),
    # web pages, and answers that can be a proxy's
    Case("misplaced", Kind.COMMIT, 404, b"", UNEXPECTED, "its Location leads to a path outside of team/app", path="/v2/a/blobs/uploads/1", page="404 Not Found", **NGINX),
    Case("firewall", Kind.OPEN, 403, b"", UNEXPECTED, f"a proxy or firewall in front of the registry refused this POST request: {METHODS_HINT}", page="403 Forbidden", **NGINX),
    Case("firewall", Kind.COMMIT, 406, b"<!DOCTYPE html><title>Request Blocked by the firewall</title>", UNEXPECTED, "refused this PUT request", **NGINX),
    Case("gateway", Kind.OPEN, 502, b"", UNEXPECTED, "a proxy in front of the registry could not reach it", page="502 Bad Gateway", **NGINX),
    Case("gateway", Kind.COMMIT, 524, b"", UNEXPECTED, "or stopped waiting for it", page="524: A timeout occurred", **NGINX),
    Case("unexpected", Kind.TAG, 404, b"", UNEXPECTED, "check that this is the address of a registry", page="404 Not Found", **NGINX),
    Case("unexpected", Kind.OPEN, 200, b"", UNEXPECTED, "a proxy or a login page may be answering", page="Sign in", **NGINX),
    # the rest
    Case("session lost", Kind.COMMIT, 404, says("BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry"), LOST, "replicas behind one name need shared storage and the same secret"),
    Case("session lost", Kind.CHUNK, 416, b"", LOST, "http.secret"),
    Case("no login, perhaps", Kind.OPEN, 403, says("DENIED", ACCESS_DENIED), AUTHORIZATION, NO_LOGIN, login=None),
    Case("no permission, perhaps", Kind.OPEN, 403, b"RBAC: access denied", AUTHORIZATION, "or a proxy in front of the registry refuses POST requests"),
    Case("no permission", Kind.OPEN, 403, says("DENIED", ACCESS_DENIED), AUTHORIZATION, "is not allowed to push to team/app, or the repository does not exist"),
    Case("no permission", Kind.OPEN, 403, says("DENIED"), AUTHORIZATION, "is not allowed to push to team/app"),
    Case("not found", Kind.OPEN, 404, b"", REGISTRY, "the address of a registry, and that the repository exists"),
    Case("no registry", Kind.LOGIN, 404, b"", REGISTRY, "check that this is the address of a registry"),
    Case("failed", Kind.OPEN, 500, says("UNKNOWN", "unknown error"), REGISTRY, "the registry failed: try again later, and check its log"),
    Case("other", Kind.OPEN, 400, says("UNKNOWN", "the moon is full"), REGISTRY, None),
    Case("other", Kind.OPEN, 403, says("DENIED", "billing is disabled"), AUTHORIZATION, None),
    Case("other", Kind.MANIFEST, 400, says("MANIFEST_INVALID", "config blob has no architecture"), REJECTED, None),
]  # fmt: skip


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the situations that refusals turn out to be."""
    names: list[str] = []

    def spy(refusal: Refusal) -> Situation:
        situation = situation_of(refusal)
        names.append(situation.name)
        return situation

    monkeypatch.setattr(answers, "situation_of", spy)
    return names


@pytest.mark.parametrize("case", CASES, ids=[f"{number} {case}" for number, case in enumerate(CASES)])
def test_refusal_becomes_its_error_with_the_hint_that_fits(case: Case, found: list[str]) -> None:
    error = raised(case)
    assert found == [case.situation]
    assert type(error) is case.error
    assert error.answered_by == case.by
    if case.hint is None:
        assert error.hint is None
    else:
        assert case.hint in (error.hint or "")


def test_every_situation_has_a_case_and_every_hint_a_situation() -> None:
    names = [situation.name for situation in SITUATIONS]
    assert len(names) == len(set(names))
    assert {case.situation for case in CASES} == set(names)
    assert set(HINTS) - set(names) == {"token service, no token"}


@pytest.mark.parametrize("name", HINTS)
def test_command_shows_every_hint_in_its_own_words(name: str) -> None:
    shown = rewrite_hint(HINTS[name])
    assert shown
    assert not re.search(r"\b(?:chunk_size|concurrency|cert|key|target|tls_verify|ssl_context)=", shown)
    assert HINTS[name].count("`") % 2 == 0
    assert "tls_verify" not in HINTS[name]  # a refusal is no reason to send the login in clear


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("login", [LOGIN, None], ids=["login", "anonymous"])
def test_any_status_of_any_request_is_an_error_whose_hint_is_complete(kind: Kind, login: Login | None) -> None:
    authorizer = Authorizer(login, registry="r.example", tls_verify=True)
    for status in range(200, 600):
        for headers in ({}, {"content-type": "text/html"}):
            request = Request(method="PUT", url="https://r.example/v2/team/app/manifests/1")
            error = error_for(Answer(request, status, headers, b""), kind, authorizer, repository="team/app")
            assert error.status == status
            assert "{" not in str(error)
            assert status in {401, 403} or "image login" not in (error.hint or "")


UPLOAD = {Kind.OPEN, Kind.MOUNT, Kind.SESSION, Kind.CHUNK, Kind.COMMIT}


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind not in UPLOAD])
@pytest.mark.parametrize("code", ["BLOB_UPLOAD_INVALID", "BLOB_UPLOAD_UNKNOWN", "SIZE_INVALID", "UNKNOWN"])
def test_request_outside_of_an_upload_loses_no_upload(kind: Kind, code: str) -> None:
    for status in (400, 404, 416):
        answer = Answer(Request(method="PUT", url="https://r.example/"), status, {}, says(code))
        assert type(error_for(answer, kind)) is not errors.UploadInvalidatedError


def test_first_refusal_of_a_token_can_be_answered_with_another() -> None:
    """The upload goes on with another token, unless that is refused as well."""
    request = Request(method="PUT", url="https://r.example/", headers={"Authorization": SENT_BEARER})
    answer = Answer(request, 401, challenge(BEARER), b"", renewable=True)
    authorizer = Authorizer(LOGIN, registry="r.example", tls_verify=True)
    authorizer.has_token = True
    assert type(error_for(answer, Kind.COMMIT, authorizer)) is errors.AuthenticationError
    assert type(error_for(replace(answer, renewable=False), Kind.COMMIT, authorizer)) is errors.AuthorizationError


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("DENIED", "Quota exceeded"),
        ("DENIED", "the registry is read-only"),
        ("DENIED", "pull-through cache"),
        ("UNAUTHORIZED", "quota"),
        ("TOOMANYREQUESTS", "rate limit"),
        ("DENIED", "ip address is not in the list"),
    ],
)
def test_hint_follows_the_words_and_not_the_code(code: str, message: str) -> None:
    case = Case("", Kind.OPEN, 403, says(code, message), REGISTRY, None)
    assert "login" not in (raised(case).hint or "")


@pytest.mark.parametrize(
    "message",
    [
        "the token has read-only access",
        "insufficient scope: read-only role",
        "your robot account is read-only",
        "read-only permission for this repository",
    ],
)
def test_login_for_reading_only_is_no_read_only_registry(message: str) -> None:
    case = Case("", Kind.OPEN, 403, says("DENIED", message), AUTHORIZATION, None)
    assert "the login is not allowed to push" in (raised(case).hint or "")


def test_upload_that_has_expired_is_no_expired_login() -> None:
    case = Case("", Kind.COMMIT, 404, says("BLOB_UPLOAD_UNKNOWN", "the upload session has expired"), LOST, None)
    assert "upload session" in (raised(case).hint or "")


def test_media_type_of_a_refused_manifest_is_in_the_message() -> None:
    case = Case("", Kind.MANIFEST, 400, says("MANIFEST_INVALID", "no"), REJECTED, None, media_type=DOCKER)
    assert f"/v2/team/app/manifests/1 ({DOCKER}) was answered 400" in raised(case).message
    blob = Case("", Kind.COMMIT, 400, says("MANIFEST_INVALID", "no"), REJECTED, None)
    assert "octet-stream" not in raised(blob).message


def test_token_service_and_storage_are_called_what_they_are() -> None:
    token = Case("", Kind.TOKEN, 401, says("UNAUTHORIZED", "no"), AUTHENTICATION, None)
    assert raised(token).message == "GET https://auth.example/token (token service) was answered 401: UNAUTHORIZED: no"
    storage = Case("", Kind.COMMIT, 403, b"no", REGISTRY, None, peer="storage", path="/bucket/x?sig=secret-signature")
    assert raised(storage).message == "PUT https://s3.example/bucket/x?… (storage) was answered 403: no"


def test_hint_shows_no_secret_of_a_redirect() -> None:
    case = Case("", Kind.OPEN, 302, b"", UNEXPECTED, None, headers={"location": "https://x.example/correct%20horse"})
    assert "horse" not in str(raised(case))
    assert "redirects to https://x.example/" in str(raised(case))
