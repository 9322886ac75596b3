"""Logins of registries, and where they are kept.

- ``base``: a ``Login``, and the ``Credentials`` protocol: the login for a registry, or None.
- ``chain``: ``Credentials`` that the caller gave, by registry or as a function, and one place after the other.
- ``files``: login files as ``Credentials``, in their order. ``documents``: which files they are, and their JSON.
- ``authfile``: the specification's form: find, save and remove logins in ``auth.json``.
- ``docker``: the forms of Docker and Podman. ``helper``: run the credential helpers that these files name.
- ``remembered``: one call to a helper or function for many pushes.

Start with ``base``. Another place for logins is another module here, and joins the chain. May import ``errors`` and ``_oci``.
"""
