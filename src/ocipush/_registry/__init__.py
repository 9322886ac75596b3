"""The distribution specification, as a client sees it.

- ``endpoint``: one registry: how it is reached, what it can do, what it holds; shared by all pushes to it.
- ``repository``, ``blobs``: one method for each request about manifests, and about one blob.
- ``client``: requests with the registry's login, at its pace, repeated where that is safe, and counted.
- ``statuses``: what each status means for each kind of request. ``answers``, ``error_body``: which error it becomes.
- ``situations``, ``wording``, ``hints``: what a refusal comes from, by who answers and what it says; what to do about it.
- ``retry``: how often something is tried, and how long to wait.
- ``session``: the states of an upload, and its session, without I/O. ``lessons``: what a blob's failures teach.
- ``challenge``, ``token``, ``authorizer``: from a 401 to an Authorization header.
- ``capabilities``, ``limits``: what the registry turned out to support, and how large a body may be.
- ``known_blobs``: which repositories hold which blobs. ``rate_gate``: how fast it takes requests. ``single_flight``: one does it, the others wait.
- ``journal``: upload sessions on disk, for another process to resume.

Start with ``repository``, and with ``session`` for uploads. May import ``errors``, ``_events``, ``_oci``, ``_credentials``
and ``_http``; never ``_sources``.
"""
