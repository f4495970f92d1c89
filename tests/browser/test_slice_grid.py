"""The grid of images in a page: what is drawn, by mouse and by keyboard only, and what it costs."""

import re

import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import expect

import mmaudit as mma
from mmaudit._errors import ImageReadError
from mmaudit.images import GrayImage
from mmaudit.widgets._bundle import bundle

READY = '.mma-grid[data-ready="1"]'
MANY = 50_000
TILES = ".mma-tile:not([hidden])"
MODULE = """async (text) => {
  globalThis.it = await import(URL.createObjectURL(new Blob([text], { type: "text/javascript" })));
  return null;
}"""


class Films:
    """Images in memory, uint8; number 1 cannot be read."""

    def __init__(self, n, side_px=64, broken=(1,)):
        self.pixels = np.random.default_rng(0).integers(0, 256, (n, side_px // 8, side_px // 8), dtype=np.uint8)
        self.broken = broken

    def __len__(self):
        return len(self.pixels)

    def read(self, index, *, max_side_px=None):
        if index in self.broken:
            raise ImageReadError("image", "a file", "none", "Check it.", reason="missing")
        return GrayImage(np.kron(self.pixels[index], np.ones((8, 8))).astype(np.float32) / 255, 64, 64, 8)


def make(n, **how):
    random = np.random.default_rng(1)
    y = random.integers(0, 2, n)
    frame = pd.DataFrame({"y": y, "p": np.clip(random.normal(0.3 + 0.4 * y, 0.2), 0, 1), "patient": np.arange(n)})
    return mma.AuditData.from_frame(
        frame, label="y", label_name="effusion", y_proba="p", patient_id="patient", images=Films(n, **how)
    )


@pytest.fixture
def show(mount):
    """Return a function that mounts a grid and waits until all that is in its window is drawn."""

    def shown(*given, how=None, **arguments):
        mounted = mount(lambda: mma.widgets.SliceGrid(*given, **arguments), **(how or {}))
        ready(mounted)
        return mounted

    return shown


def ready(mounted):
    mounted.view.locator(READY).wait_for()


def positions(mounted):
    """Positions of the tiles that exist, in the order of the page."""
    return mounted.view.locator(TILES).evaluate_all("all => all.map((tile) => Number(tile.dataset.position))")


def tile(mounted, position, pane=0):
    return mounted.view.locator(".mma-grid-pane").nth(pane).locator(f'.mma-tile[data-position="{position}"]')


def chosen(mounted, position):
    """The tile of a position, once it is selected."""
    return mounted.view.locator(f'.mma-tile[data-position="{position}"][aria-selected="true"]').first


def selected(mounted):
    """Positions that Python knows to be selected."""
    return np.frombuffer(mounted.widget._selected, "<u4").tolist()


def members(audit, slice_id):
    """Positions of the members, as Python ranks them."""
    return audit.samples.index.get_indexer(audit.members(slice_id).index).tolist()


class TestArithmetic:
    @pytest.fixture(autouse=True)
    def module(self, mount, page):
        exported = bundle("grid.js") + "export { tileWindow, tileOrder, TilePictures };"
        page.evaluate(MODULE, exported)
        self.page = page

    def window(self, **given):
        how = {"n": 1000, "columns": 10, "rowPx": 100, "viewPx": 450, "scrollTop": 0, **given}
        return self.page.evaluate("(how) => it.tileWindow(how)", how)

    def test_rows_in_the_window_and_one_beyond(self):
        assert self.window() == {"rows": 100, "height": 10_000, "scale": 1, "top": 0, "first": 0, "last": 5, "shift": 0}
        middle = self.window(scrollTop=1030)
        assert (middle["first"], middle["last"]) == (9, 15)
        end = self.window(scrollTop=9550)
        assert (end["first"], end["last"]) == (94, 99)

    @pytest.mark.parametrize("n", [0, 1, 9, 10, 11])
    def test_few(self, n):
        window = self.window(n=n)
        assert window["rows"] == -(-n // 10)
        assert window["last"] == window["rows"] - 1
        assert window["top"] == 0

    def test_a_height_that_browsers_cut_is_scaled(self):
        how = {"n": 10_000_000, "mostPx": 8_000_000}
        assert self.window(**how)["height"] == 8_000_000
        last = 0
        for scroll in range(0, 8_000_000, 333_333):
            window = self.window(**how, scrollTop=scroll)
            # What is in the window stands in the window.
            assert scroll - 200 <= window["first"] * 100 + window["shift"] <= scroll
            assert window["last"] * 100 + window["shift"] >= scroll + 350
            assert window["top"] >= last
            last = window["top"]
        end = self.window(**how, scrollTop=8_000_000 - 450)
        assert end["last"] == 999_999
        assert end["last"] * 100 + end["shift"] + 100 == pytest.approx(8_000_000, abs=1)

    def test_pictures_are_given_up_again(self):
        """The longest unused go first, and all at the end; whoever made an address for one gives it up."""
        found = self.page.evaluate(
            """async () => {
              const [make, end, alive] = [URL.createObjectURL, URL.revokeObjectURL, new Set()];
              URL.createObjectURL = (blob) => { const url = make(blob); alive.add(url); return url; };
              URL.revokeObjectURL = (url) => { alive.delete(url); end(url); };
              const store = { request: async (_kind, { positions }) => ({
                content: { positions, offsets: [...positions, -1].map((_, i) => i), errors: {} },
                buffers: [new DataView(new ArrayBuffer(positions.length))] }) };
              const pictures = new it.TilePictures(store, () => {}, () => {});
              for (let k = 0; k < 3000; k += 100) await pictures.ask(Array.from({ length: 100 }, (_, i) => k + i), 96);
              const before = alive.size;
              pictures.get(0, 96);
              await pictures.ask([3000, 3001], 96);
              const kept = [0, 1, 2, 3, 3001].map((p) => Boolean(pictures.get(p, 96)));
              const after = alive.size;
              pictures.close();
              return { before, after, kept, closed: alive.size };
            }"""
        )
        assert found == {"before": 3000, "after": 3000, "kept": [True, False, False, True, True], "closed": 0}

    def test_order_is_strength_then_errors_then_the_farthest(self):
        found = self.page.evaluate(
            """() => Array.from(it.tileOrder([0, 1, 2, 3, 4, 5, 6], {
              strength: [200, 255, 200, 200, 200, 0, 200], truth: [1, 0, 1, 1, 0, 1, -1],
              probability: [254, 0, 100, 20, 200, 0, 255], wrong: [0, 0, 1, 1, 0, 1, 0] }))"""
        )
        assert found == [1, 3, 2, 4, 0, 6, 5]


class TestWhatIsShown:
    def test_members_in_the_order_of_the_result(self, show, small_audit):
        mounted = show(small_audit)
        slice_id = small_audit.findings["slice_id"].iloc[0]
        assert mounted.widget.selected_slice == slice_id
        shown, known = positions(mounted), members(small_audit, slice_id)
        assert set(shown) <= set(known)
        assert mounted.view.locator(".mma-grid-title").inner_text().count(f"{len(known)} · members") == 1
        strength = mounted.widget.cases.strength(slice_id)[shown].astype(int)
        assert (np.diff(strength) <= 0).all()
        grid = mounted.view.get_by_role("grid")
        n_columns = int(grid.get_attribute("aria-colcount"))
        assert int(grid.get_attribute("aria-rowcount")) == -(-len(known) // n_columns)
        loaded = mounted.view.locator(f"{TILES} img").evaluate_all("all => all.map((img) => img.naturalWidth)")
        assert set(loaded) == {96}

    def test_what_a_tile_says(self, show, small_audit):
        mounted = show(small_audit)
        position = positions(mounted)[0]
        row = small_audit.samples.iloc[position]
        words = tile(mounted, position).get_attribute("aria-label")
        label = small_audit.data_summary["label_name"]
        assert words == (
            f"Case 1: {label}: {'yes' if row.y_true else 'no'}, probability {row.y_proba:.2f}, wrong, "
            f"membership 1.00, {row.part}"
        )
        assert "▲" in tile(mounted, position).inner_text()
        assert tile(mounted, position).get_attribute("aria-selected") == "false"

    def test_modes(self, show, small_audit):
        mounted = show(small_audit)
        widget, slice_id = mounted.widget, mounted.widget.selected_slice
        title = mounted.view.locator(".mma-grid-title")
        wrong = small_audit.members(slice_id)["wrong"]
        mounted.view.get_by_label("Show", exact=True).select_option("errors")
        title.get_by_text(f"· {int(wrong.sum())} · errors only").wait_for()
        mounted.until(lambda: widget.show == "errors")
        ready(mounted)
        labels = mounted.view.locator(TILES).evaluate_all("all => all.map((tile) => tile.getAttribute('aria-label'))")
        assert all(", wrong" in words for words in labels)
        widget.show = "all"
        title.get_by_text(f"· {len(small_audit.samples)} · all cases").wait_for()
        widget.show = "counterexamples"
        title.get_by_text("a few typical members, from the slice's explanation").wait_for()
        ready(mounted)
        first = positions(mounted)[:2]
        told = small_audit.explain(slice_id).members["counterexamples"][0]
        assert small_audit.samples.index[first].astype(str).tolist() == list(told)
        kinds = mounted.view.locator(TILES).evaluate_all("all => all.map((tile) => tile.dataset.kind)")
        assert set(kinds[::2]) == {"member"}
        assert set(kinds[1::2]) == {"counterexample"}

    def test_counterexamples_that_cannot_be_found_are_no_silence(self, show, small_audit, monkeypatch):
        monkeypatch.setattr(small_audit, "explanations", {})
        mounted = show(small_audit, show="counterexamples")
        assert (
            "embeddings: expected data with embeddings" in mounted.view.locator(".mma-grid .mma-message").inner_text()
        )

    def test_a_filter_and_given_cases(self, show, small_audit):
        mounted = show(small_audit, ids=list(small_audit.samples.index[[7, 3, 5]]))
        assert positions(mounted) == [7, 3, 5]
        mounted.widget._given = b""
        mounted.view.locator(".mma-grid-title").get_by_text(f"{len(small_audit.samples)}").wait_for()

    def test_a_filter_of_the_page(self, show, small_audit):
        """A filter passes 1; of pairs, it is the member that counts."""
        mounted = show(small_audit)
        first = positions(mounted)[:3]
        mounted.page.evaluate(MODULE, bundle("grid.js") + "export { Store, hostOf, mountGrid };")
        mounted.page.evaluate(
            """([n, first]) => {
              const el = document.createElement("div");
              el.className = "mma-root second";
              document.body.prepend(el);
              globalThis.store = new it.Store(it.hostOf(model));
              it.mountGrid(el, store, { chooser: false });
              const filter = new Uint8Array(n);
              for (const position of first.slice(1)) filter[position] = 1;
              store.set("filter", filter);
            }""",
            [len(small_audit.samples), first],
        )
        second = mounted.page.locator(".second")
        second.get_by_text("· 2 · members").wait_for()
        assert second.get_by_label("Slice", exact=True).count() == 0
        assert mounted.page.evaluate("Array.from(store.get('order'))") == first[1:]
        mounted.page.evaluate("() => store.set('filter', null)")
        second.locator(f'.mma-tile[data-position="{first[0]}"]').wait_for()

    def test_another_slice_beside(self, show, small_audit):
        a, b = small_audit.candidates["slice_id"][:2]
        mounted = show(small_audit, slice_id=a)
        mounted.view.get_by_label("Beside", exact=True).select_option(b)
        mounted.view.locator(".mma-grid-pane").nth(1).locator(TILES).first.wait_for()
        ready(mounted)
        mounted.until(lambda: mounted.widget.beside == b)
        for pane, slice_id in enumerate((a, b)):
            shown = mounted.view.locator(".mma-grid-pane").nth(pane).locator(TILES)
            found = set(shown.evaluate_all("all => all.map((tile) => Number(tile.dataset.position))"))
            assert found <= set(members(small_audit, slice_id))
        mounted.widget.beside = ""
        mounted.view.locator(".mma-grid-pane").nth(1).wait_for(state="detached")

    def test_two_models_scroll_together(self, show, small_audit):
        other = 1 - small_audit._data.y_proba
        mounted = show(small_audit, other=other, names=("ours", "theirs"), show="all")
        mounted.view.get_by_label("Beside", exact=True).select_option("ours and theirs")
        mounted.view.locator(".mma-grid-title").get_by_text("theirs").wait_for()
        mounted.view.locator(".mma-grid-pane").nth(1).locator(TILES).first.wait_for()
        mounted.until(lambda: mounted.widget.side_by_side)
        panes = mounted.view.locator(".mma-grid-scroll")
        panes.first.evaluate("(el) => { el.scrollTop = 800; }")
        mounted.page.wait_for_function("() => document.querySelectorAll('.mma-grid-scroll')[1].scrollTop === 800")
        ready(mounted)
        position = positions(mounted)[8]
        p = small_audit.samples["y_proba"].iloc[position]
        assert f"probability {p:.2f}" in tile(mounted, position, 0).get_attribute("aria-label")
        assert f"probability {1 - p:.2f}" in tile(mounted, position, 1).get_attribute("aria-label")

    def test_images_that_cannot_be_read_say_why(self, show):
        mounted = show(make(20))
        assert tile(mounted, 1).locator(".mma-tile-none").inner_text() == "missing"
        assert tile(mounted, 2).locator(".mma-tile-none").inner_text() == ""

    def test_data_without_images(self, show):
        data = make(20)
        data.images = None
        mounted = show(data)
        assert mounted.view.locator(f"{TILES} .mma-tile-none").first.inner_text() == "no image"
        assert "effusion" in tile(mounted, 2).get_attribute("aria-label")

    def test_no_case(self, show, small_audit):
        mounted = show(small_audit)
        known = members(small_audit, mounted.widget.selected_slice)
        outside = next(p for p in range(len(small_audit.samples)) if p not in known)
        mounted.widget._given = np.array([outside], "<u4").tobytes()
        mounted.view.get_by_text("No case to show.").wait_for()

    def test_names_with_markup_are_text(self, show, small_audit):
        mounted = show(small_audit)
        name = '<img src=x onerror=alert(1)> "quoted" & \u05e9\u05dc\u05d5\u05dd'
        mounted.widget._edits = {"names": {mounted.widget.selected_slice: name}, "hidden": []}
        mounted.view.locator(".mma-grid-title strong").get_by_text(name).wait_for()
        assert mounted.view.locator(".mma-grid-title img").count() == 0


class TestMouse:
    def test_click_ctrl_shift(self, show, small_audit):
        mounted = show(small_audit)
        known = positions(mounted)
        tile(mounted, known[1]).click()
        mounted.until(lambda: selected(mounted) == [known[1]])
        chosen(mounted, known[1]).wait_for()
        tile(mounted, known[4]).click(modifiers=["Shift"])
        mounted.until(lambda: selected(mounted) == known[1:5])
        tile(mounted, known[2]).click(modifiers=["Control"])
        mounted.until(lambda: selected(mounted) == [known[1], known[3], known[4]])
        mounted.page.keyboard.press("Control+z")
        mounted.until(lambda: selected(mounted) == known[1:5])

    def test_a_case_is_read_in_full(self, show, small_audit):
        mounted = show(small_audit)
        known = positions(mounted)
        reader = mounted.view.locator(".mma-reader")
        tile(mounted, known[2]).dblclick()
        reader.wait_for()
        mounted.page.keyboard.press("Escape")
        reader.wait_for(state="hidden")
        mounted.view.get_by_role("grid").focus()
        mounted.page.keyboard.press("ArrowRight")
        mounted.page.keyboard.press("Enter")
        reader.wait_for()
        expect(mounted.view.locator(f'.mma-active[data-position="{known[3]}"]')).to_have_count(1)

    def test_size(self, show, small_audit):
        mounted = show(small_audit)
        mounted.view.get_by_label("Size of the tiles").fill("192")
        mounted.until(lambda: mounted.widget.tile_px == 192)
        ready(mounted)
        film = mounted.view.locator(f"{TILES} .mma-tile-film").first
        assert film.bounding_box()["width"] == 192
        assert film.locator("img").evaluate("(img) => img.naturalWidth") == 112  # the phantoms are no larger


class TestKeyboard:
    def test_everything_without_a_mouse(self, show, small_audit):
        mounted = show(small_audit)
        keys, known = mounted.page.keyboard, positions(mounted)
        n_columns = int(mounted.view.get_by_role("grid").get_attribute("aria-colcount"))
        mounted.view.get_by_label("Size of the tiles").focus()
        keys.press("Tab")
        assert mounted.page.evaluate("document.activeElement.getAttribute('role')") == "grid"
        keys.press("ArrowRight")
        keys.press("ArrowDown")
        keys.press("ArrowLeft")
        keys.press(" ")
        mounted.until(lambda: selected(mounted) == [known[n_columns]])
        keys.press("Shift+ArrowRight")
        keys.press("Shift+ArrowRight")
        mounted.until(lambda: selected(mounted) == known[n_columns : n_columns + 3])
        keys.press("ArrowUp")
        keys.press("a")
        mounted.until(lambda: mounted.widget._verdicts["samples"] == {str(known[2]): "accept"})
        mark = tile(mounted, known[2])
        mark.get_by_text("✓").wait_for()
        expect(mark).to_have_attribute("aria-label", re.compile("verdict: accept$"))
        keys.press("q")
        mounted.until(lambda: mounted.widget._verdicts["samples"] == {str(known[2]): "radiologist"})
        keys.press("Escape")
        mounted.until(lambda: selected(mounted) == [])
        keys.press("Control+a")
        mounted.until(lambda: sorted(selected(mounted)) == sorted(members(small_audit, mounted.widget.selected_slice)))

    def test_the_active_tile_is_named_and_in_the_window(self, show, small_audit):
        mounted = show(small_audit, show="all")
        grid = mounted.view.get_by_role("grid")
        n = len(small_audit.samples)
        grid.focus()
        for key, case in (("End", n), ("Home", 1), ("PageDown", None), ("PageUp", 1), ("End", n), ("ArrowDown", n)):
            mounted.page.keyboard.press(key)
            mounted.page.wait_for_function(
                """(case_) => { const grid = document.querySelector('[role="grid"]');
                const tile = document.getElementById(grid.getAttribute('aria-activedescendant'));
                if (!tile?.classList.contains('mma-active')) return false;
                const [a, b] = [tile.getBoundingClientRect(), grid.getBoundingClientRect()];
                return a.top >= b.top && a.bottom <= b.bottom
                  && (case_ === null || tile.getAttribute('aria-label').startsWith(`Case ${case_}:`)); }""",
                arg=case,
            )
            ready(mounted)


@pytest.fixture(scope="module")
def many():
    return make(MANY, broken=())


class TestMany:
    def test_only_the_window_exists(self, show, many):
        mounted = show(many)
        page = mounted.page
        assert mounted.view.locator(TILES).count() < 80
        assert page.evaluate("model.received") < 1_000_000
        asked = page.evaluate("model.sent.filter((one) => one.kind === 'thumbs').flatMap((one) => one.positions)")
        assert 30 < len(set(asked)) < 80
        mounted.view.get_by_role("grid").focus()
        page.keyboard.press("End")
        last = mounted.view.locator(f'{TILES}[aria-label^="Case {MANY}:"][data-picture="drawn"]')
        last.wait_for()
        ready(mounted)
        assert mounted.view.locator(TILES).count() < 80
        page.keyboard.press("Control+a")
        mounted.until(lambda: len(mounted.widget._selected) == 4 * MANY)

    def test_higher_than_a_page_can_be(self, show, many):
        """50,000 rows of 430 pixels: more than browsers draw."""
        mounted = show(many, how={"width": 450}, tile_px=384)
        grid = mounted.view.get_by_role("grid")
        assert grid.evaluate("(el) => el.scrollHeight") == 8_000_000
        grid.focus()
        for key, case in (("End", MANY), ("ArrowUp", MANY - 1), ("Home", 1), ("ArrowDown", 2)):
            mounted.page.keyboard.press(key)
            mounted.page.wait_for_function(
                """(case_) => { const grid = document.querySelector('[role="grid"]');
                const tile = grid.querySelector('.mma-active:not([hidden])');
                const [a, b] = [tile?.getBoundingClientRect(), grid.getBoundingClientRect()];
                return tile?.getAttribute('aria-label').startsWith(`Case ${case_}:`)
                  && a.bottom > b.top + 380 && a.top < b.bottom - 380; }""",
                arg=case,
            )

    def test_one_question_at_a_time(self, show, many):
        mounted = show(many)
        page = mounted.page
        before = page.evaluate("model.sent.length")
        mounted.paused = True
        for k in range(20):
            mounted.view.locator(".mma-grid-scroll").evaluate("(el, k) => { el.scrollTop = 5000 * k; }", k)
        page.wait_for_function(
            "() => [...document.querySelectorAll('.mma-grid-row')].some((row) => row.offsetTop >= 95000)"
        )
        mounted.view.get_by_text("waiting for the kernel").wait_for()
        assert page.evaluate("model.sent.length") - before <= 2
        mounted.go_on()
        ready(mounted)
        assert mounted.view.get_by_text("waiting for the kernel").count() == 0


class TestBusy:
    def test_what_is_there_goes_on(self, show, small_audit):
        mounted = show(small_audit)
        mounted.paused = True
        known = positions(mounted)
        tile(mounted, known[0]).click()
        tile(mounted, known[2]).click(modifiers=["Shift"])
        chosen(mounted, known[1]).wait_for()
        mounted.view.get_by_label("Show", exact=True).select_option("errors")
        mounted.view.get_by_text("errors only").last.wait_for()
        mounted.go_on()
        mounted.until(lambda: len(mounted.widget.selected_ids) == 3)
        ready(mounted)

    def test_before_the_first_answer(self, mount, small_audit):
        def busy():
            """Make a widget whose first answers are late."""
            widget = mma.widgets.SliceGrid(small_audit)
            monkey = widget._answer
            widget._answer = lambda *given: late.append(lambda: monkey(*given))
            return widget

        late = []
        mounted = mount(busy)
        mounted.view.get_by_text("waiting for the kernel").wait_for()
        assert mounted.view.locator(".mma-grid").get_attribute("data-ready") == "0"
        del mounted.widget._answer
        for answer in late:
            answer()
        ready(mounted)
        assert mounted.view.get_by_text("waiting for the kernel").count() == 0


def test_two_views_share_the_selection(show, small_audit):
    mounted = show(small_audit, how={"views": 2})
    second = mounted.page.locator(".view").nth(1)
    second.locator(READY).wait_for()
    position = positions(mounted)[3]
    tile(mounted, position).click()
    second.locator(f'.mma-tile[data-position="{position}"][aria-selected="true"]').wait_for()


def test_nothing_is_left_behind(show, small_audit):
    mounted = show(small_audit)
    page = mounted.page
    before = page.evaluate("model.listeners()")
    page.evaluate(
        """async () => {
          const el = document.createElement("div");
          document.body.append(el);
          globalThis.closeIt = await widget.view(el);
        }"""
    )
    assert page.evaluate("model.listeners()") > before
    page.evaluate("() => { closeIt(); }")
    assert page.evaluate("model.listeners()") == before
    assert page.locator(".mma-grid").count() == 1
