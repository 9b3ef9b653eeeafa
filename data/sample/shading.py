"""Arithmetic on shader nodes, so that procedural textures read as formulas (see looks.py).

s = Shader("enamel")
x, y, z = s.position()
stripes = (x * 200).wave()           # nodes are made behind the scenes
s.surface(s.mix(stripes, BLUE, GOLD), roughness=0.2)
"""

from __future__ import annotations

import math

import bpy

Colour = tuple[float, float, float]  # linear RGB
Paint = Colour | bpy.types.NodeSocket


class Value:
    """One float of a shader: an output socket with the usual operators."""

    def __init__(self, shader: Shader, socket: bpy.types.NodeSocket) -> None:
        self.shader = shader
        self.socket = socket

    def op(self, operation: str, *others: Value | float) -> Value:
        """The math node `operation` on this value and `others`."""
        node = self.shader.nodes.new("ShaderNodeMath")
        node.operation = operation
        for slot, value in zip(node.inputs, (self, *others)):
            self.shader.feed(slot, value)
        return Value(self.shader, node.outputs[0])

    def __add__(self, other: Value | float) -> Value:
        return self.op("ADD", other)

    def __sub__(self, other: Value | float) -> Value:
        return self.op("SUBTRACT", other)

    def __mul__(self, other: Value | float) -> Value:
        return self.op("MULTIPLY", other)

    def __truediv__(self, other: Value | float) -> Value:
        return self.op("DIVIDE", other)

    def __lt__(self, other: Value | float) -> Value:
        return self.op("LESS_THAN", other)

    def __gt__(self, other: Value | float) -> Value:
        return self.op("GREATER_THAN", other)

    __radd__ = __add__
    __rmul__ = __mul__

    def abs(self) -> Value:
        return self.op("ABSOLUTE")

    def floor(self) -> Value:
        return self.op("FLOOR")

    def sin(self) -> Value:
        return self.op("SINE")

    def wrap(self, period: float) -> Value:
        """The remainder in [0, period), also for negative values."""
        return self.op("FLOORED_MODULO", period)

    def between(self, low: Value | float, high: Value | float) -> Value:
        """1 inside (low, high), else 0."""
        return (self > low) * (self < high)

    def ramp(self, low: float, high: float) -> Value:
        """Smooth step from 0 at `low` to 1 at `high`."""
        node = self.shader.nodes.new("ShaderNodeMapRange")
        node.interpolation_type = "SMOOTHSTEP"
        for slot, value in zip(node.inputs, (self, low, high, 0.0, 1.0)):
            self.shader.feed(slot, value)
        return Value(self.shader, node.outputs[0])

    def wave(self) -> Value:
        """A sine in 0..1."""
        return self.sin() * 0.5 + 0.5


class Shader:
    """A material under construction."""

    def __init__(self, name: str) -> None:
        self.material = bpy.data.materials.new(name)
        self.material.use_nodes = True
        self.nodes = self.material.node_tree.nodes
        self.links = self.material.node_tree.links
        self.nodes.clear()
        self._vector: bpy.types.NodeSocket | None = None

    def feed(self, slot: bpy.types.NodeSocket, value: object) -> None:
        """Connect a Value or socket to an input, or set its constant."""
        if isinstance(value, Value):
            self.links.new(value.socket, slot)
        elif isinstance(value, bpy.types.NodeSocket):
            self.links.new(value, slot)
        elif isinstance(value, tuple) and slot.type == "RGBA":
            slot.default_value = (*value, 1.0)
        else:
            slot.default_value = value

    def object_vector(self) -> bpy.types.NodeSocket:
        """Position in the object's own frame, metres."""
        if self._vector is None:
            self._vector = self.nodes.new("ShaderNodeTexCoord").outputs["Object"]
        return self._vector

    def position(self) -> tuple[Value, Value, Value]:
        """x, y, z in the object's own frame, metres."""
        node = self.nodes.new("ShaderNodeSeparateXYZ")
        self.links.new(self.object_vector(), node.inputs[0])
        x, y, z = (Value(self, out) for out in node.outputs)
        return x, y, z

    def polar(self) -> tuple[Value, Value]:
        """Distance from the z axis in metres and angle in -pi..pi."""
        x, y, _ = self.position()
        return (x * x + y * y).op("SQRT"), y.op("ARCTAN2", x)

    def noise(
        self,
        scale: float,
        *,
        stretch: Colour = (1.0, 1.0, 1.0),
        detail: float = 4.0,
        distortion: float = 0.0,
        seed: float = 0.0,
    ) -> Value:
        """Fractal noise in about 0..1 with features of 1/scale metres, divided by `stretch` per axis."""
        mapping = self.nodes.new("ShaderNodeMapping")
        self.links.new(self.object_vector(), mapping.inputs["Vector"])
        mapping.inputs["Scale"].default_value = stretch
        mapping.inputs["Location"].default_value = (seed, 0.7 * seed, 0.3 * seed)
        node = self.nodes.new("ShaderNodeTexNoise")
        self.links.new(mapping.outputs[0], node.inputs["Vector"])
        for key, value in (("Scale", scale), ("Detail", detail), ("Distortion", distortion)):
            node.inputs[key].default_value = value
        return Value(self, node.outputs[0])

    def cells(self, scale: float) -> Value:
        """Distance to the nearest of random points, in units of their spacing."""
        node = self.nodes.new("ShaderNodeTexVoronoi")
        self.links.new(self.object_vector(), node.inputs["Vector"])
        node.inputs["Scale"].default_value = scale
        return Value(self, node.outputs["Distance"])

    def mix(self, share: Value | float, a: Paint, b: Paint) -> bpy.types.NodeSocket:
        """The colour (1 - share) a + share b; colours are linear RGB."""
        node = self.nodes.new("ShaderNodeMix")
        node.data_type = "RGBA"
        self.feed(node.inputs[0], share)
        self.feed(node.inputs[6], a)
        self.feed(node.inputs[7], b)
        return node.outputs[2]

    def surface(
        self,
        colour: Paint,
        *,
        roughness: Value | float = 0.5,
        metallic: Value | float = 0.0,
        coat: float = 0.0,
        coat_roughness: float = 0.1,
        bump: Value | None = None,
        bump_depth: float = 0.0005,
    ) -> bpy.types.Material:
        """Finish: a principled surface. `bump` only tilts shading normals; the geometry stays the exported mesh."""
        node = self.nodes.new("ShaderNodeBsdfPrincipled")
        output = self.nodes.new("ShaderNodeOutputMaterial")
        self.links.new(node.outputs[0], output.inputs["Surface"])
        inputs = {
            "Base Color": colour, "Roughness": roughness, "Metallic": metallic,
            "Coat Weight": coat, "Coat Roughness": coat_roughness,
        }  # fmt: skip
        for key, value in inputs.items():
            self.feed(node.inputs[key], value)
        if bump is not None:
            relief = self.nodes.new("ShaderNodeBump")
            self.feed(relief.inputs["Height"], bump)
            relief.inputs["Distance"].default_value = bump_depth
            self.links.new(relief.outputs[0], node.inputs["Normal"])
        return self.material


def star(radius: Value, angle: Value, points: int, tip: float, notch: float, turn: float = 0.0) -> tuple[Value, Value]:
    """An n-pointed star with straight edges: (1 inside else 0, 1 on the left half of each point else 0).

    Tips lie at radius `tip`, notches between them at `notch`; `turn` rotates it, radians.
    """
    half = math.pi / points
    within = (angle + (half - turn)).wrap(2 * half) - half
    t = within.abs()
    edge = (t.sin() * tip + (t * -1.0 + half).sin() * notch).op("POWER", -1.0) * (tip * notch * math.sin(half))
    return radius < edge, within > 0.0
