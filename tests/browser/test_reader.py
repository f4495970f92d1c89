"""The reader of one case: film, report with the terms of the slice, metadata, verdict. Without a kernel or a server."""

import numpy as np
import pandas as pd
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

import mmaudit as mma
from mmaudit._errors import ImageReadError
from mmaudit.images import GrayImage
from mmaudit.widgets._bundle import bundle

MARKUP = "<img src=x onerror=alert(1)><script>alert(2)</script> & <b>bold</b>"
HEBREW = "ממצאים: אין נוזל"
REPORTS = [
    "EXAMINATION: Chest, AP supine.\n\nFINDINGS: Chest tube on the left. No pneumothorax. Possible pneumonia.\n",
    f"FINDINGS: {MARKUP} Chest drain in place.",
    "FINDINGS: No pneumothorax. Chest tube in place. " * 2100,  # 100 kB and some
    f"FINDINGS: {HEBREW}\nIMPRESSION: chest tube",
    "FINDINGS:\r\nchest\ttube\x00\x07\x1b[31m 😀🫁 no pneumothorax 𝒳 chest tube",
    "Nothing.",
]


class Images:
    """A film of 4,000 px with 16 bits, one that is missing, one of unusual shape, and small ones."""

    def __len__(self):
        return len(REPORTS)

    def take(self, indices):
        raise NotImplementedError

    def read(self, index, *, max_side_px=None):
        if index == 1:
            raise ImageReadError("image", "a file", "none", "Look for it.", reason="missing")
        width, height, depth = {0: (4000, 3200, 16), 2: (37, 600, 8)}.get(index, (64, 48, 8))
        step = 1 if max_side_px is None else -(-max(width, height) // max_side_px)
        ramp = np.arange(0, width, step, dtype=np.float32) / (width - 1)
        pixels = np.tile(ramp, (len(range(0, height, step)), 1))
        if depth == 8:
            pixels = np.rint(pixels * 255) / 255
        return GrayImage(pixels, width, height, depth)


@pytest.fixture
def hostile():
    n = len(REPORTS)
    frame = pd.DataFrame(
        {
            "sample_id": [f"case <{k}> 'q\" 😀" for k in range(n)],
            "patient_id": [f"p{k}" for k in range(n)],
            "label": [1, 0, 1, 0, 1, 0],
            "proba": [0.2, 0.1, 0.9, 0.75, 0.6, 0.3],
            "report": REPORTS,
            "view": ["AP supine", MARKUP, None, HEBREW, "PA", "PA"],
            "age": [71.0, np.nan, 64.5, 40.0, 30.0, 20.0],
        }
    )
    return mma.AuditData.from_frame(
        frame, label="label", y_proba="proba", sample_id="sample_id", patient_id="patient_id", report="report",
        metadata=["view", "age"], images=Images(),
    )  # fmt: skip


def opened(mount, data, position=0, **how):
    """Return a grid in a page, and its reader with one case, once all of it is there."""
    terms = [
        {"text": t, "category": "device", "status": "affirmed"} for t in ("chest tube", "pneumothorax", "pneumonia")
    ]

    def make():
        grid = mma.widgets.SliceGrid(data, show="all")
        grid._rows = [{"id": "h01", "name": "tubes", "origin": "hypothesis", "target_index": 0, "terms": terms}]
        grid.cases.own["h01"] = np.array([255, 200, 160, 127, 30, 0], np.uint8)  # the order of the grid
        grid.selected_slice = "h01"
        return grid

    mounted = mount(make, **how)
    reader = mounted.view.locator(".mma-reader")
    mounted.view.locator(".mma-grid[data-ready='1']").wait_for()
    mounted.view.get_by_role("grid").focus()
    for key in ["Home", *["ArrowRight"] * position, "Enter"]:
        mounted.page.keyboard.press(key)
    wait(mounted)
    return mounted, reader


def wait(mounted):
    mounted.view.locator(".mma-reader[data-ready='1']:visible").wait_for()


def press(mounted, *keys):
    for key in keys:
        mounted.page.keyboard.press(key)
    wait(mounted)


def grey_at(reader, *shares):
    """Return the grey of the canvas in its middle row, at shares of its width."""
    script = """async (canvas, shares) => {
      for (let k = 0; k < 3; k += 1) await new Promise(requestAnimationFrame); // one paints, one draws
      const copy = new OffscreenCanvas(canvas.width, 1).getContext("2d", { willReadFrequently: true });
      copy.drawImage(canvas, 0, -(canvas.height >> 1));
      return shares.map((s) => copy.getImageData(Math.round(s * (canvas.width - 1)), 0, 1, 1).data[0]); }"""
    return reader.locator("canvas").evaluate(script, list(shares))


def told(reader):
    return expect(reader.locator(".mma-told").first)


def zoom_of(reader):
    """Return the zoom in percent, as the reader tells it."""
    grey_at(reader, 0.5)
    return int(reader.locator(".mma-told").first.inner_text().split("zoom ")[1].split(" ")[0])


def film_share(reader, share):
    """Return where a share of the film's width lies, as a share of the canvas, while all of the film is shown."""
    width, height = reader.locator("canvas").evaluate("c => [c.width, c.height]")
    shown = min(width, height * 4000 / 3200)
    return ((width - shown) / 2 + share * shown) / width


def test_a_film_of_4000_px_and_16_bits_comes_small_then_whole(mount, hostile):
    mounted, reader = opened(mount, hostile)
    told(reader).to_contain_text("1000 of 4000 px wide, 16 bits")
    small = mounted.page.evaluate("model.received")
    quarter, half, most = (film_share(reader, s) for s in (0.25, 0.5, 0.75))
    assert grey_at(reader, quarter, half, most) == pytest.approx([64, 128, 191], abs=3)
    press(mounted, "f")
    told(reader).to_contain_text("4000 × 3200 px, 16 bits")
    assert grey_at(reader, quarter, half, most) == pytest.approx([64, 128, 191], abs=3)
    assert mounted.page.evaluate("model.received") > small
    expect(reader.get_by_role("button", name="Full resolution (F)")).to_be_hidden()


def test_window_level_and_inversion(mount, hostile):
    mounted, reader = opened(mount, hostile)
    places = [film_share(reader, s) for s in (0.2, 0.5, 0.8)]
    press(mounted, *["Shift+ArrowLeft"] * 10)  # half of the range: 0.25 is black and 0.75 white
    told(reader).to_contain_text("window 50 %, level 50 %")
    assert grey_at(reader, *places) == pytest.approx([0, 128, 255], abs=3)
    press(mounted, "i")
    assert grey_at(reader, *places) == pytest.approx([255, 127, 0], abs=3)
    expect(reader.get_by_role("button", name="Invert (I)")).to_have_attribute("aria-pressed", "true")
    press(mounted, "o")
    assert grey_at(reader, *places) == pytest.approx([51, 128, 204], abs=3)
    level = reader.get_by_role("slider", name="level")
    level.focus()
    press(mounted, "End")  # level at the top: all but the brightest half of the range is black
    assert grey_at(reader, *places) == pytest.approx([0, 0, 77], abs=3)
    box = reader.locator("canvas").bounding_box()
    x, y = box["x"] + 100, box["y"] + 100
    press(mounted, "o")
    mounted.page.mouse.move(x, y)
    mounted.page.mouse.down(button="right")
    mounted.page.mouse.move(x - 200, y + 40)  # 200 of 400 px: half of the range
    mounted.page.mouse.up(button="right")
    told(reader).to_contain_text("window 50 %, level 40 %")


def test_zoom_and_pan_by_keys_wheel_and_mouse(mount, hostile):
    mounted, reader = opened(mount, hostile)
    canvas = reader.locator("canvas")
    fitted = grey_at(reader, 0.5)
    percent = zoom_of(reader)
    press(mounted, "+", "+")
    assert zoom_of(reader) == pytest.approx(percent * 1.5625, abs=1.5)
    assert grey_at(reader, 0.5) == pytest.approx(fitted, abs=2)  # about the middle
    press(mounted, *["ArrowRight"] * 4)  # the film moves left under the window: brighter
    assert grey_at(reader, 0.5)[0] > fitted[0] + 8
    press(mounted, "0")
    assert grey_at(reader, 0.5) == pytest.approx(fitted, abs=2)
    box = canvas.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    mounted.page.mouse.move(x, y)
    mounted.page.mouse.wheel(0, -100)
    assert zoom_of(reader) == pytest.approx(percent * 1.25, abs=1.5)
    mounted.page.mouse.down()
    mounted.page.mouse.move(x + 120, y)
    mounted.page.mouse.up()
    assert grey_at(reader, 0.5)[0] < fitted[0] - 8
    press(mounted, "1")  # pixel by pixel needs the whole film
    told(reader).to_contain_text("zoom 100 %")
    told(reader).to_contain_text("4000 × 3200 px")


def test_a_film_keeps_its_colours_and_is_narrow_on_a_narrow_page(mount, hostile):
    mounted, reader = opened(mount, hostile, width=600)
    mounted.page.evaluate("document.body.style.cssText += '--jp-layout-color1:#111;--jp-content-font-color1:#eee;'")
    background = "e => getComputedStyle(e.closest('.mma-stage')).backgroundColor"
    assert reader.locator("canvas").evaluate(background) == "rgb(11, 11, 11)"
    assert reader.locator("canvas").evaluate("e => getComputedStyle(e).filter") == "none"
    assert reader.evaluate("e => e.scrollWidth <= e.clientWidth")


def test_markup_in_data_is_text(mount, hostile, watch):
    _, reader = opened(mount, hostile, 1)
    case = reader.locator(".mma-case")
    expect(case.locator(".mma-report")).to_contain_text(MARKUP)
    expect(case.get_by_role("heading", level=3)).to_have_text("case <1> 'q\" 😀")
    expect(case.get_by_role("row", name="view").locator("td")).to_have_text(MARKUP)
    assert case.locator("img, script, b").count() == 0
    assert watch.dialogs == []


def test_terms_of_the_slice_are_marked_with_words(mount, hostile):
    _, reader = opened(mount, hostile)
    marks = reader.locator(".mma-report mark")
    words = marks.evaluate_all("all => all.map((e) => e.firstChild.textContent)")
    assert words == ["Chest tube", "pneumothorax", "pneumonia"]
    assert marks.evaluate_all("all => all.map((e) => e.dataset.status)") == ["affirmed", "negated", "uncertain"]
    assert "line-through" in marks.nth(1).evaluate("e => getComputedStyle(e).textDecorationLine")
    expect(reader.locator(".mma-unseen", has_text="term of the slice, denied")).to_have_count(1)
    expect(reader.get_by_text("1 affirmed, 1 denied (struck), 1 in doubt (dotted)")).to_be_visible()
    assert reader.locator(".mma-report strong").all_inner_texts() == ["EXAMINATION:", "FINDINGS:"]
    expect(reader.get_by_text("Strength in “tubes”: 1.00, a member")).to_be_visible()
    facts = reader.locator(".mma-facts").first
    expect(facts.locator("tbody td")).to_have_text(["1", "0.20 ▲ wrong"])


def test_a_report_of_100_kb_is_cut_and_says_so(mount, hostile):
    _, reader = opened(mount, hostile, 2)
    assert reader.locator(".mma-report").evaluate("e => e.textContent.length") > 100_000
    expect(reader.get_by_text(f"100,000 of {len(REPORTS[2]):,} characters are shown")).to_be_visible()
    assert reader.locator("mark[data-status=negated]").count() == 100_000 // 48


def test_right_to_left_text_runs_that_way(mount, hostile):
    _, reader = opened(mount, hostile, 3)
    value = reader.get_by_role("row", name="view").locator("td")
    assert value.evaluate("e => e.matches(':dir(rtl)')")
    assert reader.locator(".mma-report").evaluate("e => getComputedStyle(e).unicodeBidi") == "plaintext"
    assert reader.get_by_role("row", name="age").locator("td").evaluate("e => e.matches(':dir(ltr)')")


def test_controls_are_shown_and_wide_characters_counted(mount, hostile):
    _, reader = opened(mount, hostile, 4)
    expect(reader.locator(".mma-report")).to_contain_text("␀␇␛[31m 😀🫁")
    words = reader.locator("mark").evaluate_all("all => all.map((e) => e.firstChild.textContent)")
    assert words == ["chest\ttube", "pneumothorax", "chest tube"]


def test_a_case_without_an_image_still_has_its_report(mount, hostile):
    mounted, reader = opened(mount, hostile, 1)
    expect(reader.get_by_text("No image: missing")).to_be_visible()
    expect(reader.locator(".mma-report mark")).to_have_count(1)
    press(mounted, "+", "1", "i", "f", "ArrowLeft")  # none of which finds anything to work on
    press(mounted, "n")
    expect(reader.get_by_text("No image")).to_have_count(0)


def test_next_and_previous_follow_the_grid_and_stop_at_its_ends(mount, hostile):
    mounted, reader = opened(mount, hostile)
    heading = reader.get_by_role("heading", level=3)
    status = mounted.view.get_by_role("status").last
    press(mounted, "p")
    expect(status).to_have_text("This is the first case")
    for k in range(1, 6):
        press(mounted, "n")
        expect(heading).to_contain_text(f"case <{k}>")
    press(mounted, "n")
    expect(status).to_have_text("This is the last case")
    reader.get_by_role("button", name="Previous case (P)").click()
    expect(heading).to_contain_text("case <4>")
    expect(reader.locator(".mma-report")).not_to_be_empty()


def test_escape_closes_and_gives_the_focus_back(mount, hostile):
    mounted, reader = opened(mount, hostile)
    press(mounted, "n")
    mounted.page.keyboard.press("Escape")
    expect(reader).to_be_hidden()
    expect(mounted.view.get_by_role("grid")).to_be_focused()
    mounted.page.keyboard.press("Enter")  # on the case that was read last
    wait(mounted)
    expect(reader.get_by_role("heading", level=3)).to_contain_text("case <1>")


def test_the_focus_stays_inside(mount, hostile):
    mounted, _ = opened(mount, hostile)
    inside = "document.activeElement.closest('.mma-reader') !== null"
    stops = set()
    for key in ["Tab"] * 12 + ["Shift+Tab"] * 12:
        mounted.page.keyboard.press(key)
        assert mounted.page.evaluate(inside)
        stops.add(mounted.page.evaluate("document.activeElement.ariaLabel ?? document.activeElement.textContent"))
    assert any(stop.startswith("Film. Plus") for stop in stops)
    assert "Note on this image" in stops
    assert len([stop for stop in stops if stop.endswith(")")]) <= 2  # a bar is one stop


def test_a_bar_is_walked_by_arrows(mount, hostile):
    mounted, reader = opened(mount, hostile)
    reader.get_by_role("button", name="Previous case (P)").focus()
    mounted.page.keyboard.press("ArrowRight")
    expect(reader.get_by_role("button", name="Next case (N)")).to_be_focused()
    mounted.page.keyboard.press("End")
    expect(reader.get_by_role("button", name="Close (Escape)")).to_be_focused()
    mounted.page.keyboard.press("Enter")
    expect(reader).to_be_hidden()


def test_verdict_and_note_on_an_image(mount, hostile):
    mounted, reader = opened(mount, hostile)
    press(mounted, "a")
    mounted.until(lambda: [v["verdict"] for v in mounted.widget.image_verdicts.values()] == ["accept"])
    note = reader.get_by_role("textbox")
    note.focus()
    mounted.page.keyboard.type("no pain")  # letters that are keys elsewhere
    mounted.page.keyboard.press("Tab")
    said = {"case <0> 'q\" 😀": {"verdict": "accept", "note": "no pain"}}
    mounted.until(lambda: mounted.widget.image_verdicts == said)
    expect(reader.get_by_role("heading", level=3)).to_contain_text("case <0>")
    mounted.page.keyboard.press("Shift+Tab")
    mounted.page.keyboard.press("Escape")
    expect(reader).to_be_hidden()


def test_with_the_mouse_alone(mount, hostile):
    mounted, reader = opened(mount, hostile)
    reader.get_by_role("button", name="Close (Escape)").click()
    mounted.view.get_by_role("gridcell").nth(3).dblclick()
    wait(mounted)
    expect(reader.get_by_role("heading", level=3)).to_contain_text("case <3>")
    reader.get_by_role("button", name="Invert (I)").click()
    reader.get_by_role("button", name="needs a radiologist").click()
    mounted.until(lambda: [v["verdict"] for v in mounted.widget.image_verdicts.values()] == ["radiologist"])
    told(reader).to_contain_text("inverted")


def test_a_busy_kernel_is_waited_for(mount, hostile):
    mounted, reader = opened(mount, hostile)
    mounted.paused = True
    mounted.page.keyboard.press("n")
    expect(reader.get_by_text("Waiting for the kernel…")).to_have_count(2)  # film and report
    facts = reader.locator(".mma-facts").first
    expect(facts.locator("tbody td")).to_have_text(["0", "0.10 ✓ right"])  # known here
    mounted.page.keyboard.press("n")
    mounted.go_on()
    wait(mounted)
    expect(reader.get_by_role("heading", level=3)).to_contain_text("case <2>")
    expect(reader.get_by_text("Waiting for the kernel…")).to_have_count(0)


def test_two_views_show_it_and_one_has_the_focus(mount, hostile):
    mounted, reader = opened(mount, hostile, views=2)
    other = mounted.page.locator(".view").nth(1)
    other.locator(".mma-reader[data-ready='1']:visible").wait_for()
    expect(reader.locator("canvas")).to_be_focused()
    mounted.page.keyboard.press("Escape")
    expect(other.locator(".mma-reader")).to_be_hidden()
    expect(mounted.view.get_by_role("grid")).to_be_focused()


def test_another_slice_marks_other_terms(mount, hostile):
    mounted, reader = opened(mount, hostile)
    mounted.widget.selected_slice = ""
    expect(reader.locator(".mma-report mark")).to_have_count(0)
    expect(reader.locator(".mma-strength")).to_have_count(0)


def test_grey_tables(page):
    """A window of 1 at level 0.5 changes nothing; half of it doubles the contrast about the level."""
    source = bundle("grid.js").split("export default")[0]
    run = f"(look) => {{ {source}; return [...greyTable(256, look)]; }}"
    same = page.evaluate(run, {"window": 1, "level": 0.5, "inverted": False})
    assert same == list(range(256))
    assert page.evaluate(run, {"window": 1, "level": 0.5, "inverted": True}) == same[::-1]
    half = page.evaluate(run, {"window": 0.5, "level": 0.25, "inverted": False})
    assert half[:3] == [0, 2, 4]
    assert set(half[128:]) == {255}


def test_a_case_that_follows_the_focus(mount, hostile):
    """As the explorer shows it: beside the others, without a film."""
    mounted, _ = opened(mount, hostile)
    parts = bundle("grid.js").split("export default")[0] + "export { Store, hostOf, mountRoot, mountCase };"
    show = """async (text) => {
      const url = URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
      const { Store, hostOf, mountRoot, mountCase } = await import(url);
      const el = document.createElement("div");
      el.className = "pane"; document.body.replaceChildren(el);
      globalThis.own = new Store(hostOf(model));
      globalThis.close = mountRoot(el, own, (body, store) => mountCase(body, store), "case");
    }"""
    mounted.page.evaluate(show, parts)
    case = mounted.page.locator(".pane .mma-case")
    expect(case).to_contain_text("No case is chosen")
    expect(case).to_have_attribute("data-ready", "1")
    mounted.page.evaluate("for (const at of [0, 2, 4, 1]) own.set('focus', at)")  # faster than answers come
    expect(case.get_by_role("heading", level=3)).to_contain_text("case <1>")
    expect(case).to_have_attribute("data-ready", "1")
    expect(case.locator("mark")).to_have_count(1)
    case.get_by_role("button", name="reject").click()
    mounted.until(lambda: [v["verdict"] for v in mounted.widget.image_verdicts.values()] == ["reject"])
    mounted.page.evaluate("close()")
    expect(case).to_have_count(0)


@pytest.mark.parametrize(
    "style",
    ["", "background:#111;--jp-layout-color1:#111;--jp-content-font-color1:#eee;--jp-content-font-color2:#bbb;"],
)
def test_axe_finds_nothing(mount, hostile, style):
    mounted, _ = opened(mount, hostile)
    mounted.page.evaluate("style => { document.body.style.cssText += style }", style)
    found = Axe().run(mounted.page, context=".mma-reader").response
    assert found["passes"]
    assert [(v["id"], v["impact"]) for v in found["violations"]] == []


def test_it_goes_without_a_trace(mount, hostile):
    """A view that is closed while it reads leaves no listener and no error behind."""
    mounted, _ = opened(mount, hostile)
    before = mounted.page.evaluate("model.listeners()")
    mounted.paused = True
    mounted.page.keyboard.press("n")
    mounted.page.evaluate("views[0].close()")
    mounted.go_on()
    assert mounted.page.evaluate("model.listeners()") < before
    expect(mounted.page.locator(".mma-reader, .mma-case")).to_have_count(0)


def test_a_fine_screen_and_the_full_screen(mount, hostile):
    mounted, reader = opened(mount, hostile)
    canvas = reader.locator("canvas")
    mounted.page.context.new_cdp_session(mounted.page).send(
        "Emulation.setDeviceMetricsOverride", {"width": 1280, "height": 720, "deviceScaleFactor": 2, "mobile": False}
    )
    press(mounted, "g")
    mounted.page.wait_for_function("document.fullscreenElement?.className === 'mma-reader'")
    assert grey_at(reader, film_share(reader, 0.25)) == pytest.approx([64], abs=3)
    assert canvas.evaluate("e => e.width === 2 * e.clientWidth && e.clientHeight > 550")
    press(mounted, "g")
    mounted.page.wait_for_function("document.fullscreenElement === null")


def test_several_labels_and_two_models(mount):
    frame = pd.DataFrame(
        {"who": [1, 2], "a": [1, 0], "b": [None, 1], "pa": [0.9, 0.8], "pb": [0.3, 0.1], "report": ["a", "b"]}
    )
    data = mma.AuditData.from_frame(frame, label=["a", "b"], y_proba=["pa", "pb"], patient_id="who", report="report")
    other = data.with_predictions(1 - data.y_proba)

    def make():
        grid = mma.widgets.SliceGrid(data, other=other, names=("old", "new <b>"), show="all")
        grid._rows = [{"id": "h01", "name": "x" * 300, "origin": "hypothesis", "target_index": 1, "terms": []}]
        grid.cases.own["h01"] = np.array([255, 0], np.uint8)
        grid.selected_slice = "h01"
        return grid

    mounted = mount(make)
    mounted.view.locator(".mma-grid[data-ready='1']").wait_for()
    mounted.view.get_by_role("grid").focus()
    mounted.page.keyboard.press("Home")
    mounted.page.keyboard.press("Enter")
    wait(mounted)
    reader = mounted.view.locator(".mma-reader")
    facts = reader.locator(".mma-facts").first
    assert facts.locator("thead th").all_inner_texts() == ["label", "old", "new <b>"]
    # The label that the slice is about comes first; that of case 0 is not known.
    assert facts.locator("tbody tr").all_inner_texts() == [
        "b\tnot known\t0.30\t0.70",
        "a\t1\t0.90 ✓ right\t0.10 ▲ wrong",
    ]
    expect(reader.get_by_text("No image: no images here")).to_be_visible()
    expect(reader.get_by_text("The slice has no terms that reports could hold.")).to_be_visible()
    expect(reader.locator(".mma-strength")).to_have_text(f"Strength in “{'x' * 80}…”: 1.00, a member")
