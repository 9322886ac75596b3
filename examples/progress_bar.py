"""Draw a bar for each blob with rich, from the progress events.

python examples/progress_bar.py STORE IMAGE TARGET
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

import anyio
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

import ocipush

if TYPE_CHECKING:
    from rich.progress import TaskID


class Bars:
    """Used as ``on_event``. It runs on the event loop's thread, so it only stores numbers; rich draws in its own thread."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._bars: dict[str, TaskID] = {}

    def __call__(self, event: ocipush.Event) -> None:
        match event:
            case ocipush.PushStarted():
                self._progress.console.print(f"{event.reference}: {event.blobs} blobs")
            case ocipush.BlobStarted():
                self._bars[event.digest] = self._progress.add_task(event.digest[7:19], total=event.size)
            case ocipush.BlobProgress():  # the offset may decrease, when a blob is sent again
                self._progress.update(self._bars[event.digest], completed=event.offset)
            case ocipush.BlobDone() if event.digest not in self._bars:  # mounted, or already there: nothing was sent
                self._progress.console.print(f"{event.digest[7:19]} {event.outcome}")
            case ocipush.RetryScheduled():
                self._progress.console.print(
                    f"{event.what}: {event.reason}; again in {event.delay:.1f} s", markup=False
                )
            case ocipush.PushWarning() | ocipush.RegistryWarning():
                self._progress.console.print(f"warning: {event.text}", markup=False)
            case _:
                pass


async def main(store: str, image: str, target: str) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        result = await ocipush.push(image, store=store, target=target, on_event=Bars(progress))
    print(result.name_with_digest)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("store")
    parser.add_argument("image")
    parser.add_argument("target")
    given = parser.parse_args()
    try:
        anyio.run(main, given.store, given.image, given.target)
    except ocipush.OcipushError as error:
        sys.exit(f"error: {error}")
