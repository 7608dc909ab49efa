from pathlib import Path
from typing import Any

import pytest

from serve.runtime.keys_file import key_digest
from serve.runtime.page_key import secure_page


def test_without_keys_nothing_changes(tmp_path: Path):
    page: dict[str, Any] = {}

    assert secure_page({"gateway": {}}, page, tmp_path) is None
    assert page == {} and not list(tmp_path.iterdir())


def test_the_page_gets_a_new_key_at_each_start_in_a_file_of_its_owner(tmp_path: Path):
    keys: list[str] = []
    for _ in range(2):
        api: dict[str, Any] = {"gateway": {"keys_file": "keys.yaml"}}
        page: dict[str, Any] = {}

        secure_page(api, page, tmp_path)

        file = Path(page["api_key_file"])
        assert file.stat().st_mode & 0o777 == 0o600
        assert api["gateway"]["page_key_sha256"] == key_digest(file.read_text())
        keys.append(file.read_text())
    assert keys[0] != keys[1]


def test_a_key_that_the_operator_gave_the_page_is_kept(tmp_path: Path):
    api: dict[str, Any] = {"gateway": {"keys_file": "keys.yaml"}}
    page: dict[str, Any] = {"api_key_file": "/run/secrets/page"}

    secure_page(api, page, tmp_path)

    assert page == {"api_key_file": "/run/secrets/page"} and "page_key_sha256" not in api["gateway"]


@pytest.mark.parametrize(
    ("access", "stated"),
    [
        (None, "the page is off, as access is not set"),
        ("open", "open to everybody"),
        ("proxy", "trusted proxy"),
    ],
)
def test_the_start_states_the_access_to_the_page(tmp_path: Path, access: str | None, stated: str):
    page = {"access": access} if access else {}

    notice = secure_page({"gateway": {"keys_file": "keys.yaml"}}, page, tmp_path)

    assert notice is not None and stated in notice
