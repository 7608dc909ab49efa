"""Classify photos with tritonclient over HTTP or gRPC; print the results as JSON.

Run in the environment of requirements.lock: ``classify.py http|grpc ADDRESS KEY FOLDER``.
"""

import base64
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

kind, address, key, folder = sys.argv[1:]
if kind == "http":
    import tritonclient.http as triton  # pyright: ignore[reportMissingImports]
else:
    import tritonclient.grpc as triton  # pyright: ignore[reportMissingImports]
from tritonclient.utils import InferenceServerException  # noqa: E402  # pyright: ignore[reportMissingImports]

HEADERS = {"x-api-key": key}
if kind == "grpc":
    HEADERS["application"] = "api"
PHOTOS = [path.read_bytes() for path in sorted(Path(folder).glob("*.jpg"))]
PIXELS = np.load(Path(folder) / "pixels.npy")
client: Any = triton.InferenceServerClient(address)
found: dict[str, Any] = {}


def photo_input(photos: list[bytes], **options: Any) -> Any:
    tensor = triton.InferInput("photo", [len(photos)], "BYTES")
    tensor.set_data_from_numpy(np.array(photos, object), **options)
    return tensor


def infer(tensor: Any, *outputs: str, model: str = "lesion", headers: Any = HEADERS, **options: Any) -> Any:
    wanted = [triton.InferRequestedOutput(name) for name in outputs] or None
    return client.infer(model, [tensor], outputs=wanted, headers=dict(headers), **options)


def values(result: Any, *names: str) -> dict[str, Any]:
    read: dict[str, Any] = {}
    for name in names:
        array = result.as_numpy(name)
        read[name] = [one.decode() for one in array] if array.dtype == object else array.tolist()
    return read


def error_of(*arguments: Any, **options: Any) -> list[str]:
    try:
        infer(*arguments, **options)
    except InferenceServerException as error:
        return [str(error.status()), str(error.message())]
    return []


found["live"], found["ready"] = client.is_server_live(HEADERS), client.is_server_ready(HEADERS)
found["model_ready"] = client.is_model_ready("lesion", headers=HEADERS)
found["unknown_ready"] = client.is_model_ready("nothing", headers=HEADERS)
as_json = {} if kind == "http" else {"as_json": True}
metadata = client.get_model_metadata("lesion", headers=HEADERS, **as_json)
found["inputs"] = [one["name"] for one in metadata["inputs"]]
found["server"] = client.get_server_metadata(headers=HEADERS, **as_json)["name"]
index = client.get_model_repository_index(headers=HEADERS, **as_json)
found["index"] = [one["name"] for one in (index if kind == "http" else index["models"])]

names = ("verdict", "malignant_probability", "diagnosis", "diagnoses", "reasons", "usable", "lesion_box")
result = infer(photo_input(PHOTOS), request_id="my-id")
response = result.get_response(**as_json)
found["id"] = response["id"]
found["model"] = [response["model_name"], response["model_version"]]
found["batch"] = values(result, *names)
found["single"] = [values(infer(photo_input([one])), *names) for one in PHOTOS]
found["answers"] = values(infer(photo_input(PHOTOS), "answer", "labels"), "answer", "labels")
pixels = triton.InferInput("image", PIXELS.shape, "UINT8")
pixels.set_data_from_numpy(PIXELS)
found["pixels"] = values(infer(pixels), "verdict", "malignant_probability")
found["gzip"] = values(
    infer(photo_input(PHOTOS), **{"http": {"request_compression_algorithm": "gzip"}}.get(kind, {})), "verdict"
)
if kind == "http":
    texts = np.array([base64.b64encode(one) for one in PHOTOS], object)
    plain = triton.InferInput("photo", [len(texts)], "BYTES")
    plain.set_data_from_numpy(texts, binary_data=False)
    wanted = [triton.InferRequestedOutput("malignant_probability", binary_data=False)]
    found["json"] = values(
        client.infer("lesion", [plain], outputs=wanted, headers=HEADERS), "malignant_probability"
    )

bad = [PHOTOS[0], b"<html>"]
found["bad"] = error_of(photo_input(bad))
found["bad_kept"] = values(infer(photo_input(bad), "error", "verdict"), "error", "verdict")
found["unknown_output"] = error_of(photo_input(PHOTOS), "nothing")
found["unknown_model"] = error_of(photo_input(PHOTOS), model="nothing")
found["wrong_key"] = error_of(photo_input(PHOTOS), headers={**HEADERS, "x-api-key": "wrong"})
found["no_key"] = error_of(photo_input(PHOTOS), headers={"application": "api"})
statistics = client.get_inference_statistics("lesion", headers=HEADERS, **as_json)
found["statistics"] = int(statistics["model_stats"][0]["inference_count"])
json.dump(found, sys.stdout)
