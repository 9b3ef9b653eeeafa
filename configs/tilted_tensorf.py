"""TILTED on a factored grid (vm): factors in rotated frames that are learned with them.

Yi, Zeng, Buchanan, Ma: "Canonical Factors for Hybrid Neural Fields".
ICCV 2023. arXiv 2308.15461
"""

from __future__ import annotations

from recon.configs._volumes import tilted
from recon.configs.tensorf import PRESETS as BASE

PRESETS = {name: tilted(system) for name, system in BASE.items()}
PRESET = "balanced"
