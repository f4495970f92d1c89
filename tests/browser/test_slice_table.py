"""The table of slices in a page: by mouse, by keyboard alone, without a kernel, and with hostile data."""

import threading

import pytest
from playwright.sync_api import expect

import mmaudit as mma
from mmaudit.widgets import ExplanationTable, _base
from tests.widgets._slices import audit_of, explanation, term

READY = ".mma-table[data-ready='1']"
HOSTILE = "<b>\"quoted\"</b> & 'single' <img src=x onerror=alert(1)> \u05e9\u05dc\u05d5\u05dd"


@pytest.fixture
def shown(mount):
    """Return a function that shows the table of a result and waits until it is there."""

    def show(result, *, width=1200, views=1, **how):
        mounted = mount(lambda: ExplanationTable(result, **how), width=width, views=views)
        mounted.view.locator(READY).wait_for()
        return mounted

    return show


def ids(mounted):
    """Return the ids of the rows as they stand, once nothing is being drawn."""
    mounted.view.locator(READY).wait_for()
    return mounted.view.locator("tr[data-id]").evaluate_all("rows => rows.map((row) => row.dataset.id)")


def row(mounted, slice_id):
    return mounted.view.locator(f"tr[data-id='{slice_id}']")


def focused(mounted):
    return mounted.page.evaluate("document.activeElement.closest('tr')?.dataset.id ?? document.activeElement.tagName")


def into_the_table(mounted):
    """Press Tab until a row has the focus."""
    for _ in range(12):
        mounted.page.keyboard.press("Tab")
        if mounted.page.evaluate("document.activeElement.matches('tr[data-id]')"):
            return
    raise AssertionError("no row is reached with Tab")


class TestWhatIsShown:
    def test_a_row_says_it_all(self, shown):
        changes = {"gap": 0.476, "ci_low": 0.3, "ci_high": 0.63, "q_value": 0.0031, "stability": 0.2, "n_patients": 40}
        told = explanation(
            term("chest tube"), term("fluid", category="finding", status="uncertain"),
            term("nodule", category="finding", status="negated", explains=False),
        )  # fmt: skip
        mounted = shown(audit_of(2, changes={0: changes, 1: {"q_value": 0.5}}, explanations={"s001": told}))
        first = row(mounted, "s001")
        for words in ("view = PA and age > 0", "✓ confirmed", "missed", "+48 (+30 to +63)", "40", "0.0031", "unstable"):
            expect(first).to_contain_text(words)
        chips = first.locator(".mma-term")
        assert [chips.nth(k).get_attribute("title") for k in range(3)] == [
            "device", "finding, said with doubt", "finding, said to be absent",
        ]  # fmt: skip
        expect(row(mounted, "s002")).to_contain_text("– candidate")

    def test_shape_as_well_as_colour(self, shown):
        """Each kind of error has a shape of its own, full where it is confirmed; so has each verdict."""
        result = audit_of(8, changes={k: {"q_value": 0.001 if k < 4 else 0.5} for k in range(8)})
        mounted = shown(result)
        shapes = mounted.page.evaluate("""() => [...document.querySelectorAll('tr[data-id] td.mma-col-kind')]
            .map((cell) => getComputedStyle(cell, '::before').content.split('"')[1])""")
        assert shapes == ["●", "■", "▲", "◆", "○", "□", "△", "◇"]

    def test_bars_have_one_scale_with_zero_on_it(self, shown):
        gaps = [(0.5, 0.4, 0.6), (-0.2, -0.3, 0.1), (0.0, -0.05, 0.05)]
        changes = {k: dict(zip(("gap", "ci_low", "ci_high"), gap, strict=True)) for k, gap in enumerate(gaps)}
        mounted = shown(audit_of(4, changes={**changes, 3: {"gap": None, "ci_low": None, "ci_high": None}}))
        places = mounted.page.evaluate("""() => [...document.querySelectorAll('.mma-gap')].map((bar) =>
            ['zero', 'gap', 'low', 'high'].map((name) => parseFloat(bar.style.getPropertyValue(`--mma-${name}`))))""")
        zeros = {place[0] for place in places}
        assert len(zeros) == 1
        zero, per_point = zeros.pop(), (places[0][1] - places[0][0]) / 50
        for place, gap in zip(places, gaps, strict=False):
            assert [(at - zero) / per_point for at in place[1:]] == pytest.approx([100 * v for v in gap], abs=1e-6)
        drawn = mounted.page.evaluate("""() => [...document.querySelectorAll('.mma-gap')].map((bar) =>
            parseFloat(getComputedStyle(bar, '::before').width) / bar.getBoundingClientRect().width)""")
        assert drawn[0] == pytest.approx(0.01 * 50 * per_point, abs=0.03)
        assert drawn[1] == pytest.approx(0.01 * 20 * per_point, abs=0.03)

    def test_overlap_with_the_row_that_is_selected(self, shown):
        mounted = shown(audit_of(3))
        widget = mounted.widget
        row(mounted, "s002").click()
        expect(row(mounted, "s001").locator(".mma-share")).to_have_text(
            f"{round(100 * widget._rows[1]['overlap']['s001'])} %"
        )
        assert row(mounted, "s002").locator(".mma-share").count() == 0

    def test_the_card_strikes_through_what_did_not_hold(self, shown):
        told = explanation(term("chest tube"))
        mounted = shown(audit_of(1, changes={0: {"q_value": 0.001}}, explanations={"s001": told}))
        row(mounted, "s001").get_by_role("button", name="card").click()
        card = mounted.view.locator(".mma-slice-card")
        expect(card.locator("s")).to_have_text("age > 60")
        expect(card.locator("[data-holds='false']")).to_contain_text(
            "did not hold on held-out patients: no more errors in what it picks"
        )
        expect(card.locator("strong", has_text="report mentions chest tube")).to_be_visible()
        expect(card).to_contain_text("chest tube [device], 80 % in the slice, 10 % outside it")
        card.get_by_text("How it was tested").click()
        expect(card.get_by_text("Not for clinical use.")).to_be_visible()
        expect(row(mounted, "s001")).to_have_attribute("aria-expanded", "true")

    def test_a_real_audit(self, shown, small_audit):
        small_audit.user_verdicts = {"slices": {}, "samples": {}}
        mounted = shown(small_audit)
        assert ids(mounted) == small_audit.candidates["slice_id"].tolist()
        expect(row(mounted, "s01")).to_contain_text("view = AP supine")


@pytest.fixture(scope="module")
def result():
    missing = {"gap": None, "ci_low": None, "ci_high": None, "q_value": None, "stability": None}
    return audit_of(30, changes={4: missing})


class TestOrder:
    def test_it_is_that_of_python(self, shown, result):
        """The page sorts and filters by itself; `frame()` does the same in Python."""
        mounted = shown(result)
        widget = mounted.widget
        headers = {"Slice": "rank", "Gap, points": "gap", "Patients": "size", "q": "q", "Stability": "stability"}
        for words, sort in headers.items():
            header = mounted.view.get_by_role("columnheader", name=words, exact=True)
            orders = []
            first = sort == "q"  # the best comes first; by rank it does already
            for up in (first, not first):
                header.get_by_role("button").click()
                mounted.until(
                    lambda sort=sort, up=up: (widget._table["sort"], widget._table["ascending"]) == (sort, up)
                )
                expect(header).to_have_attribute("aria-sort", "ascending" if up else "descending")
                orders.append(ids(mounted))
                assert orders[-1] == widget.frame()["slice_id"].tolist(), sort
            assert orders[0] != orders[1]
            others = mounted.view.locator("th[aria-sort='none']").count()
            assert others == len(headers) - 1
        for text in ("AP  AGE", "s003", "nothing like it", "view = PA and age > 1", ""):
            mounted.view.get_by_label("Filter by words").fill(text)
            mounted.until(lambda text=text: widget._table["text"] == text)
            assert ids(mounted) == widget.frame()["slice_id"].tolist(), text
        mounted.view.get_by_role("group", name="Kinds of error").get_by_role("button", name="missed").click()
        mounted.view.get_by_role("button", name="confirmed only").click()
        mounted.until(lambda: widget._table["confirmed"])
        found = ids(mounted)
        assert found == widget.frame()["slice_id"].tolist()
        assert 0 < len(found) < 8
        for _ in range(30):  # all of it is undone
            mounted.page.keyboard.press("Control+z")
        mounted.until(lambda: widget._table["sort"] == "rank" and not widget._table["confirmed"])
        assert ids(mounted) == result.candidates["slice_id"].tolist()

    def test_python_sorts_too(self, shown, result):
        mounted = shown(result, sort="gap")
        assert ids(mounted) == mounted.widget.frame()["slice_id"].tolist()
        mounted.widget._table = {**mounted.widget._table, "sort": "size"}
        expect(mounted.view.locator("th.mma-col-n")).to_have_attribute("aria-sort", "descending")
        assert ids(mounted) == mounted.widget.frame()["slice_id"].tolist()

    def test_nothing_left(self, shown):
        mounted = shown(audit_of(3), text="no such words")
        expect(mounted.view.get_by_text("The filter leaves no slice.")).to_be_visible()
        mounted.view.get_by_label("Filter by words").fill("")
        expect(mounted.view.get_by_text("3 of 3 slices")).to_be_visible()

    def test_none_at_all(self, shown):
        mounted = shown(audit_of(0))
        expect(mounted.view.get_by_text("The audit found no slice to show.")).to_be_visible()
        mounted.view.get_by_label("Filter by words").press("x")
        expect(mounted.view.get_by_text("0 of 0 slices")).to_be_visible()


class TestByMouse:
    def test_select_hide_rename_and_undo(self, shown):
        mounted = shown(audit_of(4))
        widget = mounted.widget
        row(mounted, "s002").click()
        mounted.until(lambda: widget.selected_slice == "s002")
        expect(row(mounted, "s002")).to_have_attribute("aria-selected", "true")
        row(mounted, "s002").locator(".mma-name").dblclick()
        field = mounted.view.get_by_label("New name of view = AP and age > 1")
        widget.selected_ids = ["patient-1"]  # what comes from elsewhere meanwhile does not end it
        expect(mounted.view.locator(".mma-table")).to_have_attribute("data-ready", "0")
        field.fill('"my" <name>')
        field.press("Enter")
        mounted.until(lambda: widget.frame()["name"].tolist()[1] == '"my" <name>')
        expect(row(mounted, "s002").locator(".mma-name")).to_have_text('"my" <name>')
        mounted.view.get_by_role("button", name="Hide", exact=True).click()
        mounted.until(lambda: widget._edits["hidden"] == ["s002"])
        assert ids(mounted) == ["s001", "s003", "s004"]
        mounted.view.get_by_role("button", name="show 1 hidden").click()
        assert ids(mounted) == ["s001", "s002", "s003", "s004"]
        expect(row(mounted, "s002")).to_have_attribute("data-hidden", "true")
        mounted.view.get_by_role("button", name="Show again").click()
        mounted.until(lambda: widget._edits["hidden"] == [])
        for _ in range(4):
            mounted.view.get_by_role("button", name="undo").click()
        mounted.until(lambda: widget._edits == {"names": {}, "hidden": []} and not widget._table["hidden"])
        expect(row(mounted, "s002").locator(".mma-name")).to_have_text("view = AP and age > 1")

    def test_verdict_and_note(self, shown):
        mounted = shown(audit_of(2))
        widget = mounted.widget
        row(mounted, "s002").get_by_role("button", name="reject").click()
        mounted.until(lambda: widget.verdicts == {"s002": {"verdict": "reject", "note": ""}})
        pressed = row(mounted, "s002").locator(".mma-col-verdict [aria-pressed='true']")
        expect(pressed).to_have_text("✕")
        row(mounted, "s002").get_by_role("button", name="card").click()
        note = mounted.view.get_by_label("Note on view = AP and age > 1")
        note.fill("tubes & lines")
        note.press("Tab")
        mounted.until(lambda: widget.verdicts == {"s002": {"verdict": "reject", "note": "tubes & lines"}})
        widget.verdicts = {"s001": "accept"}
        expect(row(mounted, "s001").locator("[aria-pressed='true']")).to_have_text("✓")
        expect(note).to_have_value("")

    def test_two_views_of_one_table(self, shown):
        mounted = shown(audit_of(3), views=2)
        row(mounted, "s002").click()
        second = mounted.page.locator(".view").nth(1)
        expect(second.locator("tr[data-id='s002']")).to_have_attribute("aria-selected", "true")
        row(mounted, "s002").get_by_role("button", name="card").click()
        assert second.locator(".mma-slice-card").count() == 0  # what is open is each view's own
        listeners = mounted.page.evaluate("model.listeners()")
        mounted.page.evaluate("views[1].close()")
        assert second.locator(".mma-table").count() == 0
        assert mounted.page.evaluate("model.listeners()") < listeners


class TestByKeyboard:
    def test_one_tab_stop_and_arrows(self, shown):
        mounted = shown(audit_of(25))
        into_the_table(mounted)
        assert focused(mounted) == "s001"
        keys = [("ArrowDown", "s002"), ("End", "s025"), ("PageUp", "s015"), ("Home", "s001"), ("PageDown", "s011")]
        for key, expected in keys:
            mounted.page.keyboard.press(key)
            assert focused(mounted) == expected
        mounted.page.keyboard.press("Tab")
        assert not mounted.page.evaluate("Boolean(document.activeElement.closest('.mma-table tbody'))")
        mounted.page.keyboard.press("Shift+Tab")
        assert focused(mounted) == "s011"

    def test_sort_select_open_rename_hide_and_judge(self, shown):
        mounted = shown(audit_of(4))
        widget, press = mounted.widget, mounted.page.keyboard.press
        into_the_table(mounted)
        press("ArrowUp")
        press("ArrowRight")
        press("Enter")
        mounted.until(lambda: widget._table["sort"] == "gap")
        order = ids(mounted)
        assert order == widget.frame()["slice_id"].tolist()
        press("ArrowDown")
        press("Home")
        first, second = order[:2]
        assert focused(mounted) == first
        press(" ")
        mounted.until(lambda: widget.selected_slice == first)
        press("Enter")
        expect(mounted.view.locator(".mma-slice-card")).to_be_visible()
        mounted.view.locator(READY).wait_for()
        assert focused(mounted) == first
        press("Tab")
        assert mounted.page.evaluate("Boolean(document.activeElement.closest('.mma-slice-card'))")
        press("Escape")
        assert focused(mounted) == first
        press("ArrowLeft")
        expect(mounted.view.locator(".mma-slice-card")).to_have_count(0)
        press("q")
        mounted.until(lambda: widget.verdicts[first]["verdict"] == "radiologist")
        press("F2")
        mounted.page.keyboard.type("mine")
        press("Enter")
        mounted.until(lambda: widget._edits["names"] == {first: "mine"})
        mounted.view.locator(READY).wait_for()
        assert focused(mounted) == first
        press("F2")
        mounted.page.keyboard.type("not this")
        press("Escape")
        mounted.view.locator(READY).wait_for()
        assert widget._edits["names"] == {first: "mine"}
        press("h")
        mounted.until(lambda: widget._edits["hidden"] == [first])
        mounted.view.locator(READY).wait_for()
        assert focused(mounted) == second
        press("Control+z")
        press("Control+z")
        press("Control+z")
        press("Control+z")
        mounted.until(lambda: widget.selected_slice == "" and not widget.verdicts and not widget._edits["hidden"])

    def test_what_is_done_is_said(self, shown):
        mounted = shown(audit_of(3))
        said = mounted.view.locator("[aria-live='polite']")
        into_the_table(mounted)
        mounted.page.keyboard.press("h")
        expect(said).to_have_text("view = PA and age > 0 hidden")
        mounted.page.keyboard.press("Control+z")
        expect(said).to_have_text("Undone: view = PA and age > 0 hidden")
        label = row(mounted, "s001").get_attribute("aria-label")
        assert label.startswith("view = PA and age > 0, ")
        assert mounted.widget._rows[0]["words"]["said"] in label


ASKED = []
GO_ON = threading.Event()


def pretend_test(widget, content, job):
    """Stand in for the test of a group: adds a row, hides its parents."""
    ASKED.append({key: content[key] for key in ("what", "slices", "name")})
    job.step(1, 2, "half of it")
    while not GO_ON.wait(0.02):
        job.step(1, 2, "half of it")
    made = {**widget._rows[0], "id": "h01", "name": "both", "origin": "merge", "rank": 99}
    with widget.hold_sync():
        widget._rows = [*widget._rows, made]
        widget._edits = {**widget._edits, "hidden": content["slices"]}
        widget.selected_slice = "h01"
    return {"ids": ["h01"], "hidden": content["slices"], "n_tested": 1}, []


class TestMergeAndSplit:
    @pytest.fixture(autouse=True)
    def _pretend(self, monkeypatch):
        monkeypatch.setitem(_base.HANDLERS, "test", f"{__name__}:pretend_test")
        ASKED.clear()
        GO_ON.clear()

    def test_merge_and_undo(self, shown):
        mounted = shown(audit_of(3))
        widget = mounted.widget
        merge = mounted.view.get_by_role("button", name="Merge")
        expect(merge).to_be_disabled()
        row(mounted, "s001").get_by_role("button", name="mark").click()
        row(mounted, "s003").focus()
        mounted.page.keyboard.press("m")
        expect(merge).to_have_text("Merge marked (2)")
        merge.click()
        expect(mounted.view.get_by_text("half of it")).to_be_visible()
        expect(merge).to_be_disabled()
        GO_ON.set()
        mounted.until(lambda: widget.selected_slice == "h01")
        assert ASKED == [
            {"what": "merge", "slices": ["s001", "s003"], "name": "view = PA and age > 0 or view = PA and age > 2"}
        ]
        expect(row(mounted, "h01")).to_have_attribute("aria-selected", "true")
        expect(row(mounted, "s001")).to_have_count(0)
        expect(mounted.view.get_by_text("half of it")).to_have_count(0)
        mounted.view.get_by_role("button", name="undo").click()
        mounted.until(lambda: widget._edits["hidden"] == ["h01"] and widget.selected_slice == "")
        assert ids(mounted) == ["s001", "s002", "s003"]
        assert [one["id"] for one in widget._rows][-1] == "h01"  # it was tested, and stays

    def test_cancel(self, shown):
        mounted = shown(audit_of(2))
        mounted.widget.selected_slice = "s002"
        mounted.widget.selected_ids = ["patient-1", "patient-2"]
        split = mounted.view.get_by_role("button", name="Split by selection (2)")
        split.click()
        mounted.view.get_by_role("button", name="Cancel").click()
        expect(mounted.view.locator(".mma-message", has_text="Testing the split: cancelled")).to_be_visible()
        mounted.until(lambda: not mounted.widget._jobs)
        assert ASKED[0]["what"] == "split"
        assert ASKED[0]["slices"] == ["s002"]
        assert ids(mounted) == ["s001", "s002"]
        expect(split).to_be_enabled()

    def test_an_error_is_shown(self, shown, monkeypatch):
        monkeypatch.setitem(_base.HANDLERS, "test", f"{__name__}:refuse")
        mounted = shown(audit_of(2))
        for name in ("s001", "s002"):
            row(mounted, name).get_by_role("button", name="mark").click()
        mounted.view.get_by_role("button", name="Merge").click()
        expect(mounted.view.get_by_text("slices: expected two, got one. Mark two.").first).to_be_visible()


def refuse(widget, content, job):
    raise mma.InputError("slices", "two", "one", "Mark two.")


class TestHostileData:
    def test_markup_quotes_and_other_scripts(self, shown, watch):
        told = explanation(term(HOSTILE, tags=[HOSTILE]), sentence=HOSTILE)
        changes = {
            "description": HOSTILE,
            "sentence": HOSTILE,
            "rule": HOSTILE,
            "modality": HOSTILE,
            "error_type": "odd",
        }
        mounted = shown(audit_of(2, changes={0: changes}, explanations={"s001": told}), width=1400)
        row(mounted, "s001").get_by_role("button", name="card").click()
        row(mounted, "s001").click()
        mounted.view.locator(".mma-slice-card").wait_for()
        assert mounted.page.evaluate("document.querySelectorAll('.mma-table :is(img, b)').length") == 0
        assert row(mounted, "s001").locator(".mma-name").inner_text() == HOSTILE
        assert watch.dialogs == []
        mounted.widget._edits = {"names": {"s001": f"{HOSTILE}'\"]"}, "hidden": []}
        expect(row(mounted, "s001").locator(".mma-name")).to_have_text(f"{HOSTILE}'\"]")

    def test_two_hundred_slices(self, shown):
        mounted = shown(audit_of(200))
        assert len(ids(mounted)) == 200
        row(mounted, "s001").focus()
        mounted.page.keyboard.press("End")
        assert focused(mounted) == "s200"
        expect(row(mounted, "s200")).to_be_in_viewport()
        scrolled = mounted.view.locator(".mma-scroll").evaluate("one => one.scrollTop")
        row(mounted, "s199").click()
        expect(row(mounted, "s199")).to_have_attribute("aria-selected", "true")
        assert mounted.view.locator(".mma-scroll").evaluate("one => one.scrollTop") == scrolled
        mounted.page.keyboard.press("Enter")
        expect(mounted.view.locator(".mma-slice-card")).to_contain_text("Where age > 198, more are missed.")
        expect(mounted.view.get_by_role("columnheader", name="Gap, points")).to_be_in_viewport()  # stays in sight

    def test_ids_of_any_kind(self, shown):
        odd = "s\"1'] \\ <x>"
        mounted = shown(audit_of(2, changes={0: {"slice_id": odd}}))
        assert ids(mounted)[0] == odd
        mounted.view.locator("tr[data-id]").first.click()
        mounted.until(lambda: mounted.widget.selected_slice == odd)
        mounted.page.keyboard.press("a")
        mounted.until(lambda: mounted.widget.verdicts == {odd: {"verdict": "accept", "note": ""}})


class TestWithoutAKernel:
    def test_what_is_there_keeps_working(self, shown):
        mounted = shown(audit_of(30))
        mounted.paused = True
        mounted.view.get_by_role("columnheader", name="Gap, points").get_by_role("button").click()
        expect(mounted.view.locator("th.mma-col-gap")).to_have_attribute("aria-sort", "descending")
        row(mounted, "s002").get_by_role("button", name="card").click()
        expect(mounted.view.locator(".mma-slice-card")).to_contain_text("Where age > 1, more are missed.")
        row(mounted, "s030").get_by_role("button", name="card").click()  # beyond those that came along
        expect(mounted.view.get_by_text("waiting for the kernel…")).to_be_visible()
        expect(mounted.view.locator(".mma-table")).to_have_attribute("data-ready", "0")
        row(mounted, "s002").click()
        expect(row(mounted, "s002")).to_have_attribute("aria-selected", "true")
        mounted.go_on()
        expect(mounted.view.get_by_text("Where age > 29, more are missed.").last).to_be_visible()
        mounted.until(lambda: mounted.widget._table["sort"] == "gap" and mounted.widget.selected_slice == "s002")
        mounted.view.locator(READY).wait_for()


class TestLooks:
    def test_targets_are_large_enough(self, shown):
        mounted = shown(audit_of(3))
        row(mounted, "s001").get_by_role("button", name="card").click()
        mounted.view.locator(READY).wait_for()
        small = mounted.page.evaluate("""() => [...document.querySelectorAll('.mma-table :is(button, input, summary)')]
            .filter((one) => one.offsetParent).map((one) => [one.textContent, one.getBoundingClientRect()])
            .filter(([, box]) => box.width < 24 || box.height < 24).map(([text]) => text)""")
        assert small == []

    @pytest.mark.parametrize("width", [1200, 760, 700, 600, 420])
    def test_name_gap_and_verdict_are_in_sight(self, shown, width):
        mounted = shown(audit_of(3, changes={0: {"q_value": 0.001, "already_told": 0.9}}), width=width)
        mounted.widget.selected_slice = "s002"
        expect(row(mounted, "s002")).to_have_attribute("aria-selected", "true")
        if width > 640:
            row(mounted, "s001").locator(".mma-share").wait_for()
        scroll = mounted.view.locator(".mma-scroll").bounding_box()
        for column in ("slice", "gap", "verdict"):
            box = row(mounted, "s001").locator(f".mma-col-{column}").bounding_box()
            assert box["x"] + box["width"] <= scroll["x"] + scroll["width"] + 1, column

    def test_every_rule_is_of_this_package(self):
        import re

        from mmaudit.widgets._bundle import styles

        css = re.sub(r"@(container|media)[^{]*\{((?:[^{}]*\{[^{}]*\})*)\s*\}", r"\2", styles("table.css"))
        selectors = [one.strip() for head in re.findall(r"([^{}]+)\{", css) for one in head.split(",")]
        assert len(selectors) > 40
        assert [one for one in selectors if not one.startswith(".mma-root .mma-table")] == []
