"""The explorer in a page: what is linked without a kernel, filters, metadata, map, and testing a selection."""

import re
import threading
import zlib

import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import expect

import mmaudit as mma
from mmaudit.widgets import _base, _columns
from mmaudit.widgets._bundle import folder

SHARED = folder() / "shared"
IMPORT = "(text) => import(URL.createObjectURL(new Blob([text], { type: 'text/javascript' })))"


def pure(page, name, expression, *given):
    """Return an expression of a module's exports, `m`, and of what is given, `g`; it must not need other modules."""
    text = re.sub(r"^import .*$", "", (SHARED / name).read_text("utf-8"), flags=re.MULTILINE)
    return page.evaluate(f"([text, g]) => ({IMPORT})(text).then((m) => {expression})", [text, list(given)])


@pytest.fixture
def explorer(mount, small_audit):
    """Return a function that shows an explorer of the small audit, or of another widget, with all in its place."""
    small_audit.user_verdicts, small_audit.user_edits = {}, {}

    def show(factory=lambda: mma.widgets.SliceExplorer(small_audit), **how):
        mounted = mount(factory, **how)
        expect(mounted.view.locator(".mma-explorer")).to_have_attribute("data-ready", "1")
        expect(mounted.view.locator(".mma-metadata")).to_have_attribute("data-ready", "1")
        return mounted

    return show


@pytest.fixture
def places(small_audit):
    """Return where the map has the cases, in 0..65535."""
    content, (block,) = _columns.columns(mma.widgets.SliceExplorer(small_audit), {"what": "map"}, Quiet())
    raw = zlib.decompress(block)
    at = {s["name"]: np.frombuffer(raw, "<u2", s["length"], s["offset"]).astype(float) for s in content["sections"]}
    return at["x"], at["y"]


class Quiet:
    def step(self, *_):
        pass


def open_map(mounted):
    mounted.view.get_by_role("tab", name="Map").click()
    expect(mounted.view.locator(".mma-map")).to_have_attribute("data-ready", "1")
    stage = mounted.view.get_by_role("application", name="Map of the cases")
    stage.scroll_into_view_if_needed()
    return stage


def drag(mounted, stage, *points, held=()):
    """Drag over points of the stage, given as shares of its inner width and height, from the lower left."""
    box = stage.bounding_box()
    edge = 9  # EDGE_PX of map.js, and the border
    at = [
        (box["x"] + edge + x * (box["width"] - 2 * edge), box["y"] + edge + (1 - y) * (box["height"] - 2 * edge))
        for x, y in points
    ]
    for key in held:
        mounted.page.keyboard.down(key)
    mounted.page.mouse.move(*at[0])
    mounted.page.mouse.down()
    for x, y in at[1:]:
        mounted.page.mouse.move(x, y, steps=3)
    mounted.page.mouse.up()
    for key in held:
        mounted.page.keyboard.up(key)


def inside(places, low, high, slack=0.0):
    """Return the positions of the cases inside a rectangle given by corners in shares, `slack` wider on each side."""
    x, y = (values / 65_535 for values in places)
    within = (x > low[0] - slack) & (x < high[0] + slack) & (y > low[1] - slack) & (y < high[1] + slack)
    return set(np.flatnonzero(within).tolist())


def selected(mounted):
    return set(np.frombuffer(mounted.widget._selected, "<u4").tolist())


def choose_old(mounted, data):
    """Select, from Python, the cases of the planted failure."""
    view = data.metadata["view"] == "AP supine"
    mounted.widget.selected_ids = data.sample_id[view.to_numpy()].tolist()
    expect(mounted.view.get_by_text(f"{int(view.sum())} selected", exact=True)).to_be_visible()


class TestPure:
    def test_points_in_a_polygon(self, page):
        found = pure(
            page, "map.js", "m.inPolygon(g[0], g[1], g[2], g[3])",
            [1, 5, 5, 9, 5], [1, 5, 2, 9, 6], [[0, 4], [10, 4], [10, 10], [0, 10]], [1, 1, 1, 1, 0],
        )  # fmt: skip
        assert found == [1, 3]

    def test_against_another_implementation(self, page):
        from matplotlib.path import Path

        random = np.random.default_rng(0)
        polygon, points = random.random((9, 2)), random.random((2000, 2))  # its sides cross each other
        found = pure(
            page, "map.js", "m.inPolygon(g[0], g[1], g[2])", *points.T.tolist(), polygon.tolist()
        )  # fmt: skip
        # Even-odd: a point is inside where its winding number is odd; with crossings counted one by one.
        assert found == [i for i, point in enumerate(points) if even_odd(point, polygon)]
        simple = polygon[np.argsort(np.arctan2(*(polygon - polygon.mean(axis=0)).T))]
        found = pure(page, "map.js", "m.inPolygon(g[0], g[1], g[2])", *points.T.tolist(), simple.tolist())
        assert found == np.flatnonzero(Path(simple).contains_points(points)).tolist()

    def test_filters_all_hold(self, page):
        columns = [{"name": "view", "codes": [0, 1, 1, 255]}]
        filters = [{"column": "view", "codes": [1, 255]}, {"mask": [1, 1, 0, 1]}]
        assert pure(page, "filters.js", "Array.from(m.filterMask(4, g[0], g[1]))", filters, columns) == [0, 1, 0, 1]
        assert pure(page, "filters.js", "m.filterMask(4, [], g[0])", columns) is None

    def test_counts(self, page):
        found = pure(
            page, "metadata.js", "(({a, b, n, m: k}) => [a[0], a[1], b[0], b[1], n, k])"
            "(m.countCodes([0, 0, 1, 1, 0], (i) => i < 2, (i) => i < 4))",
        )  # fmt: skip
        assert found == [2, 0, 0, 2, 2, 2]


def even_odd(point, polygon):
    """Cast a ray upwards, in exact steps of its own."""
    (x, y), crossings = point, 0
    for (ax, ay), (bx, by) in zip(polygon, np.roll(polygon, 1, axis=0), strict=True):
        if min(ax, bx) <= x < max(ax, bx):
            crossings += ay + (by - ay) * (x - ax) / (bx - ax) > y
    return crossings % 2 == 1


class TestMetadata:
    def test_slice_against_the_rest_of_its_label(self, explorer, small_audit):
        mounted = explorer()
        mounted.widget.selected_slice = "s01"
        data, row = small_audit._data, mounted.widget._rows[0]
        members = (small_audit.membership["s01"] >= 0.5).to_numpy()
        compared = data.y_true == int(row["label"])
        expect(mounted.view.get_by_text(f"slice s01, {members.sum()} cases")).to_be_visible()
        for view in ("AP supine", "AP"):
            here = (data.metadata["view"] == view).to_numpy()
            a, b = (here & members).sum(), (here & compared & ~members).sum()
            n, m = members.sum(), (compared & ~members).sum()
            name = f"view = {view}: {100 * a / n:.0f} % of slice s01 ({a} of {n}), "
            name += f"{100 * b / m:.0f} % of the rest ({b} of {m})"
            expect(mounted.view.get_by_role("button", name=name, exact=True)).to_be_visible()
        # What differs most comes first.
        assert mounted.view.locator(".mma-metadata-name").first.inner_text() == "view"

    def test_a_value_filters(self, explorer, small_audit):
        mounted = explorer()
        n = int((small_audit._data.metadata["view"] == "AP supine").sum())
        bar = mounted.view.get_by_role("button", name="view = AP supine:")
        bar.click()
        expect(bar).to_have_attribute("aria-pressed", "true")
        expect(mounted.view.get_by_text(f"{n} of {len(small_audit.samples)} cases")).to_be_visible()
        mounted.view.get_by_role("button", name="Remove filter view = AP supine").click()
        expect(bar).to_have_attribute("aria-pressed", "false")
        expect(mounted.view.get_by_text(f"{len(small_audit.samples)} cases", exact=True)).to_be_visible()

    def test_keyboard(self, explorer):
        mounted = explorer()
        buttons = mounted.view.locator(".mma-metadata button")
        assert buttons.evaluate_all("all => all.filter((one) => one.tabIndex === 0).length") == 1
        buttons.first.focus()
        mounted.page.keyboard.press("ArrowDown")
        expect(buttons.nth(1)).to_be_focused()
        mounted.page.keyboard.press("Enter")
        expect(buttons.nth(1)).to_have_attribute("aria-pressed", "true")
        mounted.page.keyboard.press("End")
        expect(buttons.last).to_be_focused()
        mounted.page.keyboard.press("Control+z")
        expect(buttons.nth(1)).to_have_attribute("aria-pressed", "false")
        assert buttons.evaluate_all("all => all.filter((one) => one.tabIndex === 0).length") == 1


class TestFilters:
    def test_numbers_words_and_selection(self, explorer, small_audit):
        mounted = explorer()
        view, data = mounted.view, small_audit._data
        content = _columns.columns(mounted.widget, {}, Quiet())
        age = next(column for column in content[0]["columns"] if column["name"] == "age")
        view.get_by_label("Filter by column").select_option("age")
        view.get_by_label("From", exact=True).select_option(age["categories"][1])
        view.get_by_label("Up to").select_option(age["categories"][3])
        view.get_by_role("button", name="Filter", exact=True).click()
        low, high = float(age["categories"][1].split(" to ")[0]), float(age["categories"][3].split(" to ")[1])
        within = data.metadata["age"].between(low, high).to_numpy()
        expect(view.get_by_text(f"{within.sum()} of {len(within)} cases")).to_be_visible()

        view.get_by_label("Search in the reports").fill("effusion")
        mounted.page.keyboard.press("Enter")
        chip = view.get_by_role("button", name="Remove filter “effusion”")
        expect(chip).to_be_visible()
        word = np.array([bool(re.search(r"(?<![a-z0-9])effusion", text.lower())) for text in data.reports])
        expect(view.get_by_text(f"{(within & word).sum()} of {len(within)} cases")).to_be_visible()

        view.get_by_role("button", name="Select shown").click()
        mounted.until(lambda: selected(mounted) == set(np.flatnonzero(within & word).tolist()))
        view.get_by_role("button", name="Clear all filters").click()
        view.get_by_role("button", name="Only selected").click()
        expect(view.get_by_text(f"{(within & word).sum()} of {len(within)} cases")).to_be_visible()

    def test_values_of_one_column_are_alternatives(self, explorer, small_audit):
        mounted = explorer()
        for name in ("view = AP:", "view = PA:"):
            mounted.view.get_by_role("button", name=name).click()
        n = int(small_audit._data.metadata["view"].isin(["AP", "PA"]).sum())
        expect(mounted.view.get_by_text(f"{n} of {len(small_audit.samples)} cases")).to_be_visible()
        expect(mounted.view.get_by_role("button", name="Remove filter")).to_have_count(1)

    def test_undo(self, explorer):
        mounted = explorer()
        undo = mounted.view.get_by_role("button", name="Undo")
        expect(undo).to_be_disabled()
        mounted.view.get_by_role("button", name="view = AP:").click()
        undo.click()
        expect(mounted.view.get_by_role("button", name="Remove filter")).to_have_count(0)
        expect(undo).to_be_disabled()


class TestMap:
    def test_rectangle(self, explorer, places):
        mounted = explorer()
        stage = open_map(mounted)
        drag(mounted, stage, (0.1, 0.2), (0.5, 0.7))
        mounted.until(lambda: selected(mounted))
        got = selected(mounted)
        assert inside(places, (0.1, 0.2), (0.5, 0.7), -0.01) <= got <= inside(places, (0.1, 0.2), (0.5, 0.7), 0.01)
        drag(mounted, stage, (0.6, 0.1), (0.9, 0.5), held=["Shift"])
        mounted.until(lambda: len(selected(mounted)) > len(got))
        assert selected(mounted) >= got | inside(places, (0.6, 0.1), (0.9, 0.5), -0.01)

    def test_lasso(self, explorer, places):
        mounted = explorer()
        stage = open_map(mounted)
        mounted.view.get_by_role("button", name="lasso").click()
        drag(mounted, stage, (0.05, 0.05), (0.95, 0.05), (0.05, 0.95))  # a triangle
        mounted.until(lambda: selected(mounted))
        x, y = (values / 65_535 for values in places)
        surely = np.flatnonzero((x > 0.06) & (y > 0.06) & (x + y < 0.98))
        surely_not = np.flatnonzero((x < 0.04) | (y < 0.04) | (x + y > 1.02))
        assert set(surely) <= selected(mounted) and not set(surely_not) & selected(mounted)

    def test_keyboard(self, explorer, places):
        mounted = explorer()
        stage = open_map(mounted)
        mounted.view.get_by_role("tab", name="Map").focus()
        stage.focus()
        for key in ("ArrowRight", "ArrowLeft", "ArrowDown", "Shift+ArrowRight", "Shift+ArrowUp"):
            mounted.page.keyboard.press(key)  # the first shows it: 0.4 to 0.6 on both axes
        low, high = (0.36, 0.36), (0.60, 0.60)
        mounted.page.keyboard.press("Enter")
        expected = inside(places, low, high)
        mounted.until(lambda: selected(mounted) == expected)
        assert expected
        mounted.page.keyboard.press("Escape")  # the rectangle
        assert selected(mounted) == expected
        mounted.page.keyboard.press("Escape")  # the selection
        mounted.until(lambda: not selected(mounted))

    def test_what_is_filtered_out_is_not_selected(self, explorer, small_audit):
        mounted = explorer()
        mounted.view.get_by_role("button", name="view = AP supine:").click()
        drag(mounted, open_map(mounted), (-0.01, -0.02), (1.01, 1.02))
        expected = np.flatnonzero((small_audit._data.metadata["view"] == "AP supine").to_numpy())
        mounted.until(lambda: selected(mounted) == set(expected.tolist()))

    def test_a_point_is_read(self, explorer, small_audit, places):
        mounted = explorer()
        stage = open_map(mounted)
        x, y = (values / 65_535 for values in places)
        position = int(np.argmin(x))
        drag(mounted, stage, (x[position], y[position]))
        sample = str(small_audit.samples.index[position])
        expect(mounted.view.locator(".mma-case h3")).to_contain_text(sample)
        assert not selected(mounted)

    def test_errors_and_members_are_drawn(self, explorer):
        mounted = explorer()
        open_map(mounted)
        pixels = """canvas => { const [w, k] = [canvas.width, canvas.height], found = {};
          const copy = new OffscreenCanvas(w, k).getContext('2d', { willReadFrequently: true });
          copy.drawImage(canvas, 0, 0); const d = copy.getImageData(0, 0, w, k).data;
          for (let i = 0; i < d.length; i += 4) if (d[i + 3] > 250) { const c = [d[i], d[i + 1], d[i + 2]].join();
          found[c] = (found[c] ?? 0) + 1; } return found; }"""
        canvas = mounted.view.locator(".mma-map-points")
        blue = "0,114,178"
        assert blue not in canvas.evaluate(pixels)
        mounted.widget.selected_slice = mounted.widget._rows[2]["id"]  # most of its members are right
        mounted.page.wait_for_function(f"(canvas) => ({pixels})(canvas)['{blue}'] > 4", arg=canvas.element_handle())

    def test_given_places(self, mount, small_audit):
        n = len(small_audit.samples)
        xy = np.stack([np.arange(n), np.zeros(n)], axis=1)
        mounted = mount(lambda: mma.widgets.SliceExplorer(small_audit, coordinates=xy))
        stage = open_map(mounted)
        expect(mounted.view.get_by_text("Places as given.")).to_be_visible()
        drag(mounted, stage, (-0.01, 0.2), (0.5, 0.8))
        mounted.until(lambda: len(selected(mounted)) > n // 3)
        assert sorted(selected(mounted)) == list(range(len(selected(mounted))))


class TestTested:
    def test_a_selection(self, explorer, small_audit):
        mounted = explorer()
        view = mounted.view
        expect(view.get_by_role("button", name="Test this selection")).to_be_disabled()
        choose_old(mounted, small_audit._data)
        view.get_by_label("Name of the group").fill('<i>"supine"</i>')
        mounted.page.keyboard.press("Enter")
        expect(
            view.get_by_text('In a group chosen by hand (<i>"supine"</i>), the classifier misses').first
        ).to_be_visible(timeout=20_000)
        expect(view.get_by_text("1 of 15 groups tested beside this audit.")).to_be_visible()
        assert mounted.widget.selected_slice == "h01"
        row = view.locator(".mma-table").get_by_text('<i>"supine"</i>').first
        expect(row).to_be_visible()
        expect(view.get_by_role("status").first).to_contain_text('Tested <i>"supine"</i>')

        view.get_by_role("button", name="Undo").click()
        mounted.until(lambda: "h01" in mounted.widget._edits["hidden"])
        expect(view.locator(".mma-table").get_by_text('<i>"supine"</i>')).to_have_count(0)
        assert mounted.widget.selected_slice == ""
        assert mounted.widget.hypotheses["name"].tolist() == ['<i>"supine"</i>'] * 2  # counted all the same

    def test_what_was_selected_when_it_was_asked(self, explorer, small_audit):
        """A message overtakes an update of traits that waits for the one before it."""
        mounted = explorer()
        old = np.flatnonzero((small_audit._data.metadata["view"] == "AP supine").to_numpy())
        mounted.paused = True
        for positions in ([0, 1, 2], old.tolist()):
            mounted.page.evaluate(
                "(p) => { model.set('_selected', new DataView(Uint32Array.from(p).buffer)); model.save_changes(); }",
                positions,
            )
        mounted.view.get_by_role("button", name="Test this selection").click()
        asked = "() => model.waiting !== null && model.sent.filter((one) => one.kind !== 'ping').at(-1).kind"
        assert mounted.page.evaluate(asked) == "test"
        mounted.go_on()
        expect(mounted.view.get_by_text("1 of 15 groups tested beside this audit.")).to_be_visible(timeout=20_000)
        wrong_label = small_audit.samples["y_true"].to_numpy() != 1
        inside = mounted.widget.cases.strength("h01") >= 128
        assert sorted(np.flatnonzero(inside)) == sorted(set(old) - set(np.flatnonzero(wrong_label)))
        mounted.until(lambda: sorted(selected(mounted)) == sorted(old.tolist()))

    def test_progress_and_cancel(self, explorer, small_audit, monkeypatch):
        reached, ended = threading.Event(), threading.Event()

        def slowly(widget, content, job):
            try:
                for k in range(1000):
                    job.step(k, 1000, "testing on held-out patients")
                    reached.wait(0.01)
            finally:
                ended.set()

        monkeypatch.setattr("mmaudit.widgets._hypotheses.test", slowly)
        mounted = explorer()
        choose_old(mounted, small_audit._data)
        ask = mounted.view.get_by_role("button", name="Test this selection")
        ask.click()
        expect(mounted.view.get_by_text("Testing the selection: testing on held-out patients …")).to_be_visible()
        expect(mounted.view.get_by_role("progressbar", name="Testing the selection")).to_be_visible()
        expect(ask).to_be_disabled()
        mounted.view.get_by_role("button", name="Cancel").click()
        expect(mounted.view.get_by_text("Testing the selection: cancelled").first).to_be_visible()
        mounted.until(ended.is_set)
        expect(ask).to_be_enabled()

    def test_what_is_wrong_is_said(self, explorer, small_audit):
        mounted = explorer()
        mounted.widget.selected_ids = small_audit.samples.index[:2].tolist()
        mounted.view.get_by_role("button", name="Test this selection").click()
        said = mounted.view.locator(".mma-tested .mma-message[data-kind='error']")
        expect(said).to_contain_text("selection: expected at least 5 held-out patients of one label")


class TestLinked:
    def test_slice_grid_report(self, explorer):
        mounted = explorer()
        mounted.view.locator(".mma-table").get_by_text(mounted.widget._rows[0]["name"], exact=True).first.click()
        mounted.until(lambda: mounted.widget.selected_slice == "s01")
        expect(mounted.view.locator(".mma-metadata")).to_contain_text("slice s01")
        tile = mounted.view.locator(".mma-grid [role=gridcell]:visible").first
        tile.click()
        expect(mounted.view.locator(".mma-explorer-pane-case .mma-case")).to_have_attribute("data-ready", "1")
        mounted.until(lambda: len(mounted.widget.selected_ids) == 1)
        expect(mounted.view.locator(".mma-explorer-pane-case h3")).to_contain_text(str(mounted.widget.selected_ids[0]))

    def test_without_a_kernel(self, explorer, small_audit):
        mounted = explorer()
        stage = open_map(mounted)
        mounted.paused = True  # busy, or gone
        drag(mounted, stage, (0.0, 0.0), (0.7, 1.02))
        count = mounted.view.locator(".mma-tested .mma-explorer-count")
        expect(count).not_to_have_text("0 selected")
        mounted.view.get_by_role("tab", name="Metadata").click()
        mounted.view.get_by_role("button", name="view = AP:").click()
        expect(mounted.view.get_by_text(f" of {len(small_audit.samples)} cases")).to_be_visible()
        mounted.view.get_by_role("button", name="Test this selection").click()
        expect(mounted.view.get_by_text("Testing the selection: waiting for the kernel …")).to_be_visible()
        mounted.view.locator(".mma-tested").get_by_role("button", name="Cancel").click()
        mounted.view.get_by_role("button", name="Undo").click()
        mounted.go_on()
        mounted.until(lambda: selected(mounted))

    def test_two_views_share_all(self, explorer):
        mounted = explorer(views=2)
        first, second = mounted.page.locator(".view").all()
        first.get_by_role("button", name="view = AP:").click()
        expect(second.get_by_role("button", name="Remove filter view = AP")).to_be_visible()
        second.get_by_role("button", name="Undo").click()
        expect(first.get_by_role("button", name="Remove filter view = AP")).to_have_count(0)

    def test_nothing_is_left_behind(self, explorer):
        mounted = explorer()
        open_map(mounted)
        mounted.page.evaluate("() => { views[0].close(); widget.end(); }")
        assert mounted.page.evaluate("() => model.listeners()") == 0
        assert mounted.page.locator(".mma-explorer").count() == 0


class TestLayout:
    def test_narrow(self, explorer):
        mounted = explorer(width=600)
        over = "el => el.scrollWidth - el.clientWidth"
        assert mounted.view.locator(".mma-explorer").evaluate(over) <= 0
        boxes = [mounted.view.locator(f".mma-explorer-pane-{name}").bounding_box() for name in ("table", "grid")]
        assert boxes[1]["y"] >= boxes[0]["y"] + boxes[0]["height"]

    def test_tabs(self, explorer):
        mounted = explorer()
        tabs = mounted.view.get_by_role("tab")
        tabs.first.focus()
        mounted.page.keyboard.press("ArrowRight")
        expect(mounted.view.get_by_role("tab", name="Map")).to_be_focused()
        expect(mounted.view.get_by_role("tabpanel", name="Map")).to_be_visible()
        expect(mounted.view.get_by_role("tabpanel", name="Metadata")).to_be_hidden()

    def test_small_targets(self, explorer):
        mounted = explorer()
        small = """el => [...el.querySelectorAll('.mma-explorer-pane-bars button, .mma-explorer-pane-side button')]
          .filter((b) => b.offsetParent).map((b) => b.getBoundingClientRect())
          .filter((r) => r.width < 24 || r.height < 24).length"""
        assert mounted.view.evaluate(small) == 0


class TestOtherData:
    def test_hostile_texts(self, mount):
        random = np.random.default_rng(0)
        n = 120
        evil = '<img src=x onerror="alert(1)">'
        frame = pd.DataFrame(
            {
                "y": np.arange(n) % 2,
                "p": random.random(n),
                "who": np.arange(n),
                evil: random.choice(["'\"&<b>", "شعاع الصدر", "a" * 300], n),
                "empty": [None] * n,
            }
        )
        data = mma.AuditData.from_frame(frame, label="y", y_proba="p", patient_id="who", metadata=[evil, "empty"])
        result = mma.audit(data, n_refits=0, n_permutations=99)
        mounted = mount(lambda: mma.widgets.SliceExplorer(result))
        expect(mounted.view.locator(".mma-metadata")).to_have_attribute("data-ready", "1")
        assert mounted.view.locator(".mma-metadata img, .mma-metadata b").count() == 0
        mounted.view.locator(".mma-metadata").get_by_role("button", name="شعاع الصدر").click()
        expect(mounted.view.get_by_role("button", name=f"Remove filter {evil} = شعاع الصدر")).to_be_visible()
        open_map(mounted)
        expect(mounted.view.get_by_text("Two principal components of the metadata.")).to_be_visible()
        mounted.view.get_by_label("Filter by column").select_option("empty")
        mounted.view.get_by_label("Value", exact=True).select_option("missing")

    def test_a_loaded_result_without_data(self, mount, small_audit, tmp_path):
        loaded = mma.load_result(small_audit.save(tmp_path / "x.mmaudit.json", metadata=False))
        mounted = mount(lambda: mma.widgets.SliceExplorer(loaded))
        expect(mounted.view.get_by_text("There is no metadata to show.")).to_be_visible()
        mounted.view.get_by_role("tab", name="Map").click()
        expect(mounted.view.get_by_text("There is no map without the data.")).to_be_visible()
        expect(mounted.view.get_by_label("Search in the reports")).to_be_hidden()

    def test_a_loaded_result_shows_the_metadata_that_were_saved(self, mount, small_audit, tmp_path):
        loaded = mma.load_result(small_audit.save(tmp_path / "x.mmaudit.json"))
        mounted = mount(lambda: mma.widgets.SliceExplorer(loaded))
        columns = mounted.view.locator(".mma-metadata-column")
        expect(columns).to_have_count(small_audit._data.metadata.shape[1])
        for name in small_audit._data.metadata:
            expect(mounted.view.get_by_role("group", name=name, exact=True)).to_be_visible()

    def test_the_map_can_be_cancelled_and_asked_again(self, mount, small_audit, monkeypatch):
        made, waiting = _columns.places, threading.Event()

        def slowly(data, step):
            for k in range(1000):
                step(k, 1000, "reading reports for the map")
                waiting.wait(0.01)

        monkeypatch.setattr(_columns, "places", slowly)
        mounted = mount(lambda: mma.widgets.SliceExplorer(small_audit))
        mounted.view.get_by_role("tab", name="Map").click()
        expect(mounted.view.get_by_text("Making the map: reading reports for the map …")).to_be_visible()
        mounted.view.get_by_role("button", name="Cancel").click()
        monkeypatch.setattr(_columns, "places", made)
        mounted.view.get_by_role("button", name="Make the map").click()
        expect(mounted.view.locator(".mma-map")).to_have_attribute("data-ready", "1")


def test_the_questions_are_answered_by_name():
    for kind, where in _base.HANDLERS.items():
        if kind in ("columns", "test"):
            assert callable(_base._handler(kind)), where
