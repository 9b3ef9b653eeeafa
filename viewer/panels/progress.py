"""How far the fit is: bar, time left, speed, quality, counts, memory; pause, one step, stop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recon.viewer.server import News, Viewer

ORDER = 10


class Panel:
    def __init__(self, viewer: Viewer) -> None:
        self.viewer, session, gui = viewer, viewer.session, viewer.server.gui
        self.words = gui.add_markdown("…", order=1)
        self.fit = session.fit is not None
        self.unit = "Gaussians" if hasattr(session.shown.field, "gaussians") else "primitives"
        if not self.fit:
            self.words.content = viewer.page.summary
            return
        self.bar = gui.add_progress_bar(0.0, order=2)
        self.pause = gui.add_button("Pause", order=3, hint="No further step is begun (P)")
        self.step = gui.add_button("One step", order=4, visible=False, hint="Make one step and stay paused (N)")
        self.stop = gui.add_button("Stop and keep", order=5, color="gray", visible=False,
                                   hint="End the fit now; everything so far is saved")
        self.pause.on_click(viewer.guard(self._toggle))
        self.step.on_click(viewer.guard(lambda _: session.one_step()))
        self.stop.on_click(viewer.guard(lambda _: session.stop()))
        gui.add_command("Pause or resume", hotkey="P").on_trigger(viewer.guard(self._toggle))
        gui.add_command("One step", hotkey="N").on_trigger(viewer.guard(lambda _: session.one_step()))

    def _toggle(self, _: Any) -> None:
        session = self.viewer.session
        if session.paused:
            session.resume()
        else:
            session.pause()
        self.tick(self.viewer.news)

    def tick(self, news: News) -> None:
        if not self.fit:
            return
        session = self.viewer.session
        paused, over = session.paused, news.finished is not None or news.failed is not None
        _set(self.pause, label="Resume" if paused else "Pause", visible=not over)
        _set(self.step, visible=paused and not over)
        _set(self.stop, visible=paused and not over)
        p = news.progress
        total = p.total_steps if p else news.started.total_steps if news.started else 0
        self.bar.value = min(100.0, 100.0 * session.step / max(total, 1))
        rows = [f"**{session.step:,} / {total:,}** steps"]
        if news.failed is not None:
            rows.append(f"**The fit ended: {news.failed}**")
        elif news.finished is not None:
            rows.append("**stopped and saved**" if news.finished.stopped else "**finished**")
        elif paused:
            rows.append("**paused**")
        elif p is not None:
            rows.append(f"{p.steps_per_s:.0f} steps/s" if p.steps_per_s >= 10 else f"{p.steps_per_s:.1f} steps/s")
            rows.append(f"**{_seconds(p.seconds_left)} left**")
        second = []
        if news.evaluated is not None:
            kind = "held out" if news.evaluated.split == "test" else "training views"
            second.append(f"PSNR **{news.evaluated.psnr:.1f}** ({kind})")
        if p is not None:
            second += [f"{p.num_primitives:,} {self.unit}", f"{p.memory_bytes / 1e9:.1f} GB"]
        text = " · ".join(rows) + ("\n\n" + " · ".join(second) if second else "")
        if text != self.words.content:
            self.words.content = text


def _set(handle: Any, **values: Any) -> None:
    """Sends only what changed."""
    for name, value in values.items():
        if getattr(handle, name) != value:
            setattr(handle, name, value)


def _seconds(s: float) -> str:
    if not 0 <= s < 360_000:
        return "–"
    hours, rest = divmod(round(s), 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"
