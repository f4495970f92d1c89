"""What a saved audit holds for a page without a kernel: as a widget would send it, checked when it is read."""

import base64
import json
import subprocess
import sys
import tracemalloc
import zlib

import numpy as np
import pandas as pd
import pytest

import mmaudit as mma
from mmaudit import load_result
from mmaudit._errors import InputError
from mmaudit.widgets import ExplanationTable, SliceExplorer, _columns, _saved
from mmaudit.widgets._saved import page_of
from tests.widgets._slices import audit_of


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def arrays_of(sections, block):
    raw = zlib.decompress(block)
    return {s["name"]: np.frombuffer(raw, s["dtype"], s["length"], s["offset"]) for s in sections}


def arrays_in(page):
    return arrays_of(page["cases"]["sections"], base64.b64decode(page["cases"]["block"]))


def with_data(n=60, **columns):
    """Return a result of two slices whose data have these columns; each patient has two samples."""
    result = audit_of(2, n_samples=n)
    frame = pd.DataFrame(
        {
            "id": result.samples.index,
            "y": result.samples["y_true"].to_numpy(),
            "who": [f"patientid{k // 2}" for k in range(n)],
            **columns,
        }
    )
    result._data = mma.AuditData.from_frame(frame, label="y", patient_id="who", sample_id="id", metadata=list(columns))
    return result


@pytest.fixture
def saved(tmp_path):
    """A file of two slices, 60 samples and two columns."""
    result = with_data(view=["PA", "AP"] * 30, age=np.arange(60.0))
    return result.save(tmp_path / "x.mmaudit.json")


class TestPage:
    def test_it_is_what_a_widget_has(self, audited):
        page = page_of(audited)
        widget = ExplanationTable(audited)
        assert page["rows"] == widget._rows
        assert page["cards"] == widget._cards
        told, (block,) = widget.cases.start()
        cases = page["cases"]
        assert {key: cases[key] for key in ("n", "targets", "models")} == {
            key: told[key] for key in ("n", "targets", "models")
        }
        assert cases["models"] == ["model"]
        assert cases["ids"] == [str(sample) for sample in audited.samples.index]
        own, first = arrays_in(page), arrays_of(told["sections"], block)
        for name, array in first.items():
            assert own[name].dtype == array.dtype and (own[name] == array).all(), name
        answer, (block,) = _columns.columns(SliceExplorer(audited), {}, None)
        assert [column["name"] for column in cases["columns"]] == ["machine", "age"]
        assert cases["columns"][0] == answer["columns"][0]  # of the age, bins are joined
        assert (own["column:machine"] == arrays_of(answer["sections"], block)["column:machine"]).all()
        assert set(own) == {*first, "column:machine", "column:age"}

    def test_it_has_all_slices_not_the_first_alone(self):
        result = audit_of(30)
        page = page_of(result)
        assert len(page["rows"]) == len(page["cards"]) == 30
        assert page["cards"]["s030"]["sentence"] == "Where age > 29, more are missed."
        strength = arrays_in(page)["member:s030"]
        assert ((strength >= 128) == (result.membership["s030"] >= 0.5)).all()

    def test_several_targets(self):
        result = audit_of(2)
        frame = result.samples
        columns = {"y_true": frame["y_true"], "y_proba": frame["y_proba"], "wrong": frame["wrong"]}
        for target in ("effusion", "edema"):
            for name, values in columns.items():
                frame[f"{name}:{target}"] = values
        result.data_summary["targets"] = [{"name": "effusion"}, {"name": "edema"}]
        page = page_of(result)
        assert page["cases"]["targets"] == ["effusion", "edema"]
        assert {"truth:1", "probability:1:0", "wrong:1:0"} <= set(arrays_in(page))

    def test_it_is_strict_json(self):
        result = audit_of(2, changes={1: {"gap": None, "ci_low": None, "ci_high": None, "q_value": None}})
        page = page_of(result)
        assert json.loads(json.dumps(page, allow_nan=False)) == page

    def test_of_no_slice(self, tmp_path):
        page = read(audit_of(0).save(tmp_path / "x.json"))["page"]
        assert (page["rows"], page["cards"]) == ([], {})
        assert set(arrays_in(page)) == {"truth:0", "probability:0:0", "wrong:0:0", "confirmation"}
        assert load_result(tmp_path / "x.json")._saved_columns == []

    def test_of_many_samples_it_has_no_arrays(self, monkeypatch, tmp_path):
        monkeypatch.setattr(_saved, "MOST_CASES", 59)
        path = with_data(view=["PA", "AP"] * 30).save(tmp_path / "x.json")
        assert read(path)["page"]["cases"] is None
        assert len(read(path)["page"]["rows"]) == 2
        assert load_result(path)._saved_columns == []
        monkeypatch.setattr(_saved, "MOST_CASES", 60)
        assert page_of(audit_of(2))["cases"]["n"] == 60

    def test_groups_made_by_hand_are_not_in_it(self, audited):
        widget = SliceExplorer(audited)
        before = page_of(audited)
        widget._rows = [*widget._rows, {**widget._rows[0], "id": "h01", "origin": "hypothesis"}]
        widget.cases.own["h01"] = np.zeros(widget.cases.n, np.uint8)
        assert page_of(audited) == before

    def test_saving_and_loading_need_no_widget_package(self, tmp_path):
        code = f"""
import sys
sys.path.insert(0, ".")
from tests.widgets._slices import audit_of
from mmaudit import load_result
load_result(audit_of(2).save({str(tmp_path / "x.json")!r}))
print([m for m in sys.modules if m.partition(".")[0] in ("anywidget", "ipywidgets", "traitlets", "IPython")])
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


class TestMetadata:
    def test_rare_values_are_nowhere_in_the_files(self, tmp_path, monkeypatch):
        wards = [f"wardvalue{k // 2}q" if k < 12 else "common" for k in range(60)]
        # five rows, three patients: p0, p1 and p2
        twice = ["raretwice"] * 5 + ["often"] * 55
        result = with_data(ward=wards, twice=twice, age=[12345.0, *[40.0] * 29, *[50.0] * 30])
        for inline in (10**9, -1):
            monkeypatch.setattr("mmaudit.result.INLINE_CELLS", inline)
            result.save(tmp_path / "x.mmaudit.json")
        result.to_folder(tmp_path / "folder")
        for file in [path for path in tmp_path.rglob("*") if path.is_file()]:
            for word in (b"wardvalue", b"raretwice", b"12345", b"patientid"):
                assert word not in file.read_bytes(), (file.name, word)
        columns = {one["name"]: one for one in read(tmp_path / "x.mmaudit.json")["page"]["cases"]["columns"]}
        assert columns["ward"]["categories"] == ["common", "other (6 values)"]
        assert "twice" not in columns  # of two values one is rare: whoever has it would be known
        assert columns["age"] == {"name": "age", "kind": "number", "categories": ["40 to 41", "≥ 42"]}
        live, _ = _columns.columns(SliceExplorer(result), {}, None)
        assert "raretwice" in live["columns"][1]["categories"]  # the user's own widget shows all

    def test_five_patients_are_enough(self, tmp_path):
        path = with_data(twice=["fivepatients"] * 9 + ["often"] * 51).save(tmp_path / "x.json")
        assert read(path)["page"]["cases"]["columns"][0]["categories"] == ["often", "fivepatients"]

    def test_in_the_order_of_the_data_and_left_out_if_wished(self, tmp_path):
        result = with_data(z=["a"] * 60, b=["b"] * 60, k=np.arange(60) % 3)
        page = read(result.save(tmp_path / "x.json"))["page"]
        assert [column["name"] for column in page["cases"]["columns"]] == ["z", "b", "k"]
        for path in (
            result.save(tmp_path / "y.json", metadata=False),
            result.to_folder(tmp_path / "out", metadata=False) / "result.json",
        ):
            page = read(path)["page"]
            assert page["cases"]["columns"] == []
            assert not [name for name in arrays_in(page) if name.startswith("column:")]
        assert read(result.to_folder(tmp_path / "with") / "result.json")["page"]["cases"]["columns"]

    def test_data_in_another_order(self):
        result = with_data(view=["PA"] * 20 + ["AP"] * 40)
        before = page_of(result)
        result._data = result._data.subset(np.random.default_rng(0).permutation(60))
        assert page_of(result) == before

    def test_more_columns_than_a_file_holds(self, monkeypatch, tmp_path):
        monkeypatch.setattr(_saved, "MOST_COLUMNS", 2)
        path = with_data(a=["x"] * 60, b=["x"] * 60, c=["x"] * 60).save(tmp_path / "x.json")
        assert [column.name for column in load_result(path)._saved_columns] == ["a", "b"]


class TestLoaded:
    def test_explore_shows_the_metadata(self, audited, tmp_path):
        path = audited.save(tmp_path / "x.mmaudit.json")
        loaded = load_result(path)
        answer, (block,) = _columns.columns(loaded.explore(), {}, None)
        page = read(path)["page"]
        assert answer["columns"] == page["cases"]["columns"]
        codes = arrays_of(answer["sections"], block)
        for name, array in arrays_in(page).items():
            if name.startswith("column:"):
                assert (codes.pop(name) == array).all()
        assert codes == {}
        with_, _ = _columns.columns(loaded.explore(data=audited._data), {}, None)
        live, _ = _columns.columns(audited.explore(), {}, None)
        assert with_ == live  # of the data, where they are at hand

    def test_saved_again_it_is_the_same_page(self, audited, tmp_path):
        one = audited.save(tmp_path / "a.json")
        two = load_result(one).save(tmp_path / "b.json")
        three = load_result(two).save(tmp_path / "c.json")
        assert read(one)["page"] == read(two)["page"] == read(three)["page"]
        assert read(two)["page"]["cases"]["columns"]
        without = load_result(two).save(tmp_path / "d.json", metadata=False)
        assert load_result(without)._saved_columns == []

    def test_rows_and_cards_are_made_from_the_candidates(self, saved):
        document = read(saved)
        document["page"]["rows"][0]["name"] = "another"
        document["page"]["cards"]["s001"] = {"sentence": "another"}
        saved.write_text(json.dumps(document))
        widget = ExplanationTable(load_result(saved))
        assert widget._rows[0]["name"] != "another"
        assert widget._cards["s001"]["sentence"] != "another"

    def test_a_file_of_before(self, saved):
        document = read(saved)
        del document["page"]
        saved.write_text(json.dumps(document))
        loaded = load_result(saved)
        assert loaded._saved_columns == []
        assert _columns.columns(loaded.explore(), {}, None)[0]["columns"] == []


def blocked(page, change):
    """Put other bytes into the block."""
    raw = zlib.decompress(base64.b64decode(page["cases"]["block"]))
    page["cases"]["block"] = base64.b64encode(change(raw)).decode()


def column_code(page, code):
    """Give one case a code of the first column."""
    section = next(s for s in page["cases"]["sections"] if s["name"] == "column:view")
    at = section["offset"]
    blocked(page, lambda raw: zlib.compress(raw[:at] + bytes([code]) + raw[at + 1 :]))


DAMAGE = {
    "no page": lambda d: d.update(page=None),
    "a list": lambda d: d.update(page=[]),
    "no rows": lambda d: d["page"].pop("rows"),
    "rows of others": lambda d: d["page"]["rows"][0].update(id="s99"),
    "rows that are no objects": lambda d: d["page"].update(rows=["s001", "s002"]),
    "a card too few": lambda d: d["page"]["cards"].pop("s002"),
    "a card that is text": lambda d: d["page"]["cards"].update(s001="x"),
    "no cases": lambda d: d["page"].pop("cases"),
    "cases as text": lambda d: d["page"].update(cases="none"),
    "another n": lambda d: d["page"]["cases"].update(n=59),
    "a huge n": lambda d: d["page"]["cases"].update(n=10**18),
    "other ids": lambda d: d["page"]["cases"]["ids"].reverse(),
    "ids that are no text": lambda d: d["page"]["cases"].update(ids=list(range(60))),
    "an id too few": lambda d: d["page"]["cases"]["ids"].pop(),
    "other targets": lambda d: d["page"]["cases"].update(targets=["edema"]),
    "another model": lambda d: d["page"]["cases"].update(models=["model", "other"]),
    "categories as text": lambda d: d["page"]["cases"]["columns"][0].update(categories="PA"),
    "categories of numbers": lambda d: d["page"]["cases"]["columns"][0].update(categories=[1, 2]),
    "too many categories": lambda d: d["page"]["cases"]["columns"][0].update(categories=["x"] * 31),
    "a long category": lambda d: d["page"]["cases"]["columns"][0].update(categories=["x" * 81, "y"]),
    "too few categories": lambda d: d["page"]["cases"]["columns"][0].update(categories=["PA"]),
    "an unknown kind": lambda d: d["page"]["cases"]["columns"][0].update(kind="text"),
    "a name that is no text": lambda d: d["page"]["cases"]["columns"][0].update(name=4),
    "another name": lambda d: d["page"]["cases"]["columns"][0].update(name="sex"),
    "more of a column": lambda d: d["page"]["cases"]["columns"][0].update(raw=["PA"]),
    "a column twice": lambda d: d["page"]["cases"]["columns"].append(d["page"]["cases"]["columns"][0]),
    "a column too few": lambda d: d["page"]["cases"]["columns"].pop(),
    "a column that is text": lambda d: d["page"]["cases"].update(columns=["view", "age"]),
    "a section too few": lambda d: d["page"]["cases"]["sections"].pop(),
    "another dtype": lambda d: d["page"]["cases"]["sections"][0].update(dtype="float64"),
    "an object dtype": lambda d: d["page"]["cases"]["sections"][0].update(dtype="object"),
    "another length": lambda d: d["page"]["cases"]["sections"][0].update(length=61),
    "a negative offset": lambda d: d["page"]["cases"]["sections"][1].update(offset=-60),
    "an offset outside": lambda d: d["page"]["cases"]["sections"][1].update(offset=10**9),
    "a block of bytes": lambda d: d["page"]["cases"].update(block="!!"),
    "a block of numbers": lambda d: d["page"]["cases"].update(block=[1]),
    "no zlib": lambda d: blocked(d["page"], lambda raw: raw),
    "a short block": lambda d: blocked(d["page"], lambda raw: zlib.compress(raw[:-1])),
    "a long block": lambda d: blocked(d["page"], lambda raw: zlib.compress(raw + b"\x00")),
    "a block cut short": lambda d: blocked(d["page"], lambda raw: zlib.compress(raw)[:-3]),
    "more behind the block": lambda d: blocked(d["page"], lambda raw: zlib.compress(raw) + b"more"),
    "an unknown code": lambda d: column_code(d["page"], 2),
}


class TestDamaged:
    def test_the_file_is_whole_before(self, saved):
        document = read(saved)
        column_code(document["page"], 255)  # a case without a value
        saved.write_text(json.dumps(document))
        assert [column.name for column in load_result(saved)._saved_columns] == ["view", "age"]

    @pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
    def test_it_is_a_damaged_file(self, saved, damage):
        document = read(saved)
        damage(document)
        saved.write_text(json.dumps(document))
        with pytest.raises(InputError, match="path: expected a whole saved audit, got a damaged file"):
            load_result(saved)

    def test_half_a_character_is_read_and_can_be_saved_again(self, saved, tmp_path):
        document = read(saved)
        slice_id = document["candidates"][0]["slice_id"]
        document["user_verdicts"]["slices"][slice_id] = {"verdict": "accept", "note": "half \ud83d"}
        saved.write_text(json.dumps(document))  # as an escape
        result = load_result(saved)
        assert result.user_verdicts["slices"][slice_id]["note"] == "half ?"
        again = load_result(result.save(tmp_path / "again.mmaudit.json"))
        assert again.user_verdicts == result.user_verdicts

    def test_arrays_of_more_samples_than_a_file_holds(self, saved, monkeypatch):
        monkeypatch.setattr(_saved, "MOST_CASES", 59)
        with pytest.raises(InputError, match="a damaged file"):
            load_result(saved)

    def test_more_columns_than_a_file_holds(self, saved, monkeypatch):
        monkeypatch.setattr(_saved, "MOST_COLUMNS", 1)
        with pytest.raises(InputError, match="a damaged file"):
            load_result(saved)

    def test_a_block_that_inflates_without_end_is_not_inflated(self, saved):
        size = 2**27
        document = read(saved)
        blocked(document["page"], lambda raw: zlib.compress(bytes(size)))
        saved.write_text(json.dumps(document))
        tracemalloc.start()
        try:
            with pytest.raises(InputError, match="a damaged file"):
                load_result(saved)
            assert tracemalloc.get_traced_memory()[1] < size / 8
        finally:
            tracemalloc.stop()
