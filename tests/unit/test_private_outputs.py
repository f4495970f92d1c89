"""What is made to be shown names no sample and no patient, unless it is asked to."""

import json
import re

import pytest

import mmaudit as mma
from mmaudit import cli
from tests.widgets._private import WORDS, private_audit, private_data

OF_A_PATIENT = re.compile("|".join(rf"{word}\d{{4}}q" for word in WORDS))


@pytest.fixture(scope="module")
def result():
    result = private_audit(private_data())
    assert len(result.findings) and result.explanations
    slice_id = result.candidates["slice_id"][0]
    result.user_verdicts["slices"] = {slice_id: {"verdict": "accept", "note": ""}}
    # Two of the audited samples, and one that was left out before the audit
    result.quarantine.loc[:] = None
    for sample in ("sampleid0003q", "sampleid0004q", "sampleid9999q"):
        result.quarantine.loc[len(result.quarantine)] = [sample, "truncated"]
    return result


@pytest.fixture(scope="module")
def shown(result):
    slice_id = result.candidates["slice_id"][0]
    card = result.card(slice_id)
    return {
        "report": result.to_html(),
        "text": result.to_text(),
        "model card": result.model_card(),
        "notebook": result._repr_html_(),
        "repr": repr(result),
        "card": card.to_html(),
        "card in a notebook": card._repr_html_(),
        "card as text": card.to_text(),
        "card in Markdown": card.to_markdown(),
        "explanation": repr(result.explain(slice_id)),
        "summary": json.dumps(result.summary(identifiers=False)),
    }


def test_nothing_shown_is_of_a_patient(shown):
    assert {name: OF_A_PATIENT.findall(text)[:3] for name, text in shown.items() if OF_A_PATIENT.search(text)} == {}


def test_the_folder_of_an_audit_names_samples_only_where_they_are_looked_up(result, tmp_path):
    out = result.to_folder(tmp_path / "out", metadata=False)
    named = {path.name for path in out.iterdir() if OF_A_PATIENT.search(path.read_bytes().decode("latin-1"))}
    assert named == {"result.json", "membership.parquet"}
    out = result.to_folder(tmp_path / "named", identifiers=True)
    assert "sampleid0003q" in (out / "report.html").read_text("utf-8")


def test_a_case_is_found_again_by_its_number(result, shown):
    slice_id = result.candidates["slice_id"][0]
    numbered = next(s for s in result.summary(identifiers=False)["candidates"] if s["slice_id"] == slice_id)
    named = next(s for s in result.summary()["candidates"] if s["slice_id"] == slice_id)
    numbers = [member["sample_id"] for member in numbered["members"]]
    assert [result.samples.index[int(n.removeprefix("case ")) - 1] for n in numbers] == [
        member["sample_id"] for member in named["members"]
    ]
    assert all(f">{n}<" in shown["report"] for n in numbers)
    assert numbered["explanation"]["members"]["typical"][0].startswith("case ")


def test_who_was_left_out_is_counted_by_reason(shown):
    assert re.search(r"truncated</th><td[^>]*>3</td>", shown["report"])


def test_pictures_stay_beside_their_cases(result):
    numbered, named = result.summary(identifiers=False)["thumbnails"], result.summary()["thumbnails"]
    assert len(named) and list(numbered.values()) == list(named.values())
    assert all(key.startswith("case ") for key in numbered)


def test_a_loaded_result_is_as_private(result, tmp_path):
    again = mma.load_result(result.save(tmp_path / "result.json"))
    card = again.card(again.candidates["slice_id"][0])
    assert not OF_A_PATIENT.search(again.to_html() + again.to_text() + card.to_html())
    assert "case " in again.to_html() and OF_A_PATIENT.search(again.to_html(identifiers=True))


def test_the_command_line_names_samples_on_request(tmp_path, capsys):
    table = tmp_path / "cases.csv"
    data = private_data(200)
    frame = data.metadata.assign(y=data.y_true, p=data.y_proba, who=data.patient_id, id=data.sample_id)
    frame.to_csv(table, index=False)
    roles = ["--label", "y", "--proba", "p", "--patient", "who", "--id", "id", "--metadata", "view", "--quiet"]
    for flags in ([], ["--identifiers"]):
        out = tmp_path / f"out{len(flags)}"
        assert cli.main(["audit", str(table), *roles, "--out", str(out), *flags]) == 0
        printed = capsys.readouterr()
        assert not OF_A_PATIENT.search(printed.out + printed.err)
        assert bool(OF_A_PATIENT.search((out / "report.html").read_text("utf-8"))) == bool(flags)
