import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import models.face
from models.face.mtcnn import LANDMARKS_PX, NETWORKS, REFINEMENT_PX
from scripts.convert_mtcnn import Settings, load_networks, main

SIDES_PX = {"proposals": 61, "refinement": REFINEMENT_PX, "landmarks": LANDMARKS_PX}


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("converted")
    main(Settings(out=folder))
    return {name: (folder / f"mtcnn_{name}.onnx").read_bytes() for name in NETWORKS}


def test_the_networks_in_the_package_are_those_that_the_script_writes(converted: dict[str, bytes]):
    folder = Settings().out

    assert folder.samefile(next(iter(models.face.__path__)))
    for name, content in converted.items():
        assert onnx.load_from_string(content) == onnx.load(folder / f"mtcnn_{name}.onnx")


@pytest.mark.parametrize("number", range(len(NETWORKS)))
@torch.inference_mode()
def test_a_converted_network_gives_the_outputs_of_the_package(converted: dict[str, bytes], number: int):
    name = NETWORKS[number]
    side = SIDES_PX[name]
    image_NHWC = np.random.default_rng(number).integers(0, 256, (3, side, side, 3)).astype(np.float32)
    net, _ = load_networks()[number]
    outputs = net((torch.from_numpy(image_NHWC).permute(0, 3, 1, 2) - 127.5) / 128)
    *others, classes = outputs
    correction, *landmarks = others

    session = onnxruntime.InferenceSession(converted[name])
    found = list(map(np.asarray, session.run(None, {"image_NHWC": image_NHWC})))

    np.testing.assert_allclose(found[0], classes[:, 1], atol=1e-5)
    np.testing.assert_allclose(found[1], correction, atol=1e-5)
    for one, expected in zip(found[2:], landmarks, strict=True):
        np.testing.assert_allclose(one.reshape(3, 10), expected, atol=1e-5)
