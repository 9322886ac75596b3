"""Where images are read from.

- ``base``: the ``Source`` protocol: all that a push knows of the place an image comes from.
- ``layout``: one OCI image layout on disk, never read through a symbolic link.
- ``store``: a directory of layouts; list it, and match what a person typed.

Start with ``base``. Another kind of source (an archive, say) is another module here, and no push changes.
May import ``errors`` and ``_oci``.
"""
