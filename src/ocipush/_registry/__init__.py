"""The distribution specification, as a client sees it.

- ``endpoint``: one registry: how it is reached, what it can do, what it holds, shared by all pushes to it.
- ``repository``: one method for each request to a repository.
- ``answers``, ``error_body``: which error an answer becomes. ``requests``, ``retry``: what is sent again, and when.
- ``session``, ``limits``: an upload session without I/O: what is stored, what is sent next, how large a body may be.
- ``challenge``, ``token``, ``authorizer``: from a 401 to an Authorization header.
- ``capabilities``, ``rate_gate``: what a registry turned out to support, and how fast it takes requests.
- ``journal``: upload sessions on disk, for another process to resume.

Start with ``repository``. May import ``errors``, ``_events``, ``_oci``, ``_credentials`` and ``_http``; never ``_sources``.
"""
