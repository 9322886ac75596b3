"""The ``ocipush`` command, on the public API alone. Installed with ``ocipush[cli]``.

- ``commands``: the commands and their exit codes.
- ``options``: the options, and how their values are read.
- ``messages``: what is written to stderr: errors, the log, and in which language.
- ``hints``: the library's hints, with options in place of parameters.
- ``progress``: a push's progress on stderr: plain lines or lines of JSON; ``bar``: a bar on a terminal; ``events``: what an
  event says.
- ``signals``: stop a running command cleanly.

Start with ``commands``. May import what ``ocipush`` exports, ``errors`` and, for type checkers, ``_events``.
"""
