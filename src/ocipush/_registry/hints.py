"""What the user can do in each situation of ``situations``. A name in braces stands for a fact.

A hint has to fit the registry's words, and what it advises has to work. No hint is better than a wrong one: a situation
without a hint here is one where the registry's own words say all that is known. Options of the library are named as its
parameters (``chunk_size=``); the command line shows its own options instead. May import nothing.
"""

from __future__ import annotations

from typing import Final

_LOGIN: Final = "`ocipush image login {registry}`"
_NO_LOGIN: Final = f"no login was found for {{registry}}: save one with {_LOGIN}"
_LOGIN_EXPIRED: Final = f"the login worked until now: it may have expired; log in again with {_LOGIN}"
_SIZE: Final = "{who} limits the size of a request body (nginx: client_max_body_size)"
_CHUNKS: Final = f"{_SIZE}: raise the limit, or send less than {{size}} bytes at once with chunk_size="
_DISK: Final = "{who} has no space left: free some, or enlarge its disk"
_METHODS: Final = "it has to allow HEAD, GET, POST, PUT, PATCH and DELETE"
_TAG: Final = "the tag is immutable or not allowed: push to another tag"
_MEDIA_TYPE: Final = "the registry may not accept {media_type}; `skopeo copy --all --format {format} oci:IMAGE dir:DIRECTORY` converts it"
_ADDRESS: Final = "check that this is the address of a registry"
_REALM: Final = "check the realm in the registry's settings"

HINTS: Final[dict[str, str]] = {
    # any answer
    "redirect": "it redirects to {location}, and redirects are not followed",
    "rate limit": "{who} limits requests: wait{wait}, or lower concurrency=",
    "large manifest": f"{_SIZE}, and this manifest is larger: raise the limit",
    "large body": _CHUNKS,
    "large body, in words": _CHUNKS,
    "client certificate": "{who} requires a client certificate: pass one with cert= and key=",
    "proxy login": "the proxy requires a login: write it into the proxy's URL, as in http://USER:PASSWORD@HOST:PORT",
    "disk full": _DISK,
    "disk full, by status": _DISK,
    "storage failed": "the registry sends uploads to this storage, and it failed: try again later",
    "storage refused": "the registry sends uploads to this storage, and it refused this one: "
    "check the registry's storage settings",
    # the token service
    "token service failed": "the registry names this token service, and it failed: try again later",
    "token service gone": f"the registry names this token service, and it does not exist: {_REALM}",
    "token service, page": "a web page answered instead of the token service, such as a proxy's or a login page: "
    f"{_REALM}",
    "token service, no token": f"{_REALM}: this may not be the address of a token service",
    "token service, no login": _NO_LOGIN,
    "token service, worked": _LOGIN_EXPIRED,
    "token service, identity token": "the token service does not accept the identity token: "
    f"it may have expired; log in again with {_LOGIN}",
    "token service, login refused": "the token service does not accept the user name or the password: "
    f"check the login ({_LOGIN})",
    "token service, bad login": "the token service does not accept the user name or the password: "
    f"check the login ({_LOGIN})",
    "token service, no permission": "the token service does not allow the login to {do}: ask for the permission",
    "token service, refused": "the registry names this token service, and it does not accept the request: "
    "check the realm and the service in the registry's settings",
    # 401
    "page that wants a login": "a web page answered in place of the registry: "
    "a proxy or a login page asks for a login of its own",
    "no login": _NO_LOGIN,
    "no challenge": "the registry requires a login, and does not say how: "
    "a proxy may have removed the WWW-Authenticate header",
    "unknown challenge": "the registry requires a login by {schemes}; only Basic and Bearer are supported",
    "identity token": "the login is an identity token or a registry token, but this registry requires a user name and a password: "
    f"save them with {_LOGIN}",
    "worked until now": _LOGIN_EXPIRED,
    "accepted for reading": "the registry accepts the login, but does not allow it to {do}: ask for the permission",
    "token denied": "the token service accepted the login, but the login has no permission to {do}, "
    "or the repository does not exist",
    "token not recognized": "the registry does not accept the token of its own token service: "
    "check its settings (realm, service, issuer, key), and the clocks of both",
    "login refused": f"the registry does not accept the user name or the password: check the login ({_LOGIN})",
    # the registry's words
    "content missing": "the registry does not find content that it has stored: "
    "replicas behind one name need shared storage",
    "login expired": f"the login has expired: log in again with {_LOGIN}",
    "read-only": "the registry is in read-only mode, or under maintenance: push again when that has ended",
    "cache": "this repository is a cache, a proxy or a group of others, and does not accept pushes: push to one that does",
    "immutable tag": _TAG,
    "immutable tag, bare": _TAG,
    "quota": "a quota of the registry is used up: delete images there, or ask for a larger quota",
    "network rules": "the network rules of the registry do not allow the address of this machine",
    "layer URL": "the registry does not allow the URLs of this image's non-distributable layers: "
    "allow them in its settings (distribution: validation.manifests.urls)",
    "media type": _MEDIA_TYPE,
    "media type, in words": _MEDIA_TYPE,
    "media type, perhaps": _MEDIA_TYPE,
    "repository missing": "create the repository {repository} first: this registry does not create it on push",
    "repository name": "the registry does not accept the name {repository}: "
    "some require a project, as in REGISTRY/PROJECT/NAME",
    "damaged on the way": "the content changed on its way to the registry: a proxy may have altered it, "
    "or the replicas behind one name do not share their upload sessions",
    # methods
    "writes not allowed": "the registry does not accept pushes: it is read-only",
    "pushes not supported": "the registry does not accept pushes: it is read-only, or a cache of another registry",
    "method refused by a page": f"a proxy or firewall in front of the registry refuses {{method}} requests: {_METHODS}",
    "method refused": f"the registry, or a proxy in front of it, refuses {{method}} requests: {_METHODS}",
    "method not supported": "the registry does not support {method} requests here",
    # web pages, and answers that can be a proxy's
    "misplaced": "the registry, or a proxy in front of it, may not know its own address: "
    "its Location leads to a path outside of {repository}",
    "firewall": f"a proxy or firewall in front of the registry refused this {{method}} request: {_METHODS}",
    "gateway": "a proxy in front of the registry could not reach it, or stopped waiting for it: try again later",
    "unexpected": f"{_ADDRESS}: a proxy or a login page may be answering instead",
    # the rest
    "session lost": "the registry lost the upload session: replicas behind one name need shared storage and the same "
    "secret (distribution: http.secret), or a load balancer with sticky sessions",
    "no login, perhaps": _NO_LOGIN,
    "no permission, perhaps": "the login is not allowed to {do}, or a proxy in front of the registry refuses "
    "{method} requests",
    "no permission": "the login is not allowed to {do}, or the repository does not exist",
    "not found": f"{_ADDRESS}, and that the repository exists",
    "no registry": _ADDRESS,
    "failed": "{who} failed: try again later, and check its log",
}
