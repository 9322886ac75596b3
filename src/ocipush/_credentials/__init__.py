"""Logins of registries, and where they are kept.

- ``base``: a ``Login``, and the ``Credentials`` protocol: the login for a registry, or None.
- ``authfile``: find, save and remove logins in ``auth.json``.
- ``chain``: the ``Credentials`` there are: logins that the caller gave, the login file, and one after the other.

Start with ``base``. Another place for logins is another module here, and joins the chain. May import ``errors`` and ``_oci``.
"""
