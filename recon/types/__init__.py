"""Plain data: frozen dataclasses of tensors that every part of the engine shares."""

from recon.types.camera import Camera
from recon.types.capture import Capture, Photo, PhotoSource, PointCloud, View
from recon.types.distortion import PINHOLE, Lens
from recon.types.drop import Drop
from recon.types.gaussians import Gaussians
from recon.types.mesh import Mesh
from recon.types.observation import Observation
from recon.types.render import Render
from recon.types.similarity import Similarity

__all__ = [
    "PINHOLE", "Camera", "Capture", "Drop", "Gaussians", "Lens", "Mesh", "Observation", "Photo", "PhotoSource",
    "PointCloud", "Render", "Similarity", "View",
]
