"""Where images are read from.

- ``base``: the ``Source`` protocol: all that a push knows of the place an image comes from.
- ``layout``: one OCI image layout, in a directory or a tar archive. A ``Source``. So is skopeo's ``dir:`` form.
- ``docker``: archives of ``docker save``, whose images are converted to a ``Source``; ``compress``: their layers.
- ``store``: a directory of layouts: list it, and match what a person typed.
- ``open``: from a path or an IMAGE to an open ``Source`` and the descriptor to push.

These work on any source:

- ``select``: choose one descriptor of several.
- ``walk``: read the documents that a root leads to, and check that every blob is there.
- ``verify``: hash blobs.

And these below them:

- ``archive``: a tar archive, read in place; ``tar``: where its members are.
- ``files``: open files below a directory without following symbolic links.
- ``threads``: open something in a worker thread without losing it when the task is cancelled.

Start with ``base``. Another kind of source is another module here and a case in ``open``; no push changes.
May import ``errors`` and ``_oci``.
"""
