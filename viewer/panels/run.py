"""The run: the command to repeat it, what happened to its structure, and warnings as a list."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from recon.viewer.server import News, Viewer

ORDER = 70
LAST = 6


class Panel:
    def __init__(self, viewer: Viewer) -> None:
        gui, page = viewer.server.gui, viewer.page
        self.notes = page.notes
        with gui.add_folder("Run", expand_by_default=False, order=70):
            if page.command:
                self.command = gui.add_text("Command", page.command, multiline=True, hint="Repeats this run; copy it")
            self.changes = gui.add_markdown("")
        with gui.add_folder("Warnings", expand_by_default=False, order=71) as self.folder:
            self.words = gui.add_markdown("None.")
        self.shown = (-1, -1)

    def tick(self, news: News) -> None:
        counts = (len(news.changes), len(news.warnings))
        if counts == self.shown:
            return
        self.shown = counts
        self.changes.content = "\n".join(f"- step {c.step:,}: {_plain(c.what)}" for c in news.changes[-LAST:])
        lines = [f"- {_plain(w)}" for w in (*self.notes, *news.warnings)]
        self.words.content = "\n".join(lines) or "None."
        label = f"Warnings ({len(lines)})" if lines else "Warnings"
        if self.folder.label != label:
            self.folder.label = label


def _plain(text: str) -> str:
    """File names and messages are words, not Markdown or HTML."""
    return "".join("\\" + c if c in "\\`*_{}[]<>#|!~$&" else " " if c in "\r\n" else c for c in text)
