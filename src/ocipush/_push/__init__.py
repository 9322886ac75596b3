"""Pushing: from a name to a tag that has moved.

- ``pusher``: ``push`` and ``Pusher``: connections and endpoints that many pushes share.
- ``options``: every option of the two, declared once: type, default, range, meaning.
- ``clients``: the HTTP clients of a ``Pusher``, with their certificates.
- ``batch``: many images: shared blobs, a few at a time, a report.
- ``plan``: what to send, where to, in which order.
- ``push``: one push: what the registry has, then the blobs, then the manifests, the tag last.
- ``manifests``: the manifests of a push, and what the registry misses for them. ``together``: jobs at the same time.
- ``upload``: one blob: found, mounted or uploaded; resumed or restarted when that breaks.
- ``reporter``: events, warnings, retries and log lines of one push; what ``on_event`` raises ends it.

Start with ``pusher.Pusher.push``. May import everything but the root, ``sync``, ``_cli`` and ``testing``.
"""
