"""What images are made of: digests, descriptors, manifests, indexes, and the references that name them.

Values only. Nothing here reads a file or a socket.

- ``reference``: parse, normalise and print ``registry/repository[:tag][@digest]``; the store's ``sanitize``.
- ``digest``, ``media_types``, ``descriptor``: what a blob is called, what kind it is, how large it is.
- ``json``: read JSON strictly. The one place that refuses duplicate keys and puts a validation error into one line.
- ``document``: manifests and indexes, with the bytes they were parsed from, since digests are over bytes.

Start with ``document.parse_document``. May import ``errors``.
"""
