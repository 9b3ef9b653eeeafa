"""Errors a person can act on: what is wrong, in which file, and what to do about it."""

from __future__ import annotations

from pathlib import Path


class InputError(ValueError):
    """Something the user can mend: the program prints it without a traceback and exits with code 2.

    ``what`` is one clause without a final period, ``file`` the file it is about, ``fix`` what to do next.
    """

    def __init__(self, what: str, *, file: str | Path | None = None, fix: str | None = None) -> None:
        self.what, self.file, self.fix = what, None if file is None else Path(file), fix
        super().__init__(self.message)

    @property
    def message(self) -> str:
        head = f"{self.file}: {self.what}" if self.file is not None else self.what
        return head if self.fix is None else f"{head}. {self.fix}"


class BudgetError(InputError):
    """The request does not fit the memory, disk or time that was allowed."""
