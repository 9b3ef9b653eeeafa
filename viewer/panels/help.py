"""How to move, and which keys there are."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from recon.viewer.server import Viewer

ORDER = 90
TEXT = """\
| | |
|---|---|
| drag | turn around |
| right drag | move |
| wheel | nearer, farther |
| W A S D, Q E | fly |
| arrows | look around |
| click on a photo's frame | go there |
| P | pause or resume |
| N | one step |
| X | export |
| Ctrl K | all commands |

Closing this page changes nothing.
"""


class Panel:
    def __init__(self, viewer: Viewer) -> None:
        with viewer.server.gui.add_folder("Help", expand_by_default=False, order=90):
            viewer.server.gui.add_markdown(TEXT)
