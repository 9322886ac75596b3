"""Bytes on the wire: HTTP/1.1 over sockets of our own. Knows nothing of registries.

Why not httpx's own transport? Its interface is used, but a push needs two things that it does not offer. An answer that
arrives while the body is still being sent (a 413, a 401) must be read, not lost with the connection. And a layer must
get from disk to socket without passing through Python objects: by ``sendfile`` over plain HTTP, in large slices over
TLS. Both also work through an HTTP proxy.

From the outside in:

- ``client``: sends one request, enforces its time-outs, and turns failures into the library's errors.
- ``request``, ``answer``, ``timeouts``: what is sent and what comes back, and how long each step may take.
- ``failures``: which error each failure of httpx or OpenSSL becomes.
- ``environment``: the transport of a client that was given none, with the environment's proxies.
- ``transport``: an httpx transport that keeps HTTP/1.1 connections for each origin.
- ``connection``: one HTTP/1.1 exchange after another (h11), which reads while it writes.
- ``proxy``, ``tunnel``: which requests go through which proxy, and how.
- ``stream``, ``acknowledged``, ``tls``: plain and TLS sockets that never block. ``body``: slices of files as request bodies.
- ``certificates``: TLS settings from files: authorities to trust, and the client's own certificate.
- ``addresses``: how private an address is, and where a registry may send its client.
- ``urls``, ``redact``: Locations and origins; keeping secrets and control characters out of what people read.

Start with ``client.Client.send``. May import ``errors``; only this package imports httpx.
"""
