"""Sampled parameters of a synthetic series: lesions over time, camera, absent photos; no pixels.

Ranges are lowest and highest. Axes: T photo, K lesion, C colour.
"""

from dataclasses import dataclass, replace

import numpy as np

from train.progress.synthetic.rendering import Blush, Camera, Lesions

Range = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class SeriesDrawing:
    """Ranges of lesions, photos and camera of synthetic series."""

    num_photos: tuple[int, int] = (2, 12)
    absent_chance: float = 0.1
    """Probability that a photo has no face; two faces remain."""
    one_photo_chance: float = 0.25
    """Probability that a series is drawn on one photo of the person throughout."""
    num_lesions: tuple[int, int] = (12, 60)
    """At the highest severity."""
    radius: Range = (0.035, 0.075)
    """Of a lesion's core, as a fraction of the distance between the eyes."""
    start: Range = (0.0, 0.4)
    """Severity, 0 to 1, at the milder end."""
    change: Range = (0.5, 1.0)
    """Difference of severity at the other end, at most up to severity 1."""
    no_change_chance: float = 0.45
    """Probability that a series has relapses but no change; its target is 0.5."""
    unmodified_chance: float = 0.4
    """Probability that a no-change series has no drawn lesions: photos of the person on different days."""
    relapse: float = 0.07
    """Standard deviation of a photo's severity from its trend."""
    turn_deg: float = 2.0
    scale: float = 0.05
    shift: float = 0.015
    """Rest of the pose after the alignment by landmarks, and a little more."""
    gain: float = 0.12
    white_balance: float = 0.05
    side_light: float = 0.15
    side_tint: float = 0.03
    """Standard deviation between the colour channels of the side light."""
    blur_px: float = 0.6
    noise: float = 4.0
    jpeg_quality: tuple[int, int] = (45, 95)
    saturation: float = 0.0
    """Standard deviation of the logarithm of a photo's saturation."""
    gamma: float = 0.1
    """Standard deviation of the logarithm of a photo's gamma."""
    num_blushes: tuple[int, int] = (0, 0)
    """Wide red areas of one person that do not change."""
    altered_chance: float = 0.0
    """Probability that a photo has one of ``ALTERATIONS``: other light, distance, blur, glasses."""
    sharpness: Range = (1.5, 1.5)
    """Of the edges of lesions."""
    tint: float = 0.0
    """Standard deviation of the logarithm of the absorbed light for each colour, by person."""

    def __post_init__(self) -> None:
        if not 2 <= self.num_photos[0] <= self.num_photos[1]:
            raise ValueError(f"num_photos is {self.num_photos}, must be at least 2, lowest first")
        if not 0 <= self.absent_chance < 1:
            raise ValueError(f"absent_chance is {self.absent_chance}, must be at least 0 and below 1")
        for name in ("one_photo_chance", "no_change_chance", "unmodified_chance", "altered_chance"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}, a chance is 0 to 1")
        for name in ("num_lesions", "radius", "start", "change", "jpeg_quality"):
            low, high = getattr(self, name)
            if not 0 <= low <= high:
                raise ValueError(f"{name} is ({low}, {high}), must be lowest first and not negative")
        if self.start[1] + self.change[0] > 1:
            raise ValueError(f"start {self.start} plus change {self.change} leaves no room below severity 1")


def for_validation(drawing: SeriesDrawing) -> SeriesDrawing:
    """Return the ranges of the validation set: wider than in training, without no-change series."""
    return replace(
        drawing,
        no_change_chance=0.0,
        radius=(0.03, 0.08),
        num_lesions=(10, 70),
        turn_deg=2.5,
        gain=0.14,
        noise=5.0,
        relapse=0.08,
    )


def for_no_change_validation(drawing: SeriesDrawing) -> SeriesDrawing:
    """Return the ranges of no-change controls: lesions that relapse but do not change."""
    return replace(for_validation(drawing), no_change_chance=1.0, unmodified_chance=0.0)


def for_other_renderer(drawing: SeriesDrawing) -> SeriesDrawing:
    """Return ranges outside of training: brown, purple and pink lesions, hard edges, stronger camera.

    No network is trained on them. They show how much it depends on the lesions of its training.
    """
    return replace(
        for_validation(drawing),
        num_lesions=(8, 50),
        radius=(0.035, 0.11),
        sharpness=(0.8, 4.0),
        tint=0.25,
        relapse=0.1,
        blur_px=1.0,
        noise=7.0,
        jpeg_quality=(30, 80),
    )


@dataclass(frozen=True, kw_only=True)
class Trajectory:
    """Lesions of one person over time."""

    lesions_T: tuple[Lesions | None, ...]
    """None: no drawn lesions."""
    trend_T: np.ndarray
    """Severity, 0 to 1, without relapses."""
    blush: Blush | None = None


def draw_length(drawing: SeriesDrawing, rng: np.random.Generator) -> int:
    """Sample a number of photos; short series are more frequent."""
    low, high = drawing.num_photos
    return int(np.exp(rng.uniform(np.log(low), np.log(high + 1))))


def draw_worsening(drawing: SeriesDrawing, rng: np.random.Generator, num_photos: int) -> Trajectory:
    """Sample the lesions of one person at ``num_photos`` times, mildest first, at fixed positions.

    Number, size and redness depend on one severity, each to its own degree; number or redness always does.
    Moles do not, nor do lesions that appear and disappear at random.
    """
    blush = _draw_blush(drawing, rng)
    no_change = rng.random() < drawing.no_change_chance
    trend_T = _draw_trend(drawing, rng, num_photos, no_change=no_change)
    if no_change and rng.random() < drawing.unmodified_chance:
        return Trajectory(lesions_T=(None,) * num_photos, trend_T=trend_T, blush=blush)
    severity_T = np.clip(trend_T + rng.normal(0, drawing.relapse, num_photos), 0, 1)
    follows_number, follows_redness = (1, 1) if rng.random() < 0.6 else rng.permutation(2)
    by_number = follows_number * rng.uniform(0.6, 1.0)
    by_redness = follows_redness * rng.uniform(0.5, 0.9)
    by_size = rng.uniform(0.0, 0.5)

    most = round(float(np.exp(rng.uniform(*np.log(drawing.num_lesions)))))
    num_moles = int(rng.integers(0, 4))
    brown_K = np.arange(most + num_moles) >= most
    position_K2 = _sample_positions(rng, len(brown_K))
    radius_K = np.exp(
        rng.uniform(np.log(drawing.radius[0]), np.log(drawing.radius[1]), len(brown_K))
    ) * rng.uniform(0.8, 1.2)
    patch_K = ~brown_K & (rng.random(len(brown_K)) < rng.choice([0.0, 0.15]))
    halo_K = np.where(patch_K, rng.uniform(3, 5, len(brown_K)), rng.uniform(1.4, 2.6, len(brown_K)))
    redness_K = rng.uniform(0.6, 1.0) * rng.uniform(0.7, 1.0, len(brown_K))
    sharpness, tint_C = _draw_look(drawing, rng)
    lesions_T: list[Lesions] = []
    for severity in severity_T:
        number = most * (1 - by_number + by_number * severity) + 0.5
        there_K = np.clip(number - np.arange(len(brown_K)) + rng.normal(0, 1, len(brown_K)), 0, 1)
        strength_K = there_K * redness_K * (1 - by_redness + by_redness * severity)
        lesions_T.append(
            Lesions(
                position_K2=position_K2,
                radius_K=np.where(brown_K, radius_K, radius_K * (1 - by_size + by_size * severity)),
                halo_K=halo_K,
                strength_K=np.where(brown_K, redness_K, strength_K),
                brown_K=brown_K,
                sharpness=sharpness,
                tint_C=tint_C,
            )
        )
    return Trajectory(lesions_T=tuple(lesions_T), trend_T=trend_T, blush=blush)


def _draw_blush(drawing: SeriesDrawing, rng: np.random.Generator) -> Blush | None:
    low, high = drawing.num_blushes
    if not high:  # draws no random number: series of older settings stay as they were
        return None
    count = int(rng.integers(low, high + 1))
    return Blush(
        position_K2=rng.uniform([-0.9, -0.7], [0.9, 1.7], (count, 2)),
        radius_K=rng.uniform(0.15, 0.5, count),
        strength_K=rng.uniform(0.1, 0.6, count),
    )


def _draw_look(drawing: SeriesDrawing, rng: np.random.Generator) -> tuple[float, tuple[float, float, float]]:
    """Sample sharpness and tint of one person's lesions; no random number if both are constant."""
    low, high = drawing.sharpness
    sharpness = float(rng.uniform(low, high)) if low < high else low
    if not drawing.tint:
        return sharpness, (1.0, 1.0, 1.0)
    red, green, blue = np.exp(rng.normal(0, drawing.tint, 3))
    return sharpness, (float(red), float(green), float(blue))


def _draw_trend(
    drawing: SeriesDrawing, rng: np.random.Generator, num_photos: int, *, no_change: bool
) -> np.ndarray:
    start = rng.uniform(*drawing.start)
    change = rng.uniform(drawing.change[0], min(drawing.change[1], 1 - start))
    if no_change:
        return np.full(num_photos, start + change * rng.random())
    way_T = np.concatenate([[0], np.sort(rng.random(num_photos - 2)), [1]])
    return start + change * way_T


def draw_camera(drawing: SeriesDrawing, rng: np.random.Generator) -> Camera:
    """Sample the camera of one photo."""
    gain = np.exp(rng.normal(0, drawing.gain) + rng.normal(0, drawing.white_balance, 3))
    side = rng.uniform(0, drawing.side_light) + rng.normal(0, drawing.side_tint, 3)
    x, y = rng.uniform(-drawing.shift, drawing.shift, 2)
    saturation = float(np.exp(rng.normal(0, drawing.saturation))) if drawing.saturation else 1.0
    return Camera(
        turn_deg=rng.uniform(-drawing.turn_deg, drawing.turn_deg),
        scale=float(np.exp(rng.uniform(-drawing.scale, drawing.scale))),
        shift_2=(float(x), float(y)),
        gain_C=(float(gain[0]), float(gain[1]), float(gain[2])),
        gamma=float(np.exp(rng.normal(0, drawing.gamma))),
        saturation=saturation,
        side_light_C=(float(side[0]), float(side[1]), float(side[2])),
        side_light_deg=rng.uniform(0, 360),
        blur_px=rng.uniform(0, drawing.blur_px),
        noise=rng.uniform(0, drawing.noise),
        jpeg_quality=int(rng.integers(drawing.jpeg_quality[0], drawing.jpeg_quality[1] + 1)),
    )


def draw_present(drawing: SeriesDrawing, rng: np.random.Generator, num_photos: int) -> np.ndarray:
    """Sample whether each photo has a face: bool (T,), at least two true."""
    present_T = rng.random(num_photos) >= drawing.absent_chance
    present_T[rng.choice(num_photos, 2, replace=False)] = True
    return present_T


def _sample_positions(rng: np.random.Generator, count: int) -> np.ndarray:
    """Sample positions on the skin of the face, (count, 2); half near a few centres, as in acne."""
    centres = rng.uniform([-0.8, -0.8], [0.8, 1.7], (3, 2))
    positions: list[np.ndarray] = []
    while len(positions) < count:
        position = rng.uniform([-1.0, -0.9], [1.0, 1.8])
        if rng.random() < 0.5:
            position = centres[rng.integers(3)] + rng.normal(0, 0.25, 2)
        x, y = position
        on_face = (x / 0.95) ** 2 + ((y - 0.45) / 1.3) ** 2 < 1
        on_feature = (abs(y) < 0.22 and 0.2 < abs(x) < 0.8) or (abs(y - 1.1) < 0.2 and abs(x) < 0.5)
        if on_face and not on_feature:
            positions.append(position)
    return np.array(positions).reshape(count, 2)
