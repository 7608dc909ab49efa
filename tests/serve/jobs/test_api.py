import json
from pathlib import Path
from typing import Any

from tests.serve.fakes import error_of, picture
from tests.serve.jobs.archives import tar_of, zip_of
from tests.serve.jobs.local_jobs import local_server


async def test_an_archive_is_scored_photo_by_photo(tmp_path: Path):
    photos = {f"case-{number}/a.jpg": picture() for number in range(70)} | {"broken.jpg": b"no photo"}

    async with local_server(tmp_path) as server:
        created = await server.post(zip_of(photos), headers={"x-request-id": "abc"})
        job = await server.wait(created["id"])
        rows = await server.rows(job["id"])
        single = (await server.http.post("/v1/lesion", content=picture())).json()

    assert (created["state"], created["photos"], created["request_id"]) == ("queued", 71, "abc")
    assert (job["scored"], job["errors"], job["model"]) == (71, 1, "lesion-fake@1")
    assert [row["name"] for row in rows] == list(photos)
    assert [row["index"] for row in rows] == list(range(71))
    assert rows[0]["result"] == single
    assert rows[-1]["error"]["code"] == "unsupported_type" and "result" not in rows[-1]
    assert not list((tmp_path / "photos").glob("*"))
