"""What is shown where widgets cannot be."""

import html
import re
from html.parser import HTMLParser

import pytest

import mmaudit as mma
from mmaudit._errors import InputError
from mmaudit.widgets import ExplanationTable, SliceExplorer, SliceGrid
from tests.widgets._private import WORDS, private_data

HOSTILE = "\"><script>alert(1)</script> \u202e & 'name'"
WIDGET = "application/vnd.jupyter.widget-view+json"


class Tags(HTMLParser):
    """Tags, attributes and texts of HTML."""

    def __init__(self, text):
        super().__init__()
        self.found, self.open, self.texts = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in ("img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    def names(self):
        return {tag for tag, _ in self.found}


def shown(widget, **how):
    return widget.static(**how).data


@pytest.mark.parametrize("kind", [ExplanationTable, SliceGrid, SliceExplorer])
def test_a_widget_comes_with_a_table_for_readers_without_widgets(plain_audit, kind):
    data, _ = kind(plain_audit)._repr_mimebundle_()
    assert WIDGET in data
    tags = Tags(data["text/html"])
    assert tags.names() == {"div", "p", "table", "thead", "tbody", "tr", "th", "td"}
    assert plain_audit.headline in tags.texts
    assert data["text/html"].count('<th scope="row">') == len(plain_audit.candidates)
    assert data["text/html"] == shown(kind(plain_audit))


def test_the_table_says_what_the_slices_are(plain_audit):
    (row,) = plain_audit.candidates.to_dict("records")
    cells = re.findall(r"<t[dh](?: scope=\"row\")?>([^<]*)</t[dh]>", shown(ExplanationTable(plain_audit)))
    between = f"{100 * row['ci_low']:+.0f} to {100 * row['ci_high']:+.0f}"
    assert cells[0] == row["description"].replace('"', "&quot;")
    assert cells[2].replace("\xa0", " ") == f"{100 * row['gap']:+.0f} points ({between})"
    assert cells[3:7] == [f"{row['n_patients']}", f"{row['q_value']:.2g}", "confirmed", ""]


@pytest.mark.parametrize("kind", [ExplanationTable, SliceGrid, SliceExplorer])
def test_nothing_of_a_patient_is_in_it(plain_audit, kind):
    text = kind(plain_audit)._repr_mimebundle_()[0]["text/html"]
    assert not [word for word in WORDS if word in text]
    assert "<img" not in text


def test_names_verdicts_and_hidden_slices_are_those_of_the_widget(plain_audit):
    widget = ExplanationTable(plain_audit)
    first = plain_audit.candidates["slice_id"][0]
    widget._rows = [*widget._rows, {**widget._rows[0], "id": "h01", "name": "another", "confirmed": False}]
    widget.verdicts = {first: {"verdict": "radiologist", "note": HOSTILE}}
    widget._edits = {"names": {first: HOSTILE}, "hidden": []}
    tags = Tags(shown(widget))
    assert "script" not in tags.names()
    said = HOSTILE.replace("\u202e", "\ufffd")
    assert said in tags.texts
    assert "needs a radiologist" in tags.texts
    assert shown(widget).count(html.escape(said)) == 1  # the name; the note is nobody else's
    assert "candidate" in tags.texts
    widget._edits = {"names": {}, "hidden": [first]}
    assert "another" in Tags(shown(widget)).texts
    assert "confirmed" not in Tags(shown(widget)).texts
    widget.verdicts = {}


def test_two_hundred_slices_are_cut_and_counted(plain_audit):
    widget = ExplanationTable(plain_audit)
    widget._rows = [{**widget._rows[0], "id": f"s{k}"} for k in range(200)]
    text = shown(widget)
    assert text.count('<th scope="row">') == 30
    assert "And 170 more slices." in text
    assert len(text) < 20_000


def test_numbers_that_are_not_there_are_dashes(plain_audit):
    widget = ExplanationTable(plain_audit)
    widget._rows = [{"id": "s01", "name": "bare"}]
    assert shown(widget).count("<td>–</td>") == 3


def test_a_grid_of_cases_says_how_many():
    assert "360 cases." in shown(SliceGrid(private_data()))


# Pictures


def images_of(text):
    return [attributes for tag, attributes in Tags(text).found if tag == "img"]


def test_pictures_on_purpose_are_of_the_strongest_members(plain_audit):
    text = shown(SliceExplorer(plain_audit), pictures=True)
    found = images_of(text)
    assert len(found) == 24
    assert all(one["src"].startswith("data:image/jpeg;base64,/9j/") for one in found)
    assert all(re.fullmatch(r"label [01], probability 0\.\d\d, (wrong|right)", one["alt"]) for one in found)
    assert not [word for word in WORDS if word in text]
    slice_id = plain_audit.candidates["slice_id"][0]
    members = plain_audit.members(slice_id, most=24)
    assert [one["alt"].endswith("wrong") for one in found] == members["wrong"].tolist()


def test_pictures_of_selected_cases_where_there_are_no_slices():
    data = private_data(20)
    widget = SliceGrid(data)
    assert len(images_of(shown(widget, pictures=True))) == 20
    widget.selected_ids = data.sample_id[[3, 5, 7]].tolist()
    assert len(images_of(shown(widget, pictures=True))) == 3


def test_an_image_that_cannot_be_read_is_said(tmp_path):
    import pandas as pd

    (tmp_path / "a.png").write_bytes(b"no picture <b>")
    frame = pd.DataFrame({"label": [0, 1], "path": ["a.png", "missing.png"], "proba": [0.2, 0.3]})
    data = mma.AuditData.from_frame(frame, label="label", y_proba="proba", image="path", image_root=tmp_path)
    text = shown(SliceGrid(data), pictures=True)
    assert images_of(text) == []
    assert text.count("no image (") == 2


def test_pictures_without_images_are_an_error(plain_audit, tmp_path):
    loaded = mma.load_result(plain_audit.save(tmp_path / "a.json"))
    with pytest.raises(InputError, match="pictures: expected data with images, got none"):
        ExplanationTable(loaded).static(pictures=True)
