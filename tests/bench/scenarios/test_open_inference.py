import json
import struct

import pytest

from bench.scenarios.open_inference import read_probability, summarize, v1_request, v2_request
from serve.lesion.open_inference import INPUTS
from serve.open_inference.request_body import read_request
from tests.serve.open_inference_specs import OUTPUTS


def test_both_requests_carry_the_same_photo():
    one, two = v1_request(b"photo"), v2_request(b"photo")
    content = json.loads(two.body[: int(two.headers["Inference-Header-Content-Length"])])
    content["outputs"] = []

    header = json.dumps(content).encode()
    data = two.body[int(two.headers["Inference-Header-Content-Length"]) :]
    request = read_request(header + data, str(len(header)), inputs=INPUTS, outputs=OUTPUTS, parameters=())

    assert one.body == b"photo" and request.inputs == {"photo": [b"photo"]}


def test_the_probability_is_read_from_a_binary_response():
    outputs = [
        {"name": "verdict", "parameters": {"binary_data_size": 6}},
        {"name": "malignant_probability", "parameters": {"binary_data_size": 4}},
    ]
    header = json.dumps({"outputs": outputs}).encode()

    found = read_probability(header + b"\2\0\0\0ok" + struct.pack("<f", 0.25), len(header))

    assert found == pytest.approx(0.25)


def test_noise_lowers_the_lower_bound():
    equal = summarize([10.0, 20.0, 30.0], [11.0, 22.0, 33.0])
    noisy = summarize([10.0, 10.0, 10.0, 10.0], [9.0, 11.0, 9.0, 11.0])

    assert equal["ratio_lower_95"] == pytest.approx(equal["ratio"], abs=1e-4)
    assert noisy["ratio_lower_95"] < 0.95 < noisy["ratio"]
