"""The report page and the card of a slice as a browser shows them: alone, to everybody, with hostile texts in them."""

import base64
import io

import pytest
from PIL import Image

from mmaudit.report import SliceCard, render_html

HOSTILE = '<script>alert("x")</script>"><img src=x onerror=alert(1)>'
LONG = "a" * 120


def thumbnail():
    stream = io.BytesIO()
    Image.linear_gradient("L").resize((32, 24)).save(stream, "JPEG")
    return base64.b64encode(stream.getvalue()).decode()


def one_slice(number, description, *, confirmed, gap):
    return {
        "slice_id": f"s{number:02d}",
        "description": description,
        "sentence": f"Among 40 held-out patients with {description}, more positives are missed than outside it.",
        "rule": description,
        "error_type": ("false_negative", "false_positive", "mixed")[number % 3],
        "modality": "metadata",
        "slicer": "rules",
        "n_samples": 46,
        "n_patients": 40,
        "metric_inside": None if gap is None else 0.12 + gap,
        "metric_outside": 0.12,
        "gap": gap,
        "ci_low": None if gap is None else gap - 0.1,
        "ci_high": None if gap is None else gap + 0.1,
        "p_value": 0.0005,
        "q_value": 0.003 if confirmed else 0.4,
        "stability": 0.9,
        "confirmed": confirmed,
        "discovery_gap": 0.5,
        "traits": [{"phrase": description, "kind": "report", "share_inside": 0.9, "share_outside": 0.1}],
        "members": [
            {
                "sample_id": f"{description}-{k}",
                "y_true": 1,
                "y_proba": 0.2,
                "wrong": k % 2 == 0,
                "part": "confirmation",
                "thumbnail": thumbnail() if k < 3 else None,
            }
            for k in range(4)
        ],
    }


@pytest.fixture
def summary():
    candidates = [
        one_slice(1, HOSTILE, confirmed=True, gap=0.48),
        one_slice(2, LONG, confirmed=False, gap=0.05),
        one_slice(3, "view = AP", confirmed=False, gap=None),
    ]
    return {
        "mmaudit_version": "0.1.0",
        "title": f"Audit of {HOSTILE}",
        "headline": "1 of 3 candidate slices is confirmed on 119 held-out patients.",
        "findings": candidates[:1],
        "candidates": candidates,
        "detectable": [{"n_patients": 20, "share": 0.17, "gap": 0.34}],
        "detectable_sentence": "In a slice of 20 patients, a gap of 34 points would have been found.",
        "warnings": [f"Column {HOSTILE} was ignored.", LONG],
        "quarantine": [{"sample_id": HOSTILE, "reason": LONG}],
        "data": {
            "name": LONG,
            "n_patients": 238,
            "n_samples": 404,
            "has_patient_id": True,
            "label_name": "COVID-19",
            "modalities": ["image"],
            "card": {"source": HOSTILE, LONG: LONG},
        },
        "settings": {"alpha": 0.05, LONG: LONG},
    }


def explanation(text):
    numbers = {"precision": 0.8, "recall": 0.7, "f1": 0.75, "f1_low": 0.6, "f1_high": 0.85, "n_patients": 31}
    numbers |= {"gap": 0.3, "ci_low": 0.2, "ci_high": 0.4, "q_value": 0.001}
    part = {"discovery": numbers, "confirmation": numbers, "because": text}
    term = {"category": "device", "share_inside": 0.8, "share_outside": 0.1, "explains": True, "sections": ["FINDINGS"]}
    term |= {"n_patients_inside": 40, "n_patients_outside": 12}
    names = [f"{HOSTILE}-{k}" for k in range(4)]
    return {
        "status": "explained",
        "sentence": f"Most like it: {text}.",
        "parts": [
            {**part, "kind": "terms", "text": text, "holds": True},
            {**part, "kind": "rule", "text": f"not {text}", "holds": False},
        ],
        "terms": [
            {**term, "term": text, "status": "affirmed"},
            {**term, "term": LONG, "status": "uncertain", "category": "finding"},
            {**term, "term": "effusion", "status": "negated"},
        ],
        "leakage": text,
        "triage": {"n": 30, "label_error": 0.1, "model_error": 0.7, "ambiguous": 0.2, "part": "confirmation"},
        "members": {"typical": names, "counterexamples": [[name, LONG] for name in names]},
        "difference": {"image": thumbnail(), "text": text, "n_inside": 30, "n_outside": 200},
    }


@pytest.fixture
def told(summary):
    """The summary with an explanation, and pictures of what stands beside the members."""
    summary["candidates"][0]["explanation"] = explanation(HOSTILE)
    summary["candidates"][1]["explanation"] = {**explanation(LONG), "status": "not confirmed"}
    return {**summary, "thumbnails": {LONG: thumbnail()}}


@pytest.fixture
def card(told, tmp_path):
    path = tmp_path / "card.html"
    path.write_text(SliceCard(told, "s01").to_html(), encoding="utf-8")
    return path.as_uri()


@pytest.fixture
def report(summary, tmp_path):
    path = tmp_path / "report.html"
    path.write_text(render_html(summary), encoding="utf-8")
    return path.as_uri()


def open_all(page):
    page.locator("details").evaluate_all("all => all.forEach(one => { one.open = true; })")


def test_opens_from_a_file_alone(page, watch, report):
    page.goto(report)
    assert page.locator("h1").count() == 1
    assert watch.errors == []
    assert watch.network_requests == []
    assert watch.requests[0] == report
    assert page.locator("img").evaluate_all("all => all.map(one => one.complete && one.naturalWidth)") == [32] * 9


def test_hostile_texts_are_texts(page, watch, report, summary):
    page.goto(report)
    open_all(page)
    body = page.locator("body")
    assert watch.dialogs == []
    assert body.locator("script").count() == 0
    assert page.locator("img:not([src^='data:image/jpeg'])").count() == 0
    assert page.locator("h1").inner_text() == summary["title"]
    assert page.locator("#slice-1 h3").inner_text() == HOSTILE
    assert page.locator("#slice-1 .mma-cap-id").first.inner_text() == f"{HOSTILE}-0"
    assert summary["warnings"][0] in body.inner_text()


def test_the_policy_of_the_page_stops_a_script_and_a_remote_image(page, watch, report):
    page.goto(report)
    page.evaluate(
        """() => { const s = document.createElement('script'); s.textContent = 'document.title = "ran"';
        document.body.append(s); const i = document.createElement('img'); i.src = 'http://127.0.0.1:9/x.png';
        return new Promise(done => { i.onerror = done; document.body.append(i); }); }"""
    )
    assert page.title() != "ran"
    assert len([text for text in watch.errors if "Content Security Policy" in text]) == 2


def background(page):
    return page.evaluate("() => getComputedStyle(document.body).backgroundColor")


def test_dark_scheme_changes_the_page_but_not_the_films(page, report):
    film = "() => getComputedStyle(document.querySelector('.mma-film')).backgroundColor"
    page.emulate_media(color_scheme="light")
    page.goto(report)
    light, light_film = background(page), page.evaluate(film)
    page.emulate_media(color_scheme="dark")
    assert background(page) != light
    assert page.evaluate(film) == light_film
    page.emulate_media(color_scheme="dark", media="print")
    assert background(page) == "rgb(255, 255, 255)"


@pytest.mark.parametrize("width_px", [320, 400, 800, 1280])
def test_never_scrolls_sideways(page, report, width_px):
    page.set_viewport_size({"width": width_px, "height": 800})
    page.goto(report)
    open_all(page)
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width_px


@pytest.mark.parametrize("width_px", [320, 360, 800, 1280])
def test_explanations_never_scroll_sideways(page, told, card, tmp_path, width_px):
    page.set_viewport_size({"width": width_px, "height": 800})
    (tmp_path / "told.html").write_text(render_html(told), encoding="utf-8")
    for address in (card, (tmp_path / "told.html").as_uri()):
        page.goto(address)
        open_all(page)
        assert page.evaluate("() => document.documentElement.scrollWidth") <= width_px


def test_a_card_opens_from_a_file_alone(page, watch, card):
    page.goto(card)
    assert page.locator("h1").inner_text() == HOSTILE
    assert watch.errors == watch.dialogs == watch.network_requests == []
    assert page.locator("img").evaluate_all("all => all.every(one => one.complete && one.naturalWidth === 32)")
    assert page.locator("img").count() == 3 + 4 + 3 + 1  # members and others of the pairs, strongest, difference


def test_an_explanation_that_does_not_hold_is_struck_through_and_says_so(page, card):
    page.goto(card)
    held, struck = page.locator(".mma-part").nth(0), page.locator(".mma-part").nth(1)
    line = "one => getComputedStyle(one).textDecorationLine"
    assert held.locator("s").count() == 0
    assert struck.locator("s").evaluate(line) == "line-through"
    assert struck.locator("s").inner_text() == f"not {HOSTILE}"
    assert f"did not hold on held-out patients: {HOSTILE}" in struck.inner_text()


def test_parts_of_the_triage_bar_differ_in_pattern_and_have_their_width(page, card):
    page.goto(card)
    parts = page.locator(".mma-triage-part")
    patterns = parts.evaluate_all("all => all.map(one => getComputedStyle(one).backgroundImage)")
    assert len(patterns) == len(set(patterns)) == 3
    widths = parts.evaluate_all("all => all.map(one => one.getBoundingClientRect().width)")
    assert [w / sum(widths) for w in widths] == pytest.approx([0.7, 0.1, 0.2], abs=0.02)


CONTRASTS = """() => {
  const rgb = text => { const c = text.match(/[\\d.]+/g).map(Number); return c.length < 4 ? [...c, 1] : c; };
  const light = c => { const [r, g, b] = c.map(v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const ground = one => { for (; one; one = one.parentElement) {
    const c = rgb(getComputedStyle(one).backgroundColor); if (c[3] > 0.99) return c; } return [255, 255, 255, 1]; };
  const low = [];
  for (const one of document.querySelectorAll("body *")) {
    if (![...one.childNodes].some(n => n.nodeType === 3 && n.data.trim()) || !one.checkVisibility()) continue;
    if (["STYLE", "TITLE"].includes(one.tagName)) continue;
    const [a, b] = [light(rgb(getComputedStyle(one).color)), light(ground(one))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) low.push([one.className, one.textContent.slice(0, 40), ratio]);
  }
  return low;
}"""

JUPYTER = {  # the variables of JupyterLab's two themes that the notebook view reads
    "light": {"layout-color1": "#fff", "layout-color2": "#eee", "content-font-color1": "#212121"}
    | {"content-font-color2": "#616161", "border-color2": "#e0e0e0"},
    "dark": {"layout-color1": "#111", "layout-color2": "#424242", "content-font-color1": "#fff"}
    | {"content-font-color2": "#b3b3b3", "border-color2": "#616161"},
}


OF_JUPYTER = """
.jp-RenderedHTMLCommon ul:not(.list-inline) { padding-left: 2em; }
.jp-RenderedHTMLCommon tbody tr:nth-child(odd) { background: red; }
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_of_a_card_stand_out_from_their_ground(page, card, scheme):
    page.emulate_media(color_scheme=scheme)
    page.goto(card)
    assert page.evaluate(CONTRASTS) == []


@pytest.mark.parametrize("theme", JUPYTER)
def test_a_card_in_a_notebook_takes_its_colours(page, told, theme):
    colours = ";".join(f"--jp-{name}: {value}" for name, value in JUPYTER[theme].items())
    fragment = SliceCard(told, "s01")._repr_html_()
    before = f'<style>{OF_JUPYTER}</style><p class="mma-muted mma-list">before</p>'
    page.set_content(f'<body style="{colours}">{before}<div class="jp-RenderedHTMLCommon">{fragment}</div></body>')
    ground = page.locator(".mma-nb-card").evaluate("one => getComputedStyle(one).backgroundColor")
    assert ground == {"light": "rgb(255, 255, 255)", "dark": "rgb(17, 17, 17)"}[theme]
    assert page.evaluate(CONTRASTS) == []
    # JupyterLab's style of lists and tables does not reach the card
    assert page.locator(".mma-traits").first.evaluate("one => getComputedStyle(one).paddingLeft") == "0px"
    rows = page.locator(".mma-nb-card tbody tr")
    grounds = rows.evaluate_all("all => all.map(one => getComputedStyle(one).backgroundColor)")
    assert set(grounds) == {"rgba(0, 0, 0, 0)"}
    # and the style of the card does not reach what stands before it.
    outside = "one => [getComputedStyle(one).color, getComputedStyle(one).paddingLeft]"
    assert page.locator("p").first.evaluate(outside) == ["rgb(0, 0, 0)", "0px"]


def test_every_image_has_an_alternative_text(page, report):
    page.goto(report)
    texts = page.locator("img").evaluate_all("all => all.map(one => one.getAttribute('alt'))")
    assert texts[:2] == [
        "strongest member 1 of 4: label 1, probability 0.20, wrong",
        "strongest member 2 of 4: label 1, probability 0.20, right",
    ]
    assert all(texts)


def test_a_link_of_the_forest_plot_opens_the_folded_card(page, report):
    page.goto(report)
    card = page.locator("#slice-2")
    assert not card.is_visible()
    page.locator(".mma-forest a[href='#slice-2']").focus()
    page.keyboard.press("Enter")
    card.wait_for(state="visible")


def test_markers_stand_at_the_gap(page, report):
    page.goto(report)
    ticks = page.locator(".mma-tick")
    place = {
        ticks.nth(k).text_content(): ticks.nth(k).bounding_box()["x"] + ticks.nth(k).bounding_box()["width"] / 2
        for k in range(ticks.count())
    }
    box = page.locator(".mma-forest tbody tr").first.locator(".mma-shape").bounding_box()
    step = (place["+60"] - place["0"]) / 60
    assert box["x"] + box["width"] / 2 == pytest.approx(place["0"] + 48 * step, abs=1.5)
