"""Logins of registries, and where they are kept.

- ``base``: a ``Login``, and the ``Credentials`` protocol: the login for a registry, or None.
- ``authfile``: find, save and remove logins in ``auth.json``.

Start with ``base``. Another place for logins is another module here. May import ``errors`` and ``_oci``.
"""
