"""Materials of the sample scene: every texture is a formula in the object's own coordinates (see shading.py)."""

from __future__ import annotations

import math
from functools import cache

import bpy
from shading import Colour, Shader, star

WALNUT_DARK: Colour = (0.045, 0.018, 0.008)
WALNUT: Colour = (0.16, 0.066, 0.026)
CHERRY: Colour = (0.36, 0.135, 0.05)
MAPLE: Colour = (0.72, 0.46, 0.22)
INDIGO: Colour = (0.012, 0.045, 0.16)
TEAL: Colour = (0.02, 0.17, 0.19)
GOLD: Colour = (0.85, 0.52, 0.16)
IVORY: Colour = (0.82, 0.74, 0.58)


@cache
def brass() -> bpy.types.Material:
    """Polished brass with faint wear."""
    s = Shader("brass")
    wear = s.noise(90.0, detail=5.0)
    colour = s.mix(wear.ramp(0.35, 0.7), (0.62, 0.36, 0.11), (0.93, 0.64, 0.27))
    return s.surface(colour, metallic=1.0, roughness=wear * 0.2 + 0.2)


@cache
def walnut() -> bpy.types.Material:
    """Dark turned wood under glossy varnish."""
    s = Shader("walnut")
    grain = s.noise(140.0, stretch=(0.25, 1.0, 1.0), detail=6.0, distortion=0.6)
    colour = s.mix(grain.ramp(0.36, 0.64), WALNUT_DARK, (0.24, 0.088, 0.03))
    return s.surface(colour, roughness=0.4, coat=0.7, coat_roughness=0.12, bump=grain, bump_depth=0.0004)


@cache
def table_top() -> bpy.types.Material:
    """Marquetry: a 16-point compass rose in a ring of squares, radial boards outside."""
    s = Shader("table top")
    r, a = s.polar()
    along_x = s.noise(110.0, stretch=(0.09, 1.0, 1.0), detail=3.0)
    along_y = s.noise(110.0, stretch=(1.0, 0.09, 1.0), detail=3.0, seed=3.1)

    def wood(dark: Colour, light: Colour, turned: bool = False) -> bpy.types.NodeSocket:
        grain = along_y if turned else along_x
        return s.mix(grain.ramp(0.33, 0.67), dark, light)

    maple = wood((0.50, 0.275, 0.10), (0.80, 0.56, 0.30), turned=True)
    walnut_wood = wood((0.05, 0.02, 0.009), (0.15, 0.062, 0.026))
    cherry = wood((0.20, 0.058, 0.018), (0.42, 0.15, 0.055))
    teal = wood((0.012, 0.085, 0.10), (0.035, 0.20, 0.21))
    red = wood((0.24, 0.022, 0.012), (0.44, 0.06, 0.03), turned=True)

    boards = 20
    board = (a * (boards / (2 * math.pi))).floor()
    shade = (board * 12.9898).sin().wrap(1.0)
    field = s.mix(shade * 0.5 + 0.1, cherry, maple)
    seam = (r * (a * boards / 2).sin().abs()) * (2 / boards)
    field = s.mix(seam < 0.0006, field, (0.02, 0.008, 0.004))

    for points, tip, notch, turn, left, right in (
        (8, 0.205, 0.125, math.pi / 8, cherry, maple),
        (4, 0.230, 0.085, math.pi / 4, teal, maple),
        (4, 0.262, 0.075, 0.0, red, maple),
    ):
        inside, _ = star(r, a, points, tip + 0.004, notch + 0.003, turn)
        field = s.mix(inside, field, walnut_wood)  # a dark line around each star
        inside, half = star(r, a, points, tip, notch, turn)
        field = s.mix(inside, field, s.mix(half, right, left))

    squares = (a * (96 / (2 * math.pi))).floor() + ((r - 0.276) * (1 / 0.0105)).floor()
    checks = s.mix(squares.wrap(2.0), maple, walnut_wood)
    field = s.mix(r.between(0.272, 0.301), field, walnut_wood)
    field = s.mix(r.between(0.276, 0.297), field, checks)
    field = s.mix(r.between(0.310, 0.313), field, maple)
    field = s.mix(r > 0.316, field, walnut_wood)
    colour = s.mix(r.between(0.326, 0.3285), field, GOLD)
    return s.surface(colour, roughness=0.42, coat=0.35, coat_roughness=0.22)


@cache
def dial() -> bpy.types.Material:
    """The silvered dial plate: graduations every 5 degrees, enamel petals inside."""
    s = Shader("dial")
    r, a = s.polar()
    degree = (a * (72 / (2 * math.pi))).wrap(1.0)
    long_degree = (a * (12 / (2 * math.pi))).wrap(1.0)
    ticks = degree.between(0.38, 0.62) * r.between(0.050, 0.056)
    ticks = ticks.op("MAXIMUM", long_degree.between(0.46, 0.54) * r.between(0.045, 0.058))
    ticks = ticks.op("MAXIMUM", r.between(0.0435, 0.0445))
    ticks = ticks.op("MAXIMUM", r.between(0.0585, 0.0595))
    speckle = s.noise(300.0, detail=3.0)
    plate = s.mix(speckle, (0.66, 0.58, 0.42), (0.86, 0.80, 0.66))
    petals, half = star(r, a, 12, 0.042, 0.022)
    plate = s.mix(petals, plate, s.mix(half, (0.02, 0.10, 0.30), (0.45, 0.05, 0.03)))
    return s.surface(s.mix(ticks, plate, (0.02, 0.015, 0.012)), roughness=0.3, coat=0.4)


@cache
def zodiac() -> bpy.types.Material:
    """Twelve enamel segments with gold cells, stars and graduations."""
    s = Shader("zodiac")
    r, a = s.polar()
    cell = (a * (12 / (2 * math.pi))).floor()
    across = (a * (12 / (2 * math.pi))).wrap(1.0)
    enamel = s.mix(cell.wrap(2.0), INDIGO, TEAL)
    enamel = s.mix(cell.wrap(3.0) < 0.5, enamel, (0.36, 0.03, 0.025))
    enamel = s.mix(s.noise(500.0, detail=2.0).ramp(0.62, 0.72), enamel, IVORY)
    # one diamond and two dots per segment; `across` is about 73 mm long
    middle = (across - 0.5).abs() * 7.0 + (r - 0.1385).abs() * 140.0
    gold = middle.between(0.55, 0.8).op("MAXIMUM", middle < 0.3)
    dots = ((across - 0.5).abs() - 0.3).abs() * 10.0 + (r - 0.1385).abs() * 140.0
    gold = gold.op("MAXIMUM", dots < 0.35)
    gold = gold.op("MAXIMUM", (across - 0.5).abs() > 0.475)
    gold = gold.op("MAXIMUM", (r - 0.1385).abs() > 0.0085)
    fine = (a * (120 / (2 * math.pi))).wrap(1.0)
    gold = gold.op("MAXIMUM", fine.between(0.35, 0.65) * ((r - 0.1385).abs() > 0.0065))
    colour = s.mix(gold, enamel, (0.95, 0.62, 0.22))
    return s.surface(colour, metallic=gold, roughness=gold * 0.12 + 0.14, coat=0.5, coat_roughness=0.06)


@cache
def sun() -> bpy.types.Material:
    """Gilded, swirling orange glaze."""
    s = Shader("sun")
    swirl = s.noise(34.0, detail=6.0, distortion=2.2)
    colour = s.mix(swirl.ramp(0.35, 0.5), (0.72, 0.11, 0.006), (0.98, 0.42, 0.02))
    colour = s.mix(swirl.ramp(0.5, 0.66), colour, (1.0, 0.78, 0.22))
    return s.surface(colour, roughness=0.3, coat=0.9, coat_roughness=0.05)


@cache
def planet(name: str) -> bpy.types.Material:
    """A glazed planet: mercury, venus, earth, moon, mars, jupiter or saturn."""
    s = Shader(name)
    x, y, z = s.position()
    if name == "mercury":
        pits = s.cells(330.0)
        colour = s.mix(pits.ramp(0.15, 0.5), (0.12, 0.10, 0.09), (0.48, 0.42, 0.36))
    elif name == "venus":
        swirl = (z * 420.0 + s.noise(70.0, distortion=1.0) * 14.0).wave()
        colour = s.mix(swirl, (0.62, 0.29, 0.07), (0.93, 0.74, 0.42))
    elif name == "earth":
        land = s.noise(62.0, detail=7.0, seed=5.3)
        sea = s.mix(s.noise(120.0), (0.006, 0.05, 0.24), (0.02, 0.16, 0.42))
        soil = s.mix(s.noise(170.0, seed=2.0).ramp(0.4, 0.6), (0.05, 0.22, 0.035), (0.42, 0.28, 0.09))
        colour = s.mix(land.ramp(0.505, 0.525), sea, soil)
        clouds = s.noise(85.0, stretch=(1.0, 1.0, 2.2), detail=6.0, distortion=0.8, seed=9.0).ramp(0.56, 0.66)
        ice = (z.abs() + land * 0.006).ramp(0.0176, 0.0181)
        colour = s.mix(clouds.op("MAXIMUM", ice), colour, (0.92, 0.94, 0.95))
    elif name == "moon":
        colour = s.mix(s.cells(420.0).ramp(0.1, 0.5), (0.22, 0.22, 0.23), (0.74, 0.73, 0.70))
    elif name == "mars":
        dust = s.noise(95.0, detail=6.0, seed=1.0)
        colour = s.mix(dust.ramp(0.38, 0.6), (0.16, 0.03, 0.014), (0.72, 0.21, 0.06))
        colour = s.mix((z + dust * 0.003).ramp(0.0114, 0.0118), colour, (0.92, 0.88, 0.84))
    elif name == "jupiter":
        flow = s.noise(60.0, stretch=(1.0, 1.0, 3.0), detail=6.0, distortion=1.6)
        bands = (z * 560.0 + flow * 5.0).wave()
        broad = (z * 205.0 + flow * 2.0 + 1.0).wave()
        colour = s.mix(bands, (0.40, 0.12, 0.035), (0.88, 0.68, 0.43))
        colour = s.mix(broad * 0.6, colour, (0.72, 0.34, 0.12))
        spot = (x - 0.0205).op("POWER", 2.0) * 1.0 + (y + 0.006).op("POWER", 2.0) + (z + 0.008).op("POWER", 2.0) * 3.5
        colour = s.mix(spot.op("SQRT") < 0.0078, colour, (0.56, 0.07, 0.03))
    else:
        flow = s.noise(50.0, stretch=(1.0, 1.0, 3.0))
        colour = s.mix((z * 700.0 + flow * 4.0).wave(), (0.52, 0.29, 0.09), (0.90, 0.68, 0.34))
        colour = s.mix(z.ramp(0.014, 0.018), colour, (0.26, 0.34, 0.40))
    return s.surface(colour, roughness=0.35, coat=0.8, coat_roughness=0.05)


@cache
def saturn_ring() -> bpy.types.Material:
    """Concentric bands with the dark Cassini division."""
    s = Shader("saturn ring")
    r, _ = s.polar()
    bands = (r * 4200.0).wave() * 0.5 + (r * 1700.0 + 1.0).wave() * 0.5
    colour = s.mix(bands, (0.42, 0.25, 0.10), (0.93, 0.80, 0.56))
    colour = s.mix(r.between(0.0318, 0.0332), colour, (0.03, 0.02, 0.015))
    return s.surface(colour, roughness=0.3, coat=0.6)


@cache
def cloth(name: str, dark: Colour, light: Colour) -> bpy.types.Material:
    """Book cover: woven cloth with a gold frame and lozenge stamped on it. The cover is about 0.14 x 0.10 m."""
    s = Shader(name)
    x, y, _ = s.position()
    weave = (x * 2600.0).wave() * (y * 2600.0).wave()
    patch = s.noise(40.0, detail=6.0)
    colour = s.mix(patch.ramp(0.3, 0.7), dark, light)
    colour = s.mix(weave * 0.35, colour, dark)
    edge = ((x.abs() - 0.062) * 1.0).op("MAXIMUM", y.abs() - 0.042)
    gold = edge.between(-0.0022, 0.0).op("MAXIMUM", edge.between(-0.0062, -0.0050))
    lozenge = x.abs() * 0.75 + y.abs()
    gold = gold.op("MAXIMUM", lozenge.between(0.0245, 0.0265)).op("MAXIMUM", lozenge.between(0.016, 0.017))
    petals, _ = star((x * x + y * y).op("SQRT"), y.op("ARCTAN2", x), 8, 0.013, 0.005)
    gold = gold.op("MAXIMUM", petals)
    colour = s.mix(gold, colour, (0.90, 0.56, 0.18))
    return s.surface(colour, metallic=gold, roughness=gold * -0.3 + 0.65, bump=weave, bump_depth=0.0002)


@cache
def pages() -> bpy.types.Material:
    """The fore edge of a book: hundreds of sheets."""
    s = Shader("pages")
    _, _, z = s.position()
    sheets = s.noise(900.0, stretch=(0.01, 0.01, 1.0), detail=3.0)
    colour = s.mix(sheets.ramp(0.35, 0.65), (0.46, 0.35, 0.20), (0.86, 0.77, 0.58))
    colour = s.mix((z * 3800.0).wave() * 0.25, colour, (0.40, 0.29, 0.16))
    return s.surface(colour, roughness=0.8)


@cache
def paint(name: str, colour: Colour, speckle: Colour) -> bpy.types.Material:
    """Glossy paint with faint speckles."""
    s = Shader(name)
    spots = s.noise(420.0, detail=3.0).ramp(0.57, 0.66)
    return s.surface(s.mix(spots, colour, speckle), roughness=0.3, coat=0.8, coat_roughness=0.06)


@cache
def marble(name: str, a: Colour, b: Colour, c: Colour) -> bpy.types.Material:
    """A glazed ball with swirling bands of three colours."""
    s = Shader(name)
    x, y, z = s.position()
    swirl = s.noise(48.0, detail=3.0, distortion=1.2)
    bands = (x * 210.0 + y * 160.0 + z * 130.0 + swirl * 9.0).wave()
    colour = s.mix(bands.ramp(0.35, 0.45), a, b)
    return s.surface(s.mix(bands.ramp(0.82, 0.88), colour, c), roughness=0.15, coat=1.0, coat_roughness=0.03)
