"""Write the messages of API and page into catalogues of each language: ``python -m scripts.catalogues``.

Translations of unchanged messages stay; new messages are empty, and unused ones are removed.
"""

from functools import cache
from itertools import product
from pathlib import Path

from babel import Locale
from babel.messages import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po, write_po

from serve.runtime.languages import DEFAULT_LANGUAGE, LANGUAGES, catalogue_path
from serve.schemas import DISCLAIMER

ROOT = Path(__file__).parents[1]
PACKAGES = {"serve": "the API", "ui": "the page"}
_METHODS = [("**.py", "python"), ("**.jinja", "jinja2.ext:babel_extract")]
_KEYWORDS = {"_": None, "N_": None, "NN_": (1, 2), "gettext": None, "ngettext": (1, 2)}
_OPTIONS = {
    "**.jinja": {
        "trim_blocks": "true",
        "lstrip_blocks": "true",
        "silent": "false",
        "newstyle_gettext": "true",
    }
}


@cache
def extract(package: str) -> Catalog:
    """Return all messages of a package, without translations; those of ``serve`` serve the page too.

    The catalogue is shared by all callers, who do not change it.
    """
    found = Catalog(project="skinserve", fuzzy=False)
    known = extract("serve") if package == "ui" else found
    if package == "ui":
        found.add(DISCLAIMER)
    for path, _, message, _, _ in extract_from_dir(ROOT / package, _METHODS, _OPTIONS, _KEYWORDS):
        if package == "serve" or message not in known:
            found.add(message, locations=[(f"{package}/{path}", 1)])
    return found


def update(package: str, language: str) -> Catalog:
    """Return the messages of ``extract`` with the translations of a catalogue, which need not exist."""
    messages = extract(package)
    path = catalogue_path(ROOT / package / "locales", language)
    known = Catalog(locale=language, project="skinserve", fuzzy=False)
    if path.exists():
        with path.open("rb") as file:
            known = read_po(file, locale=language)
    creation_date = known.creation_date
    known.update(messages, no_fuzzy_matching=True)
    known.creation_date = creation_date  # unchanged messages leave the file unchanged
    known.obsolete.clear()
    name = Locale.parse(language).english_name
    known.header_comment = f"# {name} texts of {PACKAGES[package]} of skinserve; see CONTRIBUTING.md."
    known.version = known.msgid_bugs_address = known.last_translator = known.language_team = ""
    return known


def main() -> None:
    """Update the catalogues of all languages."""
    for package, language in product(PACKAGES, LANGUAGES):
        if language == DEFAULT_LANGUAGE:
            continue
        path = catalogue_path(ROOT / package / "locales", language)
        messages = update(package, language)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            write_po(file, messages, width=0, include_lineno=False)
        print(f"{path.relative_to(ROOT)}: {len(messages)} messages, {len(untranslated(messages))} empty")


def untranslated(messages: Catalog) -> list[str]:
    """Return the messages with a missing, incomplete or unchecked ("fuzzy") translation."""
    missing = []
    for message in messages:
        strings = [message.string] if isinstance(message.string, str) else list(message.string or [""])
        if message.id and (message.fuzzy or not all(strings)):
            missing.append(message.id if isinstance(message.id, str) else message.id[0])
    return missing


if __name__ == "__main__":
    main()
