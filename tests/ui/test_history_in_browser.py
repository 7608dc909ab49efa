"""The history in headless Chromium; nothing of it reaches a server."""

from pathlib import Path

import pytest
from playwright.sync_api import Dialog, Locator, Page, expect

from tests.ui.conftest import FakeApi, lesion_answer, on_every_screen, progress_answer
from tests.ui.test_lesion_in_browser import add, file_of, jpeg, verdict

pytestmark = [
    pytest.mark.browser,
    pytest.mark.filterwarnings(
        "ignore:'future.no_silent_downcasting' is deprecated"
    ),  # by Gradio's statistics
]

PASSPHRASE = "a long passphrase"
EVIL = "<img src=x onerror=alert(1)>"


def history(page: Page) -> Locator:
    return page.locator("#panel-history")


def keep(page: Page, label: str, panel: str = "lesion") -> None:
    page.locator(f"#panel-{panel} [data-action=keep]").click()
    page.locator("dialog [name=label]").fill(label)
    page.locator("dialog .primary").click()
    expect(page.locator(f"#panel-{panel} .keep a")).to_be_focused()


def keep_lesion(page: Page, api: FakeApi, label: str, malignant: float) -> None:
    api.lesion = lesion_answer(malignant=malignant)
    if page.locator("[data-again]").is_visible():
        page.locator("[data-again]").click()
    add(page)
    expect(verdict(page)).to_be_visible()
    keep(page, label)


def open_history(page: Page) -> Locator:
    page.get_by_role("tab", name="History").click()
    expect(history(page).get_by_role("heading", name="History")).to_be_visible()
    return history(page).locator(".history-group")


def num_stored(page: Page) -> int:
    """Count what all databases of the page hold."""
    return page.evaluate(
        """async () => {
            let count = 0;
            for (const { name } of await indexedDB.databases()) {
                const database = await new Promise((resolve) => {
                    const opening = indexedDB.open(name);
                    opening.onsuccess = () => resolve(opening.result);
                });
                for (const store of database.objectStoreNames) {
                    const request = database.transaction(store).objectStore(store).count();
                    await new Promise((resolve) => { request.onsuccess = resolve; });
                    count += request.result;
                }
                database.close();
            }
            return count;
        }"""
    )


@on_every_screen
def test_one_lesion_is_tracked_over_time(page: Page, api: FakeApi):
    questions: list[Dialog] = []

    def accept(dialog: Dialog) -> None:
        questions.append(dialog)
        dialog.accept()

    page.on("dialog", accept)
    for label, malignant in (("Left arm", 0.12), (EVIL, 0.5), ("Left arm", 0.5)):
        keep_lesion(page, api, label, malignant)

    page.reload()
    groups = open_history(page)

    assert questions == [], "kept answers are not lost with the page"
    expect(groups.locator("h3 bdi")).to_have_text(["Left arm", EVIL])
    expect(groups.first.locator("[data-slot=verdict]")).to_have_text(["Looks benign", "Have it checked"])
    expect(groups.first.locator("[data-slot=probability]")).to_have_text(["12% malignant", "50% malignant"])
    for image in groups.locator("img").all():
        expect(image).to_be_visible()
        assert image.evaluate("(image) => image.naturalWidth") == 320
    groups.first.locator("[data-action=open]").last.click()
    entry = history(page).locator("[data-view=entry]")
    expect(entry.locator(".answer .verdict h3")).to_have_text("Have it checked")
    expect(entry.locator(".photo .lesion-box")).to_be_visible()
    expect(entry.locator("[data-crop], [data-leave-out]")).to_have_count(0)
    expect(entry.get_by_role("heading").first).to_be_focused()


def test_a_series_is_kept_with_all_photos(page: Page, api: FakeApi):
    api.progress = progress_answer(3)
    page.get_by_role("tab", name="Progress").click()
    page.locator("#panel-progress .drop input").set_input_files(
        [file_of(jpeg(), name=f"{n}.jpg") for n in range(3)]
    )
    page.locator("#progress-compare").click()
    page.locator("[data-action=keep-order]").click()
    keep(page, "My face", "progress")

    groups = open_history(page)
    expect(groups.locator("[data-slot=probability]")).to_have_text("83% improvement")
    groups.locator("[data-action=open]").click()

    photos = history(page).locator("[data-entry=progress] .photos img")
    expect(photos).to_have_count(3)
    for photo in photos.all():
        expect(photo).to_have_js_property("naturalWidth", 320)


def test_what_is_deleted_is_gone(page: Page, api: FakeApi):
    for label in ("a", "b", "c"):
        keep_lesion(page, api, label, 0.1)
    groups = open_history(page)
    assert num_stored(page) == 3

    page.get_by_role("button", name="Delete: b,").click()
    page.locator("dialog [data-close]").click()
    expect(groups.locator("h3 bdi")).to_have_text(["c", "b", "a"])
    page.get_by_role("button", name="Delete: b,").click()
    page.locator("dialog .primary").click()
    expect(groups.locator("h3 bdi")).to_have_text(["c", "a"])

    page.get_by_role("button", name="Delete all").click()
    expect(page.locator("dialog")).to_contain_text("All 2 answers")
    page.locator("dialog .primary").click()
    expect(page.get_by_text("Nothing is kept yet")).to_be_visible()
    assert num_stored(page) == 0


def test_an_exported_history_comes_back_with_its_passphrase_only(page: Page, api: FakeApi, tmp_path: Path):
    keep_lesion(page, api, EVIL, 0.12)
    groups = open_history(page)
    page.get_by_role("button", name="Export").click()
    page.locator("dialog [name=passphrase]").fill(PASSPHRASE)
    page.locator("dialog [name=again]").fill("something else")
    page.locator("dialog .primary").click()
    expect(page.locator("dialog .problem")).to_have_text("The two passphrases differ.")
    page.locator("dialog [name=again]").fill(PASSPHRASE)
    with page.expect_download() as download:
        page.locator("dialog .primary").click()
    file = tmp_path / "history.skinserve"
    download.value.save_as(file)
    assert b"JFIF" not in file.read_bytes() and b"benign" not in file.read_bytes()
    page.get_by_role("button", name="Delete all").click()
    page.locator("dialog .primary").click()
    expect(groups).to_have_count(0)

    chooser = history(page).locator("input[type=file]")
    chooser.set_input_files(file)
    page.locator("dialog [name=passphrase]").fill("a wrong passphrase")
    page.locator("dialog .primary").click()
    expect(page.locator("dialog .problem")).to_have_text("The passphrase is wrong, or the file is damaged.")
    page.locator("dialog [name=passphrase]").fill(PASSPHRASE)
    page.locator("dialog .primary").click()
    expect(history(page).locator("[data-slot=done]")).to_have_text("1 answer was imported.")
    expect(groups.locator("h3 bdi")).to_have_text(EVIL)
    groups.locator("[data-action=open]").click()
    expect(history(page).locator(".answer .verdict h3")).to_have_text("Looks benign")
    page.get_by_role("button", name="Back to the history").click()

    chooser.set_input_files(file)
    page.locator("dialog [name=passphrase]").fill(PASSPHRASE)
    page.locator("dialog .primary").click()
    expect(history(page).locator("[data-slot=done]")).to_contain_text("1 answer was here already.")
    expect(groups.locator("[data-action=open]")).to_have_count(1)


def test_without_https_the_export_says_that_it_is_not_encrypted(page: Page, api: FakeApi, tmp_path: Path):
    page.add_init_script("Object.defineProperty(window, 'isSecureContext', { value: false })")
    page.reload()
    keep_lesion(page, api, "arm", 0.12)
    open_history(page)

    page.get_by_role("button", name="Export").click()
    expect(page.locator("dialog")).to_contain_text("everybody who gets it can see your photos")
    with page.expect_download() as download:
        page.locator("dialog .primary").click()
    file = tmp_path / "history.skinserve"
    download.value.save_as(file)

    assert b"JFIF" in file.read_bytes()
    history(page).locator("input[type=file]").set_input_files(file)
    expect(history(page).locator("[data-slot=done]")).to_contain_text("1 answer was here already.")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (jpeg(), "This file is not an exported history."),
        (b"", "This file is not an exported history."),
        (b"skinserve-history-9\n", "A newer version of this page"),
        (b"skinserve-history-1\n" + b"\0\0\0\x13" + b'{"encryption":null}' + b"\xff" * 9, "is damaged"),
    ],
)
def test_a_file_of_another_program_is_not_imported(page: Page, content: bytes, message: str):
    groups = open_history(page)

    history(page).locator("input[type=file]").set_input_files(file_of(content, name="x.skinserve"))

    card = history(page).locator(".card.error")
    expect(card).to_contain_text(message)
    expect(card.get_by_role("heading")).to_be_focused()
    expect(groups).to_have_count(0)


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (
            "IDBObjectStore.prototype.put = () => { throw new DOMException('full', 'QuotaExceededError'); };",
            "This browser has no room for it. Nothing was changed or lost.",
        ),
        (
            "IDBFactory.prototype.open = () => { throw new DOMException('no', 'SecurityError'); };",
            "This browser does not let the page store anything",
        ),
    ],
    ids=["full", "blocked"],
)
def test_full_or_blocked_storage_loses_nothing(page: Page, api: FakeApi, script: str, message: str):
    keep_lesion(page, api, "before", 0.12)
    page.evaluate(f"() => {{ {script} }}")
    page.locator("[data-again]").click()
    add(page)

    page.locator("#panel-lesion [data-action=keep]").click()
    page.locator("dialog [name=label]").fill("after")
    page.locator("dialog .primary").click()
    expect(page.locator("dialog .problem")).to_contain_text(message)
    page.keyboard.press("Escape")

    expect(verdict(page)).to_be_visible()
    expect(page.locator("#panel-lesion [data-action=keep]")).to_be_focused()
    page.once("dialog", lambda dialog: dialog.accept())  # the second answer is not kept
    page.reload()
    expect(open_history(page).locator("h3 bdi")).to_have_text("before")


def test_another_tab_shows_the_same_history(page: Page, api: FakeApi, page_url: str):
    other = page.context.new_page()
    other.goto(f"{page_url}#history")
    expect(other.get_by_text("Nothing is kept yet")).to_be_visible()

    keep_lesion(page, api, "arm", 0.12)

    expect(history(other).locator("h3 bdi")).to_have_text("arm")
    other.get_by_role("button", name="Delete: arm").click()
    other.locator("dialog .primary").click()
    expect(open_history(page)).to_have_count(0)


def test_photos_of_the_history_are_not_sent(page: Page, api: FakeApi):
    keep_lesion(page, api, "a secret name", 0.12)
    bodies: list[str] = []
    page.on("request", lambda request: bodies.append(request.url + (request.post_data or "")))

    open_history(page).locator("[data-action=open]").click()
    expect(history(page).locator(".answer")).to_be_visible()
    page.get_by_role("button", name="Change the name").click()
    page.locator("dialog [name=label]").fill("another secret")
    page.locator("dialog .primary").click()
    expect(history(page).locator("[data-slot=entry-title]")).to_contain_text("another secret")

    assert any("render/lesion" in body for body in bodies)
    assert not any("secret" in body or "JFIF" in body for body in bodies)
