"""What images are made of: digests, descriptors, manifests, indexes, and the references that name them.

Values only. Nothing here reads a file or a socket.

- ``reference``: parse, normalise and print ``registry/repository[:tag][@digest]``; the store's ``sanitize``.
- ``digest``, ``media_types``, ``descriptor``: what a blob is called, what kind it is, how large it is.
- ``json``: read JSON strictly and within limits, and put a validation error into one line. Every JSON boundary of the
  library uses it.
- ``document``: pydantic models of manifests and indexes. Their bytes are kept beside them, because digests are of bytes.
- ``saved``: the same for ``manifest.json`` of ``docker save``, and for image configs.

Start with ``document.parse_document``. May import ``errors``.
"""
