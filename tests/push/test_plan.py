"""Where an image is pushed to: the target, or the reference that the image records."""

from __future__ import annotations

import pytest

from ocipush import errors
from ocipush._oci.descriptor import Descriptor
from ocipush._oci.digest import Digest
from ocipush._push.plan import choose_target


@pytest.mark.parametrize("recorded", [None, "latest"])
def test_reference_is_never_invented(recorded: str | None) -> None:
    root = Descriptor(digest=Digest.of(b""), size=0)
    with pytest.raises(errors.TargetRequiredError, match="target="):
        choose_target(None, recorded, where="x", root=root)
    assert choose_target(None, "host.example/a:1", where="x", root=root).name == "host.example/a:1"
    assert choose_target(" host.example/b:1 ", "latest", where="x", root=root).name == "host.example/b:1"
