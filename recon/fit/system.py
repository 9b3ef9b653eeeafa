"""System: everything that defines a method, as one frozen dataclass. A preset *is* a System.

Parts are dataclasses of settings; those that need state while fitting build it (see the ...Settings protocols).
The command line is generated from these classes, so a setting's comment is its help text.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from recon.protocols import FieldSettings, OptimizerSettings, Renderer


@dataclass(frozen=True)
class Resolution:
    """How large the compared photos are as the fit goes on (1 = working resolution)."""

    # downscale factor of the first steps; the schedule goes from here to 1
    start: float = 1.0
    # share of all steps after which full resolution is reached
    until: float = 0.5
    # the short side never gets smaller than this many pixels
    min_side: int = 64


@dataclass(frozen=True)
class Exposure:
    """Per-photo correction of colours while fitting: an affine map of rgb, started at the identity."""

    # whether photos are corrected: for changing light, automatic exposure or white balance
    enabled: bool = False
    # learning rate at the start and at the end
    rate: float = 0.01
    rate_end: float = 0.001


@dataclass(frozen=True)
class PoseRefinement:
    """Camera poses as unknowns: Gauss-Newton steps against the pixels of each fitted view, see ``recon.fit.poses``."""

    # whether poses are refined: for poses from phones and trackers, or hurried structure from motion
    enabled: bool = False
    # poses that came with the photos are adjusted to matched features first: pixels pull over a few pixels only
    tracks: bool = True
    # share of the fit at which refinement begins and ends
    begin: float = 0.02
    until: float = 1.0
    # each pose is refined in every so many-th visit of all views
    every: int = 1
    # added to the curvature, as a share of its diagonal
    damping: float = 0.1

    def after_tracks(self) -> PoseRefinement:
        """What is left to do for poses that fit their features: a scene that is not finished would spoil them."""
        return dataclasses.replace(self, begin=max(self.begin, 0.5), every=max(self.every, 3))


@dataclass(frozen=True)
class Dropout:
    """Leaves out a random part of the primitives in each step, so that none explains a photo alone.

    Source: Park et al., "DropGaussian", CVPR 2025, arXiv 2504.00773. Against haze before the cameras of few photos.
    """

    # share that is left out at the end of the fit; it grows evenly from none
    share: float = 0.0
    # share of the fit after which none is left out any more
    until: float = 1.0
    # only with fewer photos than this to fit: well covered scenes lose by it
    photos: int = 60


@dataclass(frozen=True)
class System:
    """A method with all its settings; times and counts are for the whole fit."""

    field: FieldSettings
    renderer: Renderer
    optimizer: OptimizerSettings
    # named loss terms, added up with their weights
    losses: dict[str, Any] = dataclasses.field(default_factory=dict)
    # named structure changes, run in this order after each step
    strategies: dict[str, Any] = dataclasses.field(default_factory=dict)
    # which pixels a step compares; None = one whole photo
    sampler: Any = None
    # optimisation steps in total
    steps: int = 30_000
    # a photo is looked at so many times at most, so few photos get fewer steps (0: no limit); --steps overrules it
    visits: int = 0
    # what is behind everything; auto: black for opaque photos, white where photos have alpha; random: new each step
    background: Literal["auto", "black", "white", "random"] = "auto"
    resolution: Resolution = dataclasses.field(default_factory=Resolution)
    # leaving out primitives at random, against overfitting of few photos
    dropout: Dropout = dataclasses.field(default_factory=Dropout)
    # colours of each photo may differ by an affine map (changing light, automatic exposure)
    exposure: Exposure = dataclasses.field(default_factory=Exposure)
    # camera poses are refined while fitting (--refine-poses)
    pose_refinement: PoseRefinement = dataclasses.field(default_factory=PoseRefinement)
    # auto: use masks that say "ignore", leave out masks that mark the object; object: what is masked becomes empty;
    # present: as they are meant
    masks: Literal["auto", "ignore", "object", "present", "off"] = "auto"
