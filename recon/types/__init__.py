"""Plain data: frozen dataclasses of tensors that every part of the engine shares."""

from recon.types.camera import Camera
from recon.types.capture import Capture, Photo, PhotoSource, PointCloud, View
from recon.types.distortion import PINHOLE, Lens
from recon.types.drop import Drop
from recon.types.gaussians import Gaussians
from recon.types.mesh import Mesh
from recon.types.observation import Observation
from recon.types.rays import Rays
from recon.types.render import Render
from recon.types.similarity import Similarity
from recon.types.volume import Volume

__all__ = [
    "PINHOLE", "Camera", "Capture", "Drop", "Gaussians", "Lens", "Mesh", "Observation", "Photo", "PhotoSource",
    "PointCloud", "Rays", "Render", "Similarity", "View", "Volume",
]
