"""The report page as a browser shows it: by itself, to everybody, with hostile texts in it."""

import base64
import io

import pytest
from PIL import Image

from mmaudit.report import render_html

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
