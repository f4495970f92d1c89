"""A saved audit opened in JupyterLab, the newest and the oldest that are supported: no kernel, nothing of it lost."""

import contextlib
import json
from pathlib import Path

import pytest
from playwright.sync_api import expect

import mmaudit as mma
from tests.browser._axe import grave_findings

VIEW = ".mma-saved[data-ready='1']"
NAME = "small.mmaudit.json"


@pytest.fixture(scope="module")
def written(_small_audit, tmp_path_factory):
    """Two audits of the same cases as their files: with pictures, and without."""
    folder = tmp_path_factory.mktemp("written")
    other = mma.audit(_small_audit._data, n_refits=0, n_permutations=99, random_state=5)
    one = _small_audit.save(folder / NAME, thumbnails=True)
    return {NAME: one.read_text("utf-8"), "other.mmaudit.json": other.save(folder / "o.json").read_text("utf-8")}


@pytest.fixture
def opened(lab_page, written):
    """Return a function that opens a file of that content, anew, and returns its page."""

    def open_file(content=None, name=NAME):
        (lab_page.folder / name).write_text(written[NAME] if content is None else content, "utf-8")
        lab_page.command("docmanager:open", path=name)
        lab_page.page.locator(VIEW).wait_for()
        return lab_page.page

    lab_page.close_all()
    lab_page.watch.errors.clear()
    yield open_file
    lab_page.close_all()


@pytest.fixture
def newest(lab_page):
    """Skip a test of what does not depend on the version of JupyterLab."""
    if lab_page.is_older:
        pytest.skip("tested in the newest JupyterLab")


def own_errors(lab_page):
    """Return what went wrong in our code; older JupyterLabs warn of extensions that are newer than they are."""
    return [text for text in lab_page.watch.errors if "mma" in text]


def slices(page):
    return page.locator(".mma-table tr[data-id]").evaluate_all("rows => rows.map(row => row.dataset.id)")


def saved(lab_page, name=NAME):
    return json.loads((lab_page.folder / name).read_text("utf-8"))


def until_saved(lab_page, fits, name=NAME):
    """Wait until the file is as it should be."""
    for _ in range(100):
        with contextlib.suppress(json.JSONDecodeError):  # JupyterLab is writing it
            if fits(saved(lab_page, name)):
                return
        lab_page.page.wait_for_timeout(100)
    raise AssertionError(saved(lab_page, name)["user_verdicts"])


def test_it_is_the_jupyterlab_that_it_should_be(lab_page):
    """The version that the page's own modules have, whatever else is installed."""
    version = lab_page.page.evaluate("() => document.getElementById('jupyter-config-data').textContent")
    assert ('"appVersion": "4.4.9"' in version) == lab_page.is_older


def test_an_audit_opens_without_a_kernel(lab_page, opened, _small_audit):
    page = opened()
    assert slices(page) == _small_audit.candidates["slice_id"].tolist()
    assert page.locator(".mma-saved-head").get_by_text(_small_audit.headline).is_visible()
    for sentence in _small_audit.findings["sentence"][:1]:
        assert page.locator(".mma-saved-head ol").get_by_text(sentence).is_visible()
    page.locator("tr[data-id=s01]").click()
    page.locator(".mma-metadata[data-ready='1'] .mma-metadata-value").first.wait_for()
    page.locator(".mma-grid[data-ready='1']").wait_for()
    assert page.locator(".mma-tile[data-picture='drawn']").count() > 3
    assert lab_page.kernels() == 0
    assert lab_page.watch.requests_elsewhere == []
    assert own_errors(lab_page) == []


def test_sort_filter_judge_and_find_it_again(lab_page, opened, _small_audit, written):
    page = opened()
    by_gap = _small_audit.candidates.sort_values("gap", kind="stable")["slice_id"].tolist()
    page.get_by_role("button", name="Gap, points").click()
    page.get_by_role("button", name="Gap, points").click()
    page.wait_for_function(
        "ids => [...document.querySelectorAll('.mma-table tr[data-id]')].map(r => r.dataset.id)[0] === ids[0]",
        arg=by_gap,
    )
    assert slices(page) == by_gap
    page.get_by_label("Filter by words").fill("supine")
    page.wait_for_function("n => document.querySelectorAll('.mma-table tr[data-id]').length < n", arg=len(by_gap))
    found = slices(page)
    assert found
    page.locator(f"tr[data-id={found[0]}]").click()
    page.keyboard.press("r")
    until_saved(lab_page, lambda file: file["user_verdicts"]["slices"].get(found[0], {}).get("verdict") == "reject")
    before = json.loads(written[NAME])
    assert {key for key, value in saved(lab_page).items() if value != before[key]} == {"user_verdicts"}
    lab_page.reload()
    page.locator(VIEW).wait_for()  # the layout is restored
    assert page.locator(f"tr[data-id={found[0]}] [data-code]").count() == 0
    expect(page.locator(f"tr[data-id={found[0]}] button[aria-label^='reject'][aria-pressed=true]")).to_have_count(1)
    assert lab_page.kernels() == 0
    assert mma.load_result(lab_page.folder / NAME).user_verdicts["slices"][found[0]]["verdict"] == "reject"


def test_a_verdict_on_an_image_and_a_note_are_kept_and_taken_back(newest, lab_page, opened):
    page = opened()
    page.locator("tr[data-id=s01]").click()
    page.locator(".mma-grid[data-ready='1'] .mma-tile").first.click()
    page.locator(".mma-explorer-pane-case .mma-case[data-ready='1']").wait_for()
    case = page.locator(".mma-explorer-pane-case")
    sample = case.locator("h3").inner_text().split(" · ")[0]
    case.get_by_role("button", name="needs a radiologist").click()
    case.get_by_label("Note on this image").fill("look again")
    case.get_by_label("Note on this image").press("Tab")
    wanted = {"verdict": "radiologist", "note": "look again"}
    until_saved(lab_page, lambda file: file["user_verdicts"]["samples"].get(sample) == wanted)
    for _ in range(2):
        page.locator(".mma-tested").get_by_role("button", name="Undo").click()
    until_saved(lab_page, lambda file: file["user_verdicts"]["samples"] == {})


def test_a_file_that_python_has_written_anew_is_shown_anew(newest, lab_page, opened, written):
    page = opened()
    document = json.loads(written[NAME]) | {"user_edits": {"names": {"s01": "a new name"}, "hidden": []}}
    lab_page.page.wait_for_timeout(50)
    (lab_page.folder / NAME).write_text(json.dumps(document), "utf-8")
    lab_page.command("docmanager:reload")
    page.locator("tr[data-id=s01]").get_by_text("a new name").wait_for()


def test_a_note_that_is_half_typed_does_not_go_into_another_file(newest, lab_page, opened, written):
    page = opened()
    page.locator("tr[data-id=s01]").click()
    page.keyboard.press("Enter")
    page.get_by_label("Note on ").first.press_sequentially("half ")
    document = json.loads(written[NAME]) | {"user_verdicts": {"slices": {"s01": {"verdict": "accept", "note": ""}}}}
    document["user_verdicts"]["samples"] = {}
    (lab_page.folder / NAME).write_text(json.dumps(document), "utf-8")
    page.evaluate("() => { jupyterapp.shell.currentWidget.context.revert(); }")
    page.locator("tr[data-id=s01] button[aria-label^='accept'][aria-pressed=true]").wait_for()
    page.wait_for_timeout(1000)  # longer than what is typed waits until it is saved
    assert saved(lab_page)["user_verdicts"] == document["user_verdicts"]


def test_verdicts_in_quick_succession_are_all_saved(newest, lab_page, opened, _small_audit):
    page = opened()
    ids = _small_audit.candidates["slice_id"].tolist()[:6]
    for slice_id in ids:
        page.locator(f"tr[data-id={slice_id}]").click()
        page.keyboard.press("q")
        page.wait_for_timeout(150)
    until_saved(lab_page, lambda file: set(file["user_verdicts"]["slices"]) == set(ids))
    page.wait_for_function("() => !jupyterapp.shell.currentWidget.context.model.dirty")
    assert page.locator(".jp-Dialog").count() == 0


HOSTILE = "<img src=x onerror='window.hacked=1'><script>window.hacked=1</script>"


def test_text_of_a_hostile_file_stays_text(lab_page, opened, written):
    text = written[NAME]
    document = json.loads(text)
    document["summary"] |= {"title": HOSTILE, "headline": HOSTILE, "warnings": [HOSTILE]}
    document["user_edits"] = {"names": {"s01": HOSTILE}, "hidden": []}
    document["user_verdicts"] = {"slices": {"s01": {"verdict": "", "note": HOSTILE}}, "samples": {}}
    for row in document["page"]["rows"]:
        row |= {
            key: HOSTILE for key, value in row.items() if isinstance(value, str) and key not in ("id", "error_type")
        }
    for card in document["page"]["cards"].values():
        card |= {key: HOSTILE for key, value in card.items() if isinstance(value, str)}
    document["thumbnails"] = dict.fromkeys(
        document["thumbnails"], "PHN2ZyB4bWxucz0iaHR0cDovL3d3dy53My5vcmcvMjAwMC9zdmciIG9ubG9hZD0iYWxlcnQoMSkiLz4="
    )
    page = opened(json.dumps(document))
    page.locator("tr[data-id=s01]").click()
    page.keyboard.press("Enter")
    page.locator(".mma-slice-card").wait_for()
    assert page.locator(".mma-saved img[src=x], .mma-saved script").count() == 0
    assert page.evaluate("() => window.hacked") is None
    assert page.locator("tr[data-id=s01] .mma-name").inner_text() == HOSTILE
    assert lab_page.watch.requests_elsewhere == []
    assert lab_page.watch.dialogs == []


def test_a_damaged_file_gives_a_message_and_can_be_read_as_text(lab_page, opened, written):
    page = opened(written[NAME][:-2000])
    refused = page.locator(".mma-saved-refused")
    expect(refused.get_by_text("a damaged file")).to_be_visible()
    expect(refused).to_have_attribute("role", "alert")
    refused.get_by_role("button", name="Open as text").click()
    page.locator(".jp-FileEditor").wait_for()
    assert own_errors(lab_page) == []


def test_a_file_that_is_mended_is_shown(newest, lab_page, opened, written):
    page = opened("{}")
    page.locator(".mma-saved-refused").wait_for()
    lab_page.page.wait_for_timeout(50)
    (lab_page.folder / NAME).write_text(written[NAME], "utf-8")
    lab_page.command("docmanager:reload")
    page.locator("tr[data-id=s01]").wait_for()


def test_two_audits_beside_each_other(lab_page, opened, written, pytestconfig):
    page = opened()
    (lab_page.folder / "other.mmaudit.json").write_text(written["other.mmaudit.json"], "utf-8")
    lab_page.command("mmaudit:compare", left=NAME, right="other.mmaudit.json")
    page.locator(".mma-saved[data-ready='1'] .mma-compare").wait_for()
    assert page.locator(".mma-compare tbody tr[data-match=both]").count() > 0
    page.locator(".mma-compare tbody tr[data-match=both]").first.focus()
    page.keyboard.press("Enter")
    expect(page.locator(".mma-compare-cards .mma-slice-card")).to_have_count(2)
    page.screenshot(path=Path(pytestconfig.getoption("--output"), "comparison.png"))
    lab_page.reload()
    page.locator(".mma-saved[data-ready='1'] .mma-compare tbody tr").first.wait_for()
    (lab_page.folder / "other.mmaudit.json").write_text("{", "utf-8")
    page.locator(".mma-compare").get_by_role("button", name="Read again").click()
    page.locator(".mma-compare [role=alert]").get_by_text("other.mmaudit.json").wait_for()


@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark"])
def test_it_is_readable_in_each_theme(newest, lab_page, opened, theme, pytestconfig):
    page = opened()
    lab_page.command("apputils:change-theme", theme=theme)
    page.wait_for_function("name => document.body.dataset.jpThemeName === name", arg=theme)
    page.locator("tr[data-id=s01]").click()
    page.locator(".mma-grid[data-ready='1']").wait_for()
    assert grave_findings(page, ".mma-saved") == []
    # The README shows such a picture.
    page.screenshot(path=Path(pytestconfig.getoption("--output"), f"saved-audit-{theme.split()[-1].lower()}.png"))
