"""The card of one slice: what it says, in every rendering, and that it says it in words."""

import base64
import copy
import io
import json
import re
from html.parser import HTMLParser
from itertools import pairwise

import pytest
from PIL import Image

from mmaudit._errors import InputError, UnknownKeywordError
from mmaudit.explain._explanation import sampled_in_words
from mmaudit.report import SliceCard, render_html, render_markdown_card, render_notebook, render_text
from mmaudit.report._explained import ABSENT_SHOWN, PAIRS_SHOWN, TERMS_SHOWN, explained
from mmaudit.report._html import TEMPLATES

HOSTILE = '<script>alert(1)</script>"><img src=x onerror=alert(2)>'
VOID = {"meta", "link", "img", "br", "col"}


def picture(kind="JPEG", level=128):
    stream = io.BytesIO()
    Image.linear_gradient("L").resize((24, 24)).point(lambda v: (v + level) % 256).save(stream, kind)
    return base64.b64encode(stream.getvalue()).decode()


def numbers(**changes):
    return {
        "n_samples": 40,
        "n_patients": 31,
        "precision": 0.88,
        "recall": 0.8,
        "f1": 0.84,
        "f1_low": 0.7,
        "f1_high": 0.92,
        "gap": 0.31,
        "ci_low": 0.2,
        "ci_high": 0.4,
        "p_value": 0.0004,
        "q_value": 0.001,
    } | changes


def term(name, **changes):
    return {
        "term": name,
        "status": "affirmed",
        "category": "device",
        "label_term": False,
        "explains": True,
        "share_inside": 0.8,
        "share_outside": 0.1,
        "log_odds": 2.1,
        "z": 7.3,
        "tfidf": 0.21,
        "n_patients_inside": 40,
        "n_patients_outside": 12,
        "sections": ["FINDINGS"],
    } | changes


def explanation(**changes):
    discovery = {"precision": 0.9, "recall": 0.85, "f1": 0.87}
    return {
        "status": "explained",
        "sentence": "Most like it: the report mentions chest tube (picks 80 % of the slice, 88 % of them are in it).",
        "parts": [
            {
                "kind": "terms",
                "text": "report mentions chest tube",
                "discovery": discovery,
                "confirmation": numbers(),
                "holds": True,
                "because": "",
            },
            {
                "kind": "rule",
                "text": "view = AP and age > 60",
                "discovery": discovery,
                "confirmation": numbers(precision=0.31, f1=0.36, gap=0.02, ci_low=-0.1, ci_high=0.12, q_value=0.4),
                "holds": False,
                "because": "no more errors in what it picks",
            },
        ],
        "terms": [
            term("chest tube"),
            term("portable", category="acquisition", share_inside=0.6, explains=False),
            term("opacity", category="finding", status="uncertain"),
            term("pneumothorax", category="label-term", label_term=True, explains=False),
            term("effusion", category="finding", status="negated", explains=False),
        ],
        "leakage": "The labels were made from these reports: a term may be what the label was read from.",
        "triage": {"n": 30, "label_error": 0.1, "model_error": 0.7, "ambiguous": 0.2, "part": "confirmation"},
        "members": {
            "strongest": ["x1-0", "x1-1"],
            "typical": ["x1-1", "x1-7"],
            "counterexamples": [["x1-0", "o-1"], ["x1-1", "o-2"]],
        },
        "difference": {
            "image": picture("PNG"),
            "text": "brighter inside, most at the left upper field",
            "n_inside": 30,
            "n_outside": 200,
        },
    } | changes


def one_slice(number, *, confirmed, **changes):
    return {
        "slice_id": f"s{number:02d}",
        "description": f"report mentions chest tube, part {number}",
        "sentence": f"Where the report mentions chest tube ({number}), 60 % are missed, against 12 % elsewhere: "
        "48 points worse (interval 30 to 63) in 40 held-out patients.",
        "rule": "report mentions 'chest tube'",
        "error_type": "false_negative",
        "modality": "report",
        "slicer": "rules",
        "n_samples": 46,
        "n_patients": 40,
        "metric_inside": 0.6,
        "metric_outside": 0.12,
        "gap": 0.48,
        "ci_low": 0.3,
        "ci_high": 0.63,
        "p_value": 0.0005,
        "q_value": 0.003 if confirmed else 0.4,
        "stability": 0.9,
        "confirmed": confirmed,
        "discovery_n_samples": 51,
        "discovery_n_patients": 44,
        "discovery_gap": 0.55,
        "discovery_metric_inside": 0.67,
        "discovery_metric_outside": 0.13,
        "traits": [
            {"phrase": "view = AP Supine", "kind": "metadata", "share_inside": 0.9, "share_outside": 0.12},
            {"phrase": "report mentions chest tube", "kind": "report", "share_inside": 0.8, "share_outside": 0.1},
            {"phrase": "report mentions collapse", "kind": "label_term", "share_inside": 0.8, "share_outside": 0.3},
        ],
        "traits_part": "discovery",
        "members": [
            {
                "sample_id": f"x{number}-{k}",
                "y_true": 1,
                "y_proba": 0.2 + 0.5 * k,
                "wrong": k == 0,
                "part": "confirmation",
                "thumbnail": picture() if k == 0 else None,
            }
            for k in range(2)
        ],
        "explanation": explanation(),
    } | changes


@pytest.fixture
def summary():
    findings = [
        one_slice(1, confirmed=True),
        one_slice(
            2,
            confirmed=True,
            stability=0.4,
            explanation=explanation(
                status="not explained", sentence="", parts=[explanation()["parts"][1]], triage=None, difference=None
            ),
        ),
    ]
    other = one_slice(3, confirmed=False, explanation=explanation(status="not confirmed", sentence="", parts=[]))
    return {
        "schema": 2,
        "mmaudit_version": "0.1.0",
        "title": "Audit of films",
        "headline": "2 of 3 candidate slices are confirmed on 119 held-out patients.",
        "findings": findings,
        "repeats": [],
        "candidates": [*findings, other],
        "thumbnails": {"x1-1": picture(level=40), "o-1": picture(level=90), "o-2": picture(level=200)},
        "detectable": [{"label": 1, "n_patients": 20, "share": 0.17, "gap": 0.34}],
        "detectable_sentence": "In a slice of 20 patients, a gap of 34 points would have been found.",
        "warnings": [],
        "quarantine": [],
        "data": {
            "name": "films",
            "n_samples": 404,
            "n_patients": 238,
            "has_patient_id": True,
            "n_discovery_samples": 201,
            "n_discovery_patients": 118,
            "n_confirmation_samples": 203,
            "n_confirmation_patients": 120,
            "label_name": "pneumothorax",
            "n_positive": 77,
            "error_rate": 0.15,
            "modalities": ["image", "report", "metadata"],
        },
        "settings": {"alpha": 0.05},
    }


class Page(HTMLParser):
    """What a browser would make of the markup: elements with attributes, and text."""

    def __init__(self, markup):
        super().__init__()
        self.elements, self.open, self.text, self.struck = [], [], [], []
        self.feed(markup)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.text.append(data)
        if "s" in self.open:
            self.struck.append(data)

    @property
    def words(self):
        return " ".join("".join(self.text).split())

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]


RENDERINGS = {
    "text": SliceCard.to_text,
    "markdown": SliceCard.to_markdown,
    "page": lambda card: Page(card.to_html()).words,
    "notebook": lambda card: Page(card._repr_html_()).words,
}


@pytest.fixture(params=RENDERINGS, ids=list(RENDERINGS))
def words(request):
    """Return the words of a card in one of its renderings, without the marks of Markdown and on one line."""

    def of(*args, **kwargs):
        text = RENDERINGS[request.param](SliceCard(*args, **kwargs))
        return " ".join(re.sub(r"\\(.)", r"\1", text).replace("&gt;", ">").split())

    return of


# --- what every rendering says ----------------------------------------------------------------------------------------


def test_a_card_says_the_sentence_the_verdict_and_the_numbers(summary, words):
    text = words(summary, "s01")
    row = summary["findings"][0]
    for said in (
        row["sentence"],
        "Confirmed and explained",
        "+48 points",
        "+30 to +63",
        "0.003",
        "missed cases (false negatives)",
        "90 %",
        row["explanation"]["sentence"],
        "precision 88 %" if "precision 88 %" in text else "88 %",
        "0.84",
        "0.70 to 0.92",
        "+31 points",
        "120 confirmation patients",
        "no patient is in both",
        "Not for clinical use",
        "need not hold at another site",
    ):
        assert said in text, said


def test_what_comes_first_in_a_card(summary, words):
    text = words(summary, "s01")
    order = (summary["findings"][0]["sentence"], "Confirmed and explained", "+48 points", "report mentions chest tube")
    places = [text.index(said, text.index(order[0])) for said in order[:3]]
    later = [text.rindex(said) for said in ("chest tube", "How it was tested", "What this does not show")]
    assert [*places, *later] == sorted([*places, *later]) or "notebook" in text
    assert places == sorted(places)
    assert later == sorted(later)


@pytest.mark.parametrize(
    ("slice_id", "verdict"),
    [
        ("s01", "Confirmed and explained"),
        ("s02", "Confirmed, not explained"),
        ("s03", "Not confirmed: q = 0.40, above 0.05"),
    ],
)
def test_each_rendering_gives_the_verdict(summary, words, slice_id, verdict):
    assert verdict in words(summary, slice_id)


def test_an_explanation_that_did_not_hold_says_so_in_words(summary, words):
    assert "did not hold on held-out patients: no more errors in what it picks" in words(summary, "s02")


def test_label_terms_are_counted_and_shown_only_when_asked_for(summary, words):
    masked, shown = words(summary, "s01"), words(summary, "s01", show_label_terms=True)
    assert "pneumothorax" not in masked
    assert "1 label term hidden" in masked
    assert "pneumothorax" in shown
    assert "restates the label, not an explanation" in shown
    assert "hidden" not in shown
    for text in (masked, shown):
        assert summary["findings"][0]["explanation"]["leakage"] in text


def test_terms_said_to_be_absent_stand_apart(summary, words):
    text = words(summary, "s01")
    apart = text.lower().index("said to be absent")
    assert text.index("chest tube") < apart < text.index("effusion")
    assert text.count("effusion") == 1


def test_why_members_look_wrong_is_said_with_counts(summary, words):
    text = words(summary, "s01")
    for said in ("30 wrong members", "21 (70 %)", "3 (10 %)", "6 (20 %)"):
        assert said in text


def test_a_summary_without_explanations_gives_a_card(summary, words):
    for row in summary["candidates"]:
        del row["explanation"]
    del summary["thumbnails"]
    text = words(summary, "s01")
    for said in ("Confirmed", "+48 points", "view = AP Supine", "1 label term hidden"):
        assert said in text
    for not_said in ("explained", "None", "nan", "Undefined", "What it is", "Most like it"):
        assert not_said not in text


@pytest.mark.parametrize(
    "damaged",
    [
        None,
        "text",
        {},
        {"status": ["explained"], "parts": "x", "terms": [1, None], "members": [], "triage": {"n": 0}, "difference": 3},
        {
            "status": "explained",
            "parts": [{}],
            "terms": [{}],
            "triage": {"n": 4},
            "members": {"typical": [None], "counterexamples": [["a"], 5, ["a", "b"]]},
            "difference": {"image": "PHN2Zz4="},
        },
        explanation(
            parts=[{"kind": "rule", "text": "x", "holds": None, "confirmation": dict.fromkeys(numbers())}],
            triage={"n": 3, "label_error": None, "model_error": 1.0, "ambiguous": None, "part": None},
        ),
    ],
)
def test_a_damaged_or_sparse_explanation_is_no_error(summary, words, damaged):
    summary["findings"][0]["explanation"] = damaged
    text = words(summary, "s01")
    assert "+48 points" in text
    assert not re.search(r"\b(nan|NaN|None|inf|Undefined)\b", text)
    for render in (render_html, render_notebook, render_markdown_card, render_text):
        assert "48 points" in render(summary).replace("\u00a0", " ")


def test_an_explanation_not_tested_is_not_struck_through(summary):
    summary["findings"][0]["explanation"]["parts"][1]["holds"] = None
    card = SliceCard(summary, "s01")
    assert "not tested on held-out patients" in Page(card.to_html()).words
    assert Page(card.to_html()).struck == []
    assert "~~" not in card.to_markdown()


def test_a_slice_that_is_not_there_is_an_error(summary):
    with pytest.raises(InputError, match=r"slice_id: expected one of the slices of the audit, got 's99'\. Check"):
        SliceCard(summary, "s99")
    with pytest.raises(UnknownKeywordError, match=r"Did you mean 'show_label_terms'"):
        SliceCard(summary, "s01", show_label_term=True)


def test_a_summary_that_went_through_json_is_as_good_and_stays_as_it_was(summary):
    before = copy.deepcopy(summary)
    again = json.loads(json.dumps(summary))
    for render in RENDERINGS.values():
        assert render(SliceCard(summary, "s01")) == render(SliceCard(again, "s01"))
    assert json.dumps(summary) == json.dumps(before)


# --- what is shown of an explanation ----------------------------------------------------------------------------------


def test_report_traits_are_left_out_where_terms_say_the_same(summary):
    row = summary["findings"][0]
    assert [t["kind"] for t in explained(summary, row)["traits"]] == ["metadata"]
    row["explanation"]["terms"] = []
    assert [t["kind"] for t in explained(summary, row)["traits"]] == ["metadata", "report"]
    kinds = [t["kind"] for t in explained(summary, row, show_label_terms=True)["traits"]]
    assert kinds == ["metadata", "report", "label_term"]


def test_members_stand_beside_what_is_most_like_them(summary):
    pairs = explained(summary, summary["findings"][0])["pairs"]
    assert [(p["member"]["sample_id"], p["other"] and p["other"]["sample_id"]) for p in pairs] == [
        ("x1-1", "o-2"),  # typical, with one beside it
        ("x1-0", "o-1"),
        ("x1-7", None),
    ]
    assert pairs[0]["member"]["thumbnail"] == summary["thumbnails"]["x1-1"]
    assert pairs[0]["member"]["y_true"] == 1
    assert pairs[1]["member"]["thumbnail"] == summary["findings"][0]["members"][0]["thumbnail"]


def test_a_number_that_is_not_there_is_a_dash_without_an_interval(summary):
    part = summary["findings"][0]["explanation"]["parts"][0]
    part["confirmation"] |= {"f1": 0.0, "f1_low": 0.0, "f1_high": 0.1, "ci_low": None, "q_value": None}
    assert explained(summary, summary["findings"][0])["parts"][0]["numbers"].replace("\u00a0", " ") == (
        "precision 88 %, recall 80 %, F1 0.00 (0.00 to 0.10); gap in what it picks +31 points, q –, "
        "31 confirmation patients"
    )


def test_a_term_is_tagged_with_what_it_is_and_why_it_explains_nothing(summary):
    view = explained(summary, summary["findings"][0], show_label_terms=True)
    assert [(t["term"], t["tags"]) for t in view["terms"]] == [
        ("chest tube", ["device"]),
        ("portable", ["acquisition", "may be chance"]),
        ("opacity", ["finding", "said with doubt"]),
        ("pneumothorax", ["label term: restates the label, not an explanation"]),
    ]
    assert [(t["term"], t["tags"]) for t in view["absent"]] == [("effusion", ["finding"])]


# --- HTML -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("render", [SliceCard.to_html, SliceCard._repr_html_])
def test_the_markup_is_well_formed(summary, render):
    page = Page(render(SliceCard(summary, "s01")))
    assert page.open == []
    assert page.struck == ["view = AP and age > 60"]
    assert all(i["alt"] for i in page.all("img"))
    assert {th.get("scope") for th in page.all("th")} == {"row", "col"}
    ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert [v for _, a in page.elements for k, v in a.items() if k == "aria-labelledby" and v not in ids] == []


def test_the_page_of_a_card_has_one_h1_and_asks_for_nothing(summary):
    page = Page(SliceCard(summary, "s01").to_html())
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    links = [v for _, attrs in page.elements for k, v in attrs.items() if k in ("src", "href", "srcset", "action")]
    assert [v for v in links if not v.startswith("data:")] == []
    policy = next(m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")


def test_pictures_of_a_pair_say_which_is_in_the_slice(summary):
    alts = [i["alt"] for i in Page(SliceCard(summary, "s01").to_html()).all("img")]
    assert alts[:4] == [
        "in the slice: label 1, probability 0.70, right",
        "counterexample",
        "in the slice: label 1, probability 0.20, wrong",
        "counterexample",
    ]
    assert alts[-1] == "Difference image of the slice: brighter inside, most at the left upper field"


def test_no_heading_of_a_notebook_view_reaches_its_table_of_contents(summary):
    page = Page(SliceCard(summary, "s01")._repr_html_())
    assert [tag for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)] == []
    assert [attrs for _, attrs in page.elements if "id" in attrs] == []  # two outputs may show one slice
    assert len([a for _, a in page.elements if a.get("role") == "heading"]) >= 6


def test_the_style_of_a_notebook_view_reaches_nothing_outside_it(summary):
    css = re.search(r"<style>(.*?)</style>", SliceCard(summary, "s01")._repr_html_(), re.DOTALL)[1]
    css = re.sub(r"/\*.*?\*/", "", css, flags=re.DOTALL)
    selectors = [s.strip() for group in re.findall(r"([^{}]+)\{", css) for s in group.split(",")]
    own = [s for s in selectors if not s.startswith("@media")]
    assert len(own) > 80
    assert [s for s in own if not re.match(r"\.mma-nb-card($|\s)", s)] == []
    assert "var(--jp-layout-color1, var(--vscode-editor-background, Canvas))" in css
    assert css.count("{") == css.count("}")


def test_every_variable_of_the_style_is_set_on_page_and_in_notebook(summary):
    used = set(re.findall(r"var\((--mma-[a-z-]+)", (TEMPLATES / "slice.css").read_text(encoding="utf-8")))
    assert len(used) > 15
    for markup in (SliceCard(summary, "s01").to_html(), SliceCard(summary, "s01")._repr_html_()):
        assert used - set(re.findall(r"(--mma-[a-z-]+):", markup)) == set()


def hostile(value, path=""):
    if isinstance(value, dict):
        kept = ("error_type", "thumbnail", "image", "status", "category", "slice_id", "thumbnails")
        return {k: v if k in kept else hostile(v, f"{path}.{k}") for k, v in value.items()}
    if isinstance(value, list):
        return [hostile(v, f"{path}.{k}") for k, v in enumerate(value)]
    return f"{HOSTILE}{path}" if isinstance(value, str) else value


@pytest.mark.parametrize(
    "render",
    [
        lambda s: SliceCard(s, "s01", show_label_terms=True).to_html(),
        lambda s: SliceCard(s, "s01", show_label_terms=True)._repr_html_(),
        lambda s: render_html(s, show_label_terms=True),
    ],
)
def test_texts_of_an_explanation_stay_texts(summary, render):
    changed = hostile(summary)
    page = Page(render(changed))
    assert page.open == []
    assert page.all("script") == []
    assert all(i["src"].startswith("data:image/") for i in page.all("img"))
    assert [attrs for _, attrs in page.elements if any(name.startswith("on") for name in attrs)] == []
    told = changed["findings"][0]["explanation"]
    texts = [told["sentence"], told["leakage"], told["difference"]["text"], told["parts"][1]["because"]]
    texts += [part["text"] for part in told["parts"]] + [t["term"] for t in told["terms"]]
    texts += [t["sections"][0] for t in told["terms"]] + [told["members"]["counterexamples"][0][1]]
    assert [text for text in texts if text not in page.words] == []


def test_texts_of_an_explanation_stay_texts_in_markdown(summary):
    text = "x ~~ | <b> `c` *d*\n# e"
    row = summary["findings"][0]
    row["explanation"]["parts"][1] |= {"text": text, "because": text}
    row["explanation"]["terms"][0]["term"] = text
    escaped = r"x \~\~ \| &lt;b&gt; \`c\` \*d\* \# e"
    for card in (SliceCard(summary, "s01").to_markdown(), render_markdown_card(summary)):
        assert f"~~{escaped}~~ – did not hold on held-out patients: {escaped};" in card
        assert f"In its reports: {escaped}" in card
        assert "<b>" not in card


def test_text_has_no_control_characters_and_fits_a_terminal(summary):
    summary["findings"][0]["explanation"]["parts"][0]["text"] = "word " * 60 + "\x1b[2J" + "x" * 130
    text = SliceCard(summary, "s01").to_text()
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= 100
    assert "[does not hold] rule: view = AP and age > 60" in text
    assert str(SliceCard(summary, "s01")) == text


def test_markdown_holds_no_ids_and_no_pictures(summary):
    for card in (SliceCard(summary, "s01").to_markdown(), render_markdown_card(summary)):
        assert re.findall(r"x1-\d|o-\d|data:|<img|!\[", card) == []


def test_much_is_cut_to_a_card_of_a_size_to_send(summary):
    """A full card is its style, at most 12 strongest members, 4 pairs and 1 picture more, and little else."""
    names = [f"m{k}" for k in range(400)]
    row = summary["findings"][0]
    row["explanation"] |= {
        "terms": [term(f"term {k}", status=("affirmed", "negated")[k % 2]) for k in range(1000)],
        "members": {"strongest": names, "typical": names, "counterexamples": [[n, f"o{n}"] for n in names]},
    }
    summary["thumbnails"] = {n: picture() for n in names}
    for markup in (SliceCard(summary, "s01").to_html(), SliceCard(summary, "s01")._repr_html_()):
        page = Page(markup)
        assert f"{1000 - TERMS_SHOWN - ABSENT_SHOWN} more terms not shown." in page.words
        assert len(page.all("img")) <= 2 * PAIRS_SHOWN + 3
        without = re.sub(r"data:image/[^\"]*", "", markup)
        assert len(without.encode()) < 60_000


# --- the report -------------------------------------------------------------------------------------------------------


def test_the_report_has_the_same_words_as_the_card(summary):
    page, card = Page(render_html(summary)), Page(SliceCard(summary, "s01").to_html())
    body = card.words[card.words.index("Errors: share of") : card.words.index("How it was tested")]
    assert body in page.words
    assert page.struck == ["view = AP and age > 60"] * 2
    assert page.words.count("confirmed, not explained") == 1
    assert page.words.count("confirmed and explained") == 1


@pytest.mark.parametrize("render", [render_html, render_notebook, render_text, render_markdown_card])
def test_each_view_of_the_audit_says_what_is_not_explained(summary, render):
    text = render(summary)
    text = " ".join((Page(text).words if "<" in text else text).split())
    assert text.count("Confirmed, not explained") == 1
    assert text.count(summary["findings"][0]["explanation"]["sentence"].split("(")[0]) >= 1


def test_an_explanation_that_is_in_the_sentence_is_not_said_twice(summary):
    row = summary["findings"][0]
    row["sentence"] += f" {row['explanation']['sentence']}"
    assert render_text(summary).count("Most like it") == 1
    assert Page(render_notebook(summary)).words.count("Most like it") == 1


def test_a_sample_of_the_patients_is_told():
    members = {"n_patients": 40, "of_patients": 160, "few": True}
    sampled = {"n_patients": 17_000, "of_patients": 65_000, "standard_error": 0.0042, "members": members}
    assert sampled_in_words(sampled) == (
        "Learned and measured on 17,000 of 65,000 patients, drawn at random: a share among the held-out ones is off by "
        "0.4 points (standard error) at most. Of held-out patients with members only 40 of 160 are there."
    )
    assert sampled_in_words(sampled | {"members": members | {"few": False}}).endswith("at most.")
    assert [sampled_in_words(damaged) for damaged in (None, {}, {"n_patients": "x"}, [])] == [""] * 4
