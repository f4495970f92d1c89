"""Every widget by axe-core, by the keyboard alone, with targets that can be hit and no motion for who wants none."""

import pytest

import mmaudit as mma
from tests.browser._axe import grave_findings

KINDS = {
    "table": (mma.widgets.ExplanationTable, [".mma-table"]),
    "grid": (mma.widgets.SliceGrid, [".mma-grid"]),
    "explorer": (mma.widgets.SliceExplorer, [".mma-explorer", ".mma-table", ".mma-grid", ".mma-metadata"]),
}
# The variables of JupyterLab's two themes that the widgets read
THEMES = {
    "light": {"layout-color1": "#fff", "layout-color2": "#eee", "content-font-color1": "rgba(0, 0, 0, 0.87)"}
    | {"content-font-color2": "rgba(0, 0, 0, 0.54)", "border-color1": "#bdbdbd", "brand-color1": "#1976d2"},
    "dark": {"layout-color1": "#111", "layout-color2": "#424242", "content-font-color1": "#fff"}
    | {"content-font-color2": "rgba(255, 255, 255, 0.7)", "border-color1": "#616161", "brand-color1": "#2196f3"},
}
MIN_TARGET_PX = 24
READY_MS = 20_000

# Controls that are seen and can be used, and smaller than they should be; a link in a text may be small (WCAG 2.5.8).
SMALL = """least => [...document.querySelectorAll('.mma-root button, .mma-root input, .mma-root select, ' +
  '.mma-root summary, .mma-root [role=tab], .mma-root [role=button], .mma-root [role=gridcell][tabindex]')]
  .filter((one) => one.checkVisibility() && one.getBoundingClientRect().width > 1)
  .map((one) => [one.outerHTML.slice(0, 160), (one.closest('label') ?? one).getBoundingClientRect()])
  .filter(([, box]) => box.width < least - 0.5 || box.height < least - 0.5)
  .map(([text, box]) => [text, box.width, box.height])"""

MOVING = """() => [...document.querySelectorAll('.mma-root *')].filter((one) => {
  const style = getComputedStyle(one);
  const seconds = (text) => Math.max(...text.split(',').map(parseFloat));
  return (style.transitionProperty !== 'none' && seconds(style.transitionDuration) > 0) ||
    (style.animationName !== 'none' && seconds(style.animationDuration) > 0);
}).map((one) => one.className)"""


@pytest.fixture(params=KINDS)
def shown(request, mount, small_audit):
    """Each widget, drawn."""
    kind, parts = KINDS[request.param]
    mounted = mount(lambda: kind(small_audit))
    for part in parts:
        wait_for(mounted, part)
    if request.param == "explorer":
        mounted.view.get_by_role("tab", name="Map").click()
        wait_for(mounted, ".mma-map")
    return mounted


def wait_for(mounted, part):
    mounted.view.locator(f"{part}[data-ready='1']").first.wait_for(timeout=READY_MS)


def use_theme(page, name):
    page.evaluate(
        "theme => { const style = document.body.style; style.background = theme['layout-color1'];"
        "for (const [name, colour] of Object.entries(theme)) style.setProperty(`--jp-${name}`, colour); }",
        THEMES[name],
    )


@pytest.mark.parametrize("theme", THEMES)
def test_axe_finds_nothing_serious(shown, theme):
    use_theme(shown.page, theme)
    assert grave_findings(shown.page) == []


@pytest.mark.parametrize("theme", THEMES)
def test_axe_finds_nothing_serious_in_what_opens(mount, small_audit, theme):
    """A card below its row, and a case that is read in full."""
    mounted = mount(lambda: mma.widgets.SliceExplorer(small_audit))
    for part in KINDS["explorer"][1]:
        wait_for(mounted, part)
    page = mounted.page
    use_theme(page, theme)
    mounted.view.locator(".mma-table [aria-expanded]").first.focus()
    page.keyboard.press("Enter")
    mounted.view.locator(".mma-grid [role=gridcell]").first.dblclick()
    wait_for(mounted, ".mma-reader")
    assert grave_findings(page) == []


def test_axe_is_heard(mount, small_audit):
    """The search finds what is wrong where something is."""
    mounted = mount(lambda: mma.widgets.ExplanationTable(small_audit))
    page = mounted.page
    page.evaluate("() => { document.querySelector('.mma-root').append(document.createElement('button')); }")
    assert [rule for rule, *_ in grave_findings(page)] == ["button-name"]


def test_targets_can_be_hit(shown):
    assert shown.page.evaluate(SMALL, MIN_TARGET_PX) == []


def test_nothing_moves_for_who_wants_no_motion(shown):
    shown.page.emulate_media(reduced_motion="reduce")
    assert shown.page.evaluate(MOVING) == []


def test_a_widget_has_a_name_and_a_live_region(shown):
    root = shown.view.locator(".mma-root")
    assert root.get_attribute("aria-label")
    assert root.get_attribute("data-lm-suppress-shortcuts") == "true"
    assert root.locator("> [role=status][aria-live=polite]").count() == 1


def test_a_long_way_by_tab_is_short(shown):
    """A table or grid is one stop: Tab leaves a widget of hundreds of cases after a few dozen presses at most."""
    page = shown.page
    page.evaluate(
        "() => { for (const where of ['prepend', 'append']) { const b = document.createElement('button');"
        "b.textContent = where; b.id = where; document.body[where](b); } }"
    )
    page.locator("#prepend").focus()
    for _ in range(80):
        page.keyboard.press("Tab")
        if page.evaluate("() => document.activeElement.id") == "append":
            break
    else:
        raise AssertionError("Tab never left the widget")
    tiles = page.locator(".mma-grid [role=gridcell][tabindex='0']")
    assert tiles.count() <= page.locator(".mma-grid [role=grid]").count()


def test_focus_is_seen_and_jupyterlab_leaves_its_keys_alone(shown):
    page = shown.page
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.dataset.lmSuppressShortcuts") == "true"
    style = page.evaluate(
        "() => { const one = document.activeElement, style = getComputedStyle(one);"
        "return [one.closest('.mma-root') !== null, style.outlineStyle, parseFloat(style.outlineWidth)]; }"
    )
    assert style[0]
    assert style[1] != "none"
    assert style[2] >= 2
