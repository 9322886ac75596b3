"""The ``ocipush`` command, on the public API alone. Installed with ``ocipush[cli]``.

- ``commands``: options, commands, exit codes.
- ``progress``: a push's progress on stderr: a bar, plain lines, or JSON lines.
- ``signals``: end a running command cleanly when it is told to stop.

Start with ``commands``. May import what ``ocipush`` exports, ``errors`` and, for type checkers, ``_events``.
"""
