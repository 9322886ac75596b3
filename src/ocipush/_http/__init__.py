"""Bytes on the wire: HTTP/1.1 over sockets of our own. Knows nothing of registries.

Why not httpx's own transport? It stays the interface, but a push needs two things that it cannot give. An answer that
arrives while the body is still being sent (a 413, a 401) must be read, not lost with the connection. And a layer must go
from disk to socket without passing through Python objects: by ``sendfile`` over plain HTTP, in large slices over TLS.

From the outside in:

- ``client``: send one request, watch its time-outs, and turn failures into the library's errors.
- ``answer``, ``timeouts``: what comes back, and how long each step may take.
- ``failures``: which error each failure of httpx or OpenSSL becomes.
- ``proxy``: which requests go through a proxy, and the transport that takes them there.
- ``transport``: an httpx transport that keeps HTTP/1.1 connections for each origin.
- ``connection``: one HTTP/1.1 exchange after another (h11), reading while it writes.
- ``stream``, ``tls``: sockets, plain and TLS, that are never blocked on. ``body``: slices of files as request bodies.
- ``certificates``: TLS settings from files: authorities to trust, and the client's own certificate.
- ``addresses``: how private an address is, and where the answers of a registry may point to.
- ``urls``, ``redact``: Locations and origins; keep secrets and control characters out of what people read.

Start with ``client.Client.send``. May import ``errors``; only this package imports httpx.
"""
