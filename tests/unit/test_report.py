"""The renderings of one summary: what they say, and that no text of the data is read as markup."""

import base64
import copy
import io
import json
import re
from html.parser import HTMLParser
from itertools import groupby, pairwise

import matplotlib as mpl
import pytest
from PIL import Image

from mmaudit.report import _format as fmt
from mmaudit.report import forest_plot, render_html, render_markdown_card, render_notebook, render_text
from mmaudit.report._html import TEMPLATES

mpl.use("Agg")

HOSTILE = '<script>alert(1)</script>"><img src=x onerror=alert(2)>'
VOID = {"meta", "link", "img", "br", "col"}
AVOIDED = re.compile(r"\b(debias\w*|safe|safely|safety|clinical-grade|explains why)\b", re.IGNORECASE)


def thumbnail(kind="JPEG"):
    stream = io.BytesIO()
    Image.linear_gradient("L").resize((24, 24)).save(stream, kind)
    return base64.b64encode(stream.getvalue()).decode()


def one_slice(number, *, confirmed, error_type="false_negative", **changes):
    row = {
        "slice_id": f"s{number:02d}",
        "description": f"view = AP Supine, part {number}",
        "sentence": f"Among 40 held-out patients of slice {number}, 60 % of positives are missed, 12 % outside it.",
        "rule": "view = 'AP Supine'",
        "error_type": error_type,
        "modality": "metadata",
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
            {"phrase": "view = AP Supine", "kind": "metadata", "share_inside": 1.0, "share_outside": 0.12},
            {"phrase": "covid", "kind": "label_term", "share_inside": 0.8, "share_outside": 0.3},
        ],
        "members": [
            {
                "sample_id": f"x{number}-{k}",
                "y_true": 1,
                "y_proba": 0.2 + 0.5 * k,
                "wrong": k == 0,
                "part": "confirmation",
                "thumbnail": thumbnail() if k == 0 else None,
            }
            for k in range(2)
        ],
    }
    return {**row, **changes}


@pytest.fixture
def summary():
    nothing = dict.fromkeys(("metric_inside", "metric_outside", "gap", "ci_low", "ci_high", "p_value", "q_value"))
    findings = [
        one_slice(1, confirmed=True),
        one_slice(2, confirmed=True, error_type="false_positive", stability=0.4),
    ]
    others = [
        one_slice(3, confirmed=False, error_type="mixed", gap=-0.04, ci_low=-0.2, ci_high=0.1),
        one_slice(4, confirmed=False, error_type="label_noise", **{**nothing, "gap": float("nan")}, n_patients=0),
    ]
    return {
        "schema": 1,
        "mmaudit_version": "0.1.0",
        "title": "Audit of covid-chestxray",
        "headline": "2 of 4 candidate slices are confirmed on 119 held-out patients.",
        "findings": findings,
        "candidates": findings + others,
        "detectable": [{"label": 1, "n_patients": 20, "share": 0.17, "gap": 0.34}],
        "detectable_sentence": "In a slice of 20 patients, a gap of 34 points would have been found.",
        "warnings": ["7 images carry burned-in text."],
        "quarantine": [{"sample_id": "q-17", "reason": "truncated or damaged"}],
        "data": {
            "name": "covid-chestxray",
            "n_samples": 404,
            "n_patients": 238,
            "has_patient_id": True,
            "n_discovery_samples": 201,
            "n_discovery_patients": 118,
            "n_confirmation_samples": 203,
            "n_confirmation_patients": 120,
            "label_name": "COVID-19",
            "n_positive": 277,
            "error_rate": 0.15,
            "false_positive_rate": 0.18,
            "false_negative_rate": 0.14,
            "modalities": ["image", "report", "metadata"],
            "card": {"source": "a public collection", "licence": "per image", "known_limits": "Entangled views."},
        },
        "settings": {"alpha": 0.05, "threshold": 0.5, "n_slices": 10, "random_state": 0},
    }


@pytest.fixture
def nothing_found(summary):
    return {**summary, "headline": "No slice is confirmed.", "findings": [], "candidates": []}


class Page(HTMLParser):
    """What a browser would make of the markup: elements with attributes, and text."""

    def __init__(self, markup):
        super().__init__()
        self.elements, self.open, self.text = [], [], []
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

    @property
    def words(self):
        return " ".join("".join(self.text).split())

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]


def hostile(value, path=""):
    """Return `value` with every text replaced by markup, each one different."""
    if isinstance(value, dict):
        kept = ("error_type", "thumbnail")
        return {k: v if k in kept else hostile(v, f"{path}.{k}") for k, v in value.items()}
    if isinstance(value, list):
        return [hostile(v, f"{path}.{k}") for k, v in enumerate(value)]
    return f"{HOSTILE}{path}" if isinstance(value, str) else value


def texts(value):
    if isinstance(value, dict):
        return [t for k, v in value.items() if k != "thumbnail" for t in texts(v)]
    return [t for v in value for t in texts(v)] if isinstance(value, list) else [value]


# --- the page ---------------------------------------------------------------------------------------------------------


def test_page_is_well_formed_and_has_one_h1_with_headings_in_order(summary):
    page = Page(render_html(summary))
    assert page.open == []
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert page.all("html") == [{"lang": "en"}]


def test_page_says_findings_first_and_names_the_part_of_each_number(summary):
    words = Page(render_html(summary)).words
    order = [
        summary["headline"],
        summary["findings"][0]["sentence"],
        summary["warnings"][0],
        "All candidates",
        "Tried but not confirmed",
        "What could have been detected",
        "How it was done",
        "What this does not show",
    ]
    places = [words.index(text) for text in order]
    assert places == sorted(places)
    for text in ("Confirmation", "Discovery", "+48 points", "+55 points", "Not for clinical use", "q-17"):
        assert text in words


def test_label_terms_are_counted_and_shown_only_when_asked_for(summary):
    masked, shown = Page(render_html(summary)).words, Page(render_html(summary, show_label_terms=True)).words
    assert "covid label term" not in masked
    assert masked.count("1 label term hidden: it restates the label, which is no explanation.") == 4
    assert shown.count("covid label term: restates the label, not an explanation") == 4
    assert "hidden" not in shown


def test_page_asks_for_nothing_outside_itself(summary):
    markup = render_html(summary)
    page = Page(markup)
    assert page.all("script") == []
    assert "url(" not in markup
    assert "@import" not in markup
    links = [v for _, attrs in page.elements for k, v in attrs.items() if k in ("src", "href", "srcset", "action")]
    assert links
    assert [v for v in links if not v.startswith(("data:", "#"))] == []
    policy = next(m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'unsafe-inline'")


def test_every_fragment_link_has_its_target(summary):
    page = Page(render_html(summary))
    ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    targets = {a["href"][1:] for a in page.all("a")}
    assert len(targets) == 4
    assert targets <= set(ids)
    assert {v for _, attrs in page.elements for k, v in attrs.items() if k == "aria-labelledby"} <= set(ids)


def test_every_image_has_an_alternative_text_and_every_header_a_scope(summary):
    page = Page(render_html(summary))
    images = page.all("img")
    assert [i["alt"] for i in images] == ["strongest member 1 of 2: label 1, probability 0.20, wrong"] * 4
    assert all(i["src"].startswith("data:image/jpeg;base64,") for i in images)
    assert {th.get("scope") for th in page.all("th")} == {"row", "col"}


def test_texts_of_the_data_stay_texts(summary):
    changed = hostile(summary)
    page = Page(render_html(changed))
    assert page.open == []
    assert page.all("script") == []
    assert all(i["src"].startswith("data:") for i in page.all("img"))
    assert [attrs for _, attrs in page.elements if any(name.startswith("on") for name in attrs)] == []
    words = page.words
    shown = [t for key in ("headline", "findings", "warnings", "quarantine", "data") for t in texts(changed[key])]
    missing = [t for t in shown if isinstance(t, str) and t.startswith(HOSTILE) and t not in words]
    assert missing == []


@pytest.mark.parametrize("bad", ['x" onerror="alert(1)', "PHN2Zz4=", "not base64", 5, ""])
def test_a_thumbnail_that_is_no_jpeg_or_png_is_not_shown(summary, bad):
    for row in summary["candidates"]:
        for member in row["members"]:
            member["thumbnail"] = bad
    page = Page(render_html(summary))
    assert page.all("img") == []
    assert "x1-0" in page.words


def test_a_png_thumbnail_is_shown_as_png(summary):
    summary["findings"][0]["members"][0]["thumbnail"] = thumbnail("PNG")
    assert "data:image/png;base64," in render_html(summary)


def test_numbers_that_are_not_there_are_dashes(summary):
    for value in (None, float("nan"), float("inf")):
        broken = {k: value if isinstance(v, float) else v for k, v in summary["findings"][0].items()}
        broken["traits"] = [{**t, "share_inside": value} for t in broken["traits"]]
        broken["members"] = [{**m, "y_proba": value} for m in broken["members"]]
        one = {**summary, "candidates": [broken], "findings": [], "detectable": [{"n_patients": 2, "gap": value}]}
        one["data"] = {**summary["data"], "error_rate": value}
        for text in (Page(render_html(one)).words, render_markdown_card(one), Page(render_notebook(one)).words):
            assert not re.search(r"\b(nan|NaN|None|inf|Undefined)\b", text)
        assert "not measured" in Page(render_html(one)).words
        assert "probability –" in Page(render_html(one)).words


def test_a_summary_survives_json(summary):
    assert render_html(json.loads(json.dumps(summary))) == render_html(summary)


def test_rendering_leaves_the_summary_as_it_was(summary):
    before = copy.deepcopy(summary)
    render_html(summary)
    render_notebook(summary)
    render_markdown_card(summary)
    render_text(summary)
    assert json.dumps(summary) == json.dumps(before)


def test_nothing_found_is_said_to_be_a_result(nothing_found):
    words = Page(render_html(nothing_found)).words
    assert words.index("Nothing found is a result") < words.index(nothing_found["warnings"][0])
    assert words.count(nothing_found["detectable_sentence"]) == 1
    assert "34 points" in words
    assert "Tried but not confirmed" not in words


def test_no_patient_id_is_said(summary):
    assert "No patient id" not in render_html(summary)
    summary["data"]["has_patient_id"] = False
    assert "No patient id was given" in render_html(summary)
    assert "no patient is in both" not in render_html(summary)
    assert "no patient id" in render_markdown_card(summary)
    assert "no patient is in both" not in render_markdown_card(summary)


def test_a_sparse_summary_still_gives_a_page():
    row = {"slice_id": "s1", "description": "view = AP", "confirmed": True}
    page = Page(render_html({"title": "T", "headline": "H", "findings": [row], "candidates": [row]}))
    assert "view = AP" in page.words
    assert not re.search(r"\b(nan|NaN|None|inf|Undefined)\b", page.words)


def test_unstable_slices_are_marked_once_each(summary):
    assert Page(render_html(summary)).words.count("confirmed unstable") == 1


@pytest.mark.parametrize("rendering", [render_html, render_notebook, render_markdown_card, render_text])
def test_words_to_avoid_are_avoided(summary, rendering):
    text = rendering(summary)
    assert AVOIDED.findall(Page(text).words if "<" in text else text) == []


def test_each_css_rule_starts_with_our_prefix():
    sources = "".join((TEMPLATES / name).read_text(encoding="utf-8") for name in ("slice.css", "report.css"))
    css = re.sub(r"/\*.*?\*/", "", sources, flags=re.DOTALL)
    selectors = [s.strip() for group in re.findall(r"([^{}]+)\{", css) for s in group.split(",")]
    own = [s for s in selectors if not s.startswith("@media") and not s.endswith(")")]
    assert len(own) > 100
    assert [s for s in own if not s.startswith((".mma-", ":root"))] == []


def test_templates_never_switch_the_escaping_off():
    sources = {p.name: p.read_text(encoding="utf-8") for p in TEMPLATES.iterdir() if p.suffix == ".jinja"}
    assert "report.html.jinja" in sources
    assert [name for name, text in sources.items() if re.search(r"\|\s*safe\b|autoescape|Markup", text)] == []


def test_control_and_direction_characters_are_replaced(summary):
    summary["warnings"] = ["a\x1b[31mb\u202ec\udcffd"]
    markup = render_html(summary)
    assert "a\ufffd[31mb\ufffdc\ufffdd" in markup
    markup.encode("utf-8")


# --- the plot ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def pyplot():
    import matplotlib.pyplot as plt

    yield plt
    plt.close("all")


def markers(ax):
    return [line for line in ax.lines if line.get_marker() not in ("None", None)]


def test_plot_has_a_row_for_each_candidate_and_fills_the_confirmed(summary, pyplot):
    before = dict(mpl.rcParams)
    ax = forest_plot(summary)
    assert isinstance(ax, mpl.axes.Axes)
    assert dict(mpl.rcParams) == before
    assert len(ax.get_yticks()) == 4
    assert [t.get_text().replace("\n", " ") for t in ax.get_yticklabels()] == [
        row["description"] for row in summary["candidates"]
    ]
    drawn = markers(ax)
    assert [float(line.get_xdata()[0]) for line in drawn] == [48, 48, -4]
    assert [line.get_marker() for line in drawn] == ["o", "s", "^"]
    assert [line.get_markerfacecolor() == "white" for line in drawn] == [False, False, True]
    assert "not enough confirmation patients" in [t.get_text().strip() for t in ax.texts]
    ax.figure.canvas.draw()


def test_plot_draws_into_given_axes(summary, pyplot):
    _, ax = pyplot.subplots()
    assert forest_plot(summary, ax=ax) is ax
    assert len(pyplot.get_fignums()) == 1


def test_plot_of_nothing_says_so(nothing_found, pyplot):
    ax = forest_plot(nothing_found)
    assert [t.get_text() for t in ax.texts] == ["No candidate slices to show."]


def test_plot_takes_a_dollar_sign_as_a_dollar_sign(summary, pyplot):
    summary["title"] = summary["candidates"][0]["description"] = r"cost $\frac{1$ of $"
    summary["candidates"][0]["error_type"] = "$x^{$"
    ax = forest_plot(summary)
    ax.figure.canvas.draw()
    assert ax.get_yticklabels()[0].get_text() == r"cost $\frac{1$ of $"


# --- notebook, Markdown, terminal -------------------------------------------------------------------------------------


def test_notebook_view_is_a_scoped_fragment(summary):
    markup = render_notebook(summary)
    page = Page(markup)
    assert page.open == []
    for text in (summary["headline"], summary["findings"][0]["sentence"], "+48 points", "0.003", ".to_html("):
        assert text in page.words
    css = re.search(r"<style>(.*?)</style>", markup, re.DOTALL)[1]
    rules = [s.strip() for group in re.findall(r"([^{}]+)\{", css) for s in group.split(",")]
    assert [s for s in rules if not s.startswith(".mma-nb")] == []
    assert "var(--jp-layout-color1, var(--vscode-editor-background, Canvas))" in css


def test_notebook_view_escapes(summary):
    page = Page(render_notebook(hostile(summary)))
    assert page.all("script") == page.all("img") == []
    assert f"{HOSTILE}.headline" in page.words


def cells(line):
    return re.split(r"(?<!\\)\|", line)


def test_markdown_escapes_what_would_be_markup(summary):
    summary["findings"][0]["description"] = "a|b <img src=x> `c` *d*\n# e [f](http://x) \\| g &lt;"
    summary["warnings"] = ["1. no list", "- no list", "# no heading", "95.5 stays"]
    card = render_markdown_card(summary)
    row = next(line for line in card.splitlines() if line.startswith("| a"))
    assert len(cells(row)) == 11
    assert cells(row)[1].strip() == (r"a\|b &lt;img src=x&gt; \`c\` \*d\* \# e \[f\](http://x) \\\| g &amp;lt;")
    for line in (r"- 1\. no list", r"- \- no list", r"- \# no heading", "- 95.5 stays"):
        assert line in card.splitlines()


def test_markdown_card_has_its_sections_and_no_sample_ids(summary):
    card = render_markdown_card(summary)
    heads = [line for line in card.splitlines() if line.startswith("#")]
    # The headings of Hugging Face's template, in its order and levels, and below them ours and the toolkit's
    assert heads == [
        "## Evaluation",
        "### Testing Data, Factors & Metrics",
        "#### Testing Data",
        "#### Factors",
        "#### Metrics",
        "### Results",
        "#### Summary",
        "#### Quantitative Analysis",
        "##### Finding 1: view = AP Supine, part 1",
        "##### Finding 2: view = AP Supine, part 2",
        "#### What could have been detected",
        "## Bias, Risks, and Limitations",
        "### Limitations",
    ]
    row = next(line for line in card.splitlines() if line.startswith("| view = AP Supine, part 1 "))
    assert [cell.strip() for cell in cells(row)[3:-1]] == [
        "view = 'AP Supine'",
        "40",
        "60 %",
        "12 %",
        "+48 points (+30 to +63)",
        "0.003",
        "–",
    ]
    assert "120 confirmation patients (203 samples)" in card
    assert "x1-0" not in card
    assert "q-17" not in card


def test_markdown_card_is_valid_where_it_is_pasted(summary):
    """Each table has as many cells in each row, and headings go down one level at a time."""
    lines = render_markdown_card(summary).splitlines()
    tables = [list(rows) for is_table, rows in groupby(lines, lambda line: line.startswith("|")) if is_table]
    assert len(tables) == 3
    assert [{len(cells(row)) for row in rows} for rows in tables] == [{4}, {11}, {6}]
    levels = [len(line.split()[0]) for line in lines if line.startswith("#")]
    assert all(after - before <= 1 for before, after in pairwise(levels))
    places = [k for k, line in enumerate(lines) if line.startswith("#")]
    assert {lines[k + step] for k in places for step in (-1, 1) if k} == {""}
    assert not any(line.startswith("---") for line in lines)  # no YAML


def test_markdown_card_of_nothing(nothing_found):
    card = render_markdown_card(nothing_found)
    assert "Nothing found is a result" in card
    assert "| 20 | 1 | 17 % | 34 points |" in card


def test_text_fits_a_terminal_and_numbers_the_findings(summary):
    summary["findings"][0]["sentence"] = "word " * 80 + "x" * 150 + "\x1b[2J"
    lines = render_text(summary).splitlines()
    assert max(map(len, lines)) <= 100
    assert lines[0] == summary["headline"]
    assert [line[:5] for line in lines if re.match(r" +\d\.", line)] == ["  1. ", "  2. "]
    assert lines[-1] == summary["detectable_sentence"]
    assert "\x1b" not in "".join(lines)


# --- words and numbers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"gap": None}, "not enough confirmation patients to measure it"),
        ({"gap": -0.1, "q_value": 0.9}, "no more errors than outside it among the confirmation patients"),
        ({"gap": 0.1, "q_value": 0.21}, "q = 0.21, above 0.05"),
        ({"gap": 0.1, "q_value": 0.01}, "did not meet the rule for a finding"),
    ],
)
def test_why_a_candidate_is_no_finding(row, reason):
    assert fmt.not_confirmed_because(row, 0.05) == reason


def test_an_unknown_kind_of_error_is_named_in_its_own_words():
    assert fmt.error_type("wrong_side").long_name == "wrong side"
    assert fmt.error_type(None).shape == "triangle"


# Several labels, other metrics


def test_detectable_gaps_of_several_labels_are_one_row_each():
    rows = [
        {"target": "effusion", "label": 1, "n_patients": 10, "share": 0.1, "gap": 0.4},
        {"target": "effusion", "label": 1, "n_patients": 20, "share": 0.2, "gap": 0.3},
        {"target": "nodule", "label": 0, "n_patients": 9, "share": 0.2, "gap": None},
    ]
    shares, groups = fmt.detectable_of_several(rows)
    assert shares == [0.1, 0.2]
    assert groups == [("effusion, with it", rows[:2]), ("nodule, without it", [None, rows[2]])]


def several(summary):
    rates = {"n_known": 300, "n_positive": 100, "false_negative_rate": 0.2, "false_positive_rate": 0.1}
    targets = [{"name": "effusion", **rates}, {"name": HOSTILE, **rates}]
    changed = copy.deepcopy(summary)
    changed["data"] |= {"kind": "multilabel", "targets": targets}
    changed["detectable"] = [{"target": HOSTILE, "label": 1, "n_patients": 20, "share": 0.17, "gap": 0.34}]
    for rows in (changed["findings"], changed["candidates"]):
        for k, row in enumerate(rows):
            row["target"] = targets[k % 2]["name"]
    return changed


def test_a_slice_size_that_was_not_computed_is_a_dash(summary):
    changed = several(summary)
    changed["detectable"].append({"target": "effusion", "label": 1, "n_patients": 9, "share": 0.3, "gap": 0.3})
    row = re.search(r'<tr><th scope="row">effusion, with it</th>(.*?)</tr>', render_html(changed), re.DOTALL)[1]
    assert Page(f"<table>{row}</table>").words == "–30 points9 patients"


def test_names_of_labels_stay_texts(summary):
    for page in (render_html(several(summary)), render_markdown_card(several(summary))):
        assert "<script>alert" not in page
        assert "<img src=x" not in page
        assert "effusion" in page
        assert "100 of 300" in page


def test_another_metric_is_named_and_its_direction_is_said(summary):
    summary["settings"] |= {"metric": "auroc", "greater_is_better": True}
    page, card = render_html(summary), render_markdown_card(summary)
    assert "AUROC in the slice" in page
    assert "← worse in the slice" in page
    assert "Error rate in the slice" not in page
    assert ">0.60<" in page  # an AUROC is no percentage
    assert "The AUROC in a slice is compared with that of the rest of the samples" in card
    assert "| 0.60 | 0.12 |" in card
    measure = fmt.measure(summary)
    assert fmt.not_confirmed_because({"gap": 0.1, "q_value": 0.4}, 0.05, measure) == (
        "no worse AUROC than outside it among the confirmation patients"
    )
    assert fmt.not_confirmed_because({"gap": -0.1, "q_value": 0.4}, 0.05, measure) == "q = 0.40, above 0.05"
