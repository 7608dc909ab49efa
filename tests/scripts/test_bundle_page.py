"""The scripts that browsers get are those of the modules."""

import pytest

from scripts.bundle_page import ENTRY_POINTS, banner, modules_hash
from ui.memory_files import BUNDLES


@pytest.mark.parametrize("name", ENTRY_POINTS)
def test_the_bundle_was_made_from_the_present_modules(name: str):
    bundle = (BUNDLES / f"{name}.js").read_text(encoding="utf-8")

    assert bundle.splitlines()[0] == banner(), "run make page"
    assert not [line for line in bundle.splitlines() if line.startswith(("import ", "} from "))]


def test_the_hash_changes_with_a_name_and_with_a_content(tmp_path):
    hashes = set()
    for name, content in (("a.js", "1"), ("b.js", "1"), ("b.js", "2")):
        for old in tmp_path.iterdir():
            old.unlink()
        (tmp_path / name).write_text(content)
        hashes.add(modules_hash(tmp_path))

    assert len(hashes) == 3
