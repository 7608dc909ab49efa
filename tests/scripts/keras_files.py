"""Keras's ResNet50 with drawn weights, in TensorFlow.js's files."""

import json
from pathlib import Path

import numpy as np

STAGES = {2: (3, 64, 256), 3: (4, 128, 512), 4: (6, 256, 1024), 5: (3, 512, 2048)}
"""Of Keras's network: blocks, channels inside a block, channels after it."""

Arrays = dict[str, np.ndarray]


def draw_keras_arrays() -> Arrays:
    """Return every kernel, bias and batch norm of Keras's ResNet50, drawn, by Keras's names."""
    random = np.random.default_rng(0)
    arrays: Arrays = {}

    def draw(name: str, norm: str, side: int, inputs: int, outputs: int) -> None:
        scale = (side * side * inputs) ** -0.5 / (50 if name == "conv1" else 1)  # its pixels go to 255
        arrays[f"{name}/kernel"] = random.normal(0, scale, (side, side, inputs, outputs))
        arrays[f"{name}/bias"] = random.normal(0, 0.1, outputs)
        arrays[f"{norm}/gamma"] = random.uniform(0.3, 0.7, outputs)
        arrays[f"{norm}/beta"] = random.normal(0, 0.1, outputs)
        arrays[f"{norm}/moving_mean"] = random.normal(0, 0.1, outputs)
        arrays[f"{norm}/moving_variance"] = random.uniform(0.002, 1, outputs)

    draw("conv1", "bn_conv1", 7, 3, 64)
    before = 64
    for stage, (num_blocks, inner, after) in STAGES.items():
        for block in "abcdef"[:num_blocks]:
            sizes = {"2a": (1, before, inner), "2b": (3, inner, inner), "2c": (1, inner, after)}
            if block == "a":
                sizes["1"] = (1, before, after)
            for branch, (side, inputs, outputs) in sizes.items():
                name = f"{stage}{block}_branch{branch}"
                draw(f"res{name}", f"bn{name}", side, inputs, outputs)
            before = after
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def write_keras_model(arrays: Arrays, folder: Path) -> Path:
    """Write a list of names and shapes, and bytes cut anywhere, as TensorFlow.js; return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    content = b"".join(array.tobytes() for array in arrays.values())
    weights = [
        {"name": name, "shape": list(array.shape), "dtype": "float32"} for name, array in arrays.items()
    ]
    paths = ["group1-shard1of2.bin", "group1-shard2of2.bin"]
    cut = len(content) // 3
    (folder / paths[0]).write_bytes(content[:cut])
    (folder / paths[1]).write_bytes(content[cut:])
    (folder / "model.json").write_text(
        json.dumps({"weightsManifest": [{"paths": paths, "weights": weights}]})
    )
    return folder
