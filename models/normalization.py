"""Mean and standard deviation of pixels; importable without torch."""

RGB = tuple[float, float, float]

MEAN: RGB = (0.485, 0.456, 0.406)
STD: RGB = (0.229, 0.224, 0.225)
"""Of ImageNet, for pixels scaled to 0..1; the default of training. A checkpoint stores its own."""
