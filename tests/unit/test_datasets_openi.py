"""The loader of Open-i, on reports in its real form, in folders, archives and a stand-in for torchxrayvision."""

import bz2
import gzip
import importlib.util
import io
import sys
import tarfile
import warnings

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mmaudit._errors import AuditWarning, InputError, MissingExtraError
from mmaudit.datasets import load_openi

REPORT = """<?xml version="1.0" encoding="utf-8"?>
<eCitation>
   <meta type="rr"/>
   <uId id="CXR{n}"/>
   <licenseURL>http://creativecommons.org/licenses/by-nc-nd/4.0/</licenseURL>
   <MedlineCitation Owner="Indiana University" Status="supplied by publisher">
      <Article PubModel="Electronic">
         <Abstract>
            <AbstractText Label="COMPARISON">None.</AbstractText>
            <AbstractText Label="INDICATION"/>
            <AbstractText Label="FINDINGS">{findings}</AbstractText>
            <AbstractText Label="IMPRESSION">{impression}</AbstractText>
         </Abstract>
      </Article>
   </MedlineCitation>
   <MeSH>
      {mesh}
   </MeSH>
   {images}
</eCitation>
"""


def report(n, major=(), automatic=(), images=(), findings="Heart size &lt; normal.", impression="Stable\n chest."):
    mesh = [f"<major>{m}</major>" for m in major] + [f"<automatic>{a}</automatic>" for a in automatic]
    nodes = [f'<parentImage id="{i}"><figureId>F1</figureId></parentImage>' for i in images]
    return REPORT.format(n=n, findings=findings, impression=impression, mesh="".join(mesh), images="".join(nodes))


REPORTS = {
    "1": report(1, ["normal"], images=["CXR1_1_IM-0001-3001", "CXR1_1_IM-0001-4001"]),
    "2": report(2, ["Pleural Effusion/left/small"], ["effusion"], images=["CXR2_IM-0652-2001", "CXR2_IM-0652-1001"]),
    "3": report(3, ["Costophrenic Angle/left/blunted"], ["pleural effusions"], images=["CXR3_IM-1384-1001"]),
    "10": report(10, ["Opacity/lung/base/left", "Cardiomegaly/mild"], ["Pericardial Effusion"], findings=""),
    "11": report(11, ["No Indexing"], ["pleural effusion"]),
    "12": report(12, ["Thickening/pleura/apex/left", "Subcutaneous Emphysema"]),
}
DICOM = """imageid,View Position,Modality,Private Creator,Photometric Interpretation,Study Date,Patient's Birth Date,X
CXR1_1_IM-0001-3001,,CR,Agfa ADC NX,MONOCHROME2,20120101,19620102,1
CXR2_IM-0652-2001,LL,CR,SIEMENS MEDCOM OOG,MONOCHROME2,20120101,19520101,1
CXR2_IM-0652-1001,PA,DX,SIEMENS MEDCOM OOG,MONOCHROME1,20120101,19520101,1
CXR3_IM-1384-1001,AP,CR,Agfa ADC NX,MONOCHROME2,20120101,unknown,1
"""


def load(*args, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AuditWarning)
        return load_openi(*args, **options)


def write_folder(root, reports=REPORTS, dicom=True):
    (root / "ecgen-radiology").mkdir(parents=True)
    for name, text in reports.items():
        (root / "ecgen-radiology" / f"{name}.xml").write_text(text, encoding="utf-8")
    if dicom:
        table = pd.read_csv(io.StringIO(DICOM), dtype=str)
        table.to_csv(root / "nlmcxr_dicom_metadata.csv.gz", index=False)
    return root


def write_archive(path, reports=REPORTS):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for name, text in reports.items():
            content = text if isinstance(text, bytes) else text.encode()
            member = tarfile.TarInfo(f"ecgen-radiology/{name}.xml")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def write_pictures(folder, names):
    folder.mkdir(parents=True)
    for name in names:
        Image.fromarray(np.zeros((5, 3), dtype=np.uint8)).save(folder / f"{name}.png")


def values(column):
    return [None if pd.isna(value) else value for value in column]


@pytest.fixture
def no_torchxrayvision(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchxrayvision", None)


@pytest.fixture
def fake_torchxrayvision(monkeypatch, tmp_path):
    package = tmp_path / "site" / "torchxrayvision"
    write_archive(package / "data" / "NLMCXR_reports.tgz")
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    pd.read_csv(io.StringIO(DICOM), dtype=str).to_csv(package / "data" / "nlmcxr_dicom_metadata.csv.gz", index=False)
    monkeypatch.delitem(sys.modules, "torchxrayvision", raising=False)
    monkeypatch.syspath_prepend(str(package.parent))
    return package


def test_reports_shipped_by_torchxrayvision_are_read_without_importing_it(fake_torchxrayvision):
    data = load()
    assert list(data.sample_id) == ["CXR1", "CXR2", "CXR3", "CXR10", "CXR12"]
    assert data.y_true.tolist() == [0, 1, 1, 0, 0]
    assert data.patient_id.tolist() == list(data.sample_id)
    assert data.images is None
    assert data.reports.tolist()[0] == "Heart size < normal. Stable chest."
    assert data.reports.tolist()[3] == "Stable chest."
    assert data.label_name == "Pleural Effusion"
    assert "effusion" in data.label_terms
    assert "torchxrayvision" not in sys.modules


def test_metadata_are_those_of_the_first_frontal_image(fake_torchxrayvision):
    metadata = load().metadata
    assert values(metadata["view"]) == [None, "PA", "AP", None, None]
    assert values(metadata["modality"]) == ["CR", "DX", "CR", None, None]
    assert metadata["system"].tolist()[:2] == ["Agfa ADC NX", "SIEMENS MEDCOM OOG"]
    assert metadata["photometric"].tolist()[:2] == ["MONOCHROME2", "MONOCHROME1"]
    assert metadata["n_images"].tolist() == [2, 2, 1, 0, 0]
    # Born 2 January 1962, 49 on 1 January 2012; born 1 January 1952, 60; no date.
    np.testing.assert_array_equal(metadata["age"], [49, 60, np.nan, np.nan, np.nan])


def test_without_torchxrayvision_the_extra_is_named(no_torchxrayvision):
    message = (
        r'load_openi without root needs the package torchxrayvision. Install it with: pip install "mmaudit\[xrv\]"'
    )
    with pytest.raises(MissingExtraError, match=message):
        load()


def test_a_folder_and_an_archive_give_the_same(no_torchxrayvision, tmp_path):
    folder = load(write_folder(tmp_path / "a", dicom=False))
    write_archive(tmp_path / "b" / "NLMCXR_reports.tgz")
    archive = load(tmp_path / "b")
    bare = load(tmp_path / "a" / "ecgen-radiology")
    for data in (archive, bare):
        assert list(data.sample_id) == list(folder.sample_id)
        assert data.reports.tolist() == folder.reports.tolist()
        assert data.y_true.tolist() == folder.y_true.tolist()
    assert list(folder.metadata) == ["n_images"]


@pytest.mark.parametrize(
    ("label", "terms", "expected"),
    [
        ("Pleural Effusion", "major", [0, 1, 0, 0, 0]),
        ("effusion", "automatic", [0, 1, 1, 0, 0]),  # "effusion" alone is pleural, "Pericardial Effusion" is not
        ("normal", "either", [1, 0, 0, 0, 0]),
        ("No Finding", "either", [1, 0, 0, 0, 0]),
        ("lung opacity", "either", [0, 0, 0, 1, 0]),
        ("CARDIOMEGALY", "either", [0, 0, 0, 1, 0]),
        ("Pleural Thickening", "either", [0, 0, 0, 0, 1]),
        ("Costophrenic Angle", "either", [0, 0, 1, 0, 0]),
    ],
)
def test_labels_by_heading_term_and_other_name(no_torchxrayvision, tmp_path, label, terms, expected):
    assert load(write_folder(tmp_path / "a"), label=label, terms=terms).y_true.tolist() == expected


def test_emphysema_under_the_skin_is_not_of_the_lung(no_torchxrayvision, tmp_path):
    with pytest.raises(InputError, match=r"label: expected reports with and without 'Emphysema'.*got 0 of 5 with it"):
        load(write_folder(tmp_path / "a"), label="Emphysema")


def test_other_sections(no_torchxrayvision, tmp_path):
    root = write_folder(tmp_path / "a")
    assert load(root, sections="IMPRESSION").reports[0] == "Stable chest."
    assert load(root, sections=("COMPARISON", "IMPRESSION")).reports[0] == "None. Stable chest."
    with pytest.raises(InputError, match=r"sections: expected one of 'FINDINGS'.*got 'FINDING'.*mean 'FINDINGS'\?"):
        load(root, sections="FINDING")


def test_images_are_used_where_they_are_and_reports_without_left_out(no_torchxrayvision, tmp_path):
    root = write_folder(tmp_path / "a")
    write_pictures(root / "NLMCXR_png", ["CXR1_1_IM-0001-4001", "CXR2_IM-0652-2001", "CXR2_IM-0652-1001"])
    with pytest.warns(AuditWarning, match=r"left out 1 without MeSH indexing.*; 3 of whose images none is there"):
        data = load_openi(root)
    assert list(data.sample_id) == ["CXR1", "CXR2"]
    assert data.image("CXR2").shape == (5, 3)
    assert data.images.paths == ["CXR1_1_IM-0001-4001.png", "CXR2_IM-0652-1001.png"]
    assert data.metadata["n_images"].tolist() == [1, 2]


def test_images_of_other_names(no_torchxrayvision, tmp_path):
    root = write_folder(tmp_path / "a")
    write_pictures(root / "images", ["other"])
    with pytest.raises(InputError, match="root: expected images that the reports name, got PNG files of other names"):
        load(root)


def test_the_labels_origin_is_warned_of(no_torchxrayvision, tmp_path):
    with pytest.warns(AuditWarning, match="openi: labels were read from the reports"):
        load_openi(write_folder(tmp_path / "a"))


BOMB = '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaa">]><eCitation><uId id="&a;"/></eCitation>'


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (BOMB.encode(), "root: expected reports without document type and entities, got one that declares them"),
        (BOMB.encode("utf-16"), "root: expected reports in UTF-8, got one in another encoding"),
        (b"<eCitation>", "root: expected reports in well-formed XML, got one that is not"),
        (b"<eCitation/>", "root: expected an element uId with an id in every report, got one without"),
        (b"<a>" + b" " * 1024**2, "root: expected reports of at most 1 MB, got a larger one"),
    ],
)
def test_hostile_and_damaged_reports_are_refused(no_torchxrayvision, tmp_path, content, message, packed):
    if packed:
        write_archive(tmp_path / "a" / "NLMCXR_reports.tgz", {"1": content})
    else:
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "1.xml").write_bytes(content)
    with pytest.raises(InputError, match=message):
        load(tmp_path / "a")


def test_links_in_an_archive_are_passed_over_and_nothing_is_unpacked(no_torchxrayvision, tmp_path):
    path = write_archive(tmp_path / "a" / "NLMCXR_reports.tgz")
    with tarfile.open(path, "w:gz") as archive:
        link = tarfile.TarInfo("ecgen-radiology/0.xml")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
        for name, text in REPORTS.items():
            member = tarfile.TarInfo(f"../../{name}.xml")
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    assert load(tmp_path / "a").n_samples == 5
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["NLMCXR_reports.tgz", "a"]


def test_an_archive_in_another_compression_is_refused(no_torchxrayvision, tmp_path):
    path = write_archive(tmp_path / "a" / "NLMCXR_reports.tgz")
    path.write_bytes(bz2.compress(gzip.decompress(path.read_bytes())))
    with pytest.raises(InputError, match=r"root: expected a whole archive NLMCXR_reports.tgz"):
        load(tmp_path / "a")


def test_a_report_may_have_any_number_of_digits_in_its_id(no_torchxrayvision, tmp_path):
    write_archive(tmp_path / "a" / "NLMCXR_reports.tgz", {**REPORTS, "9": report(5000 * "9")})
    assert load(tmp_path / "a").n_samples > 0


def test_missing_reports_and_a_damaged_archive(no_torchxrayvision, tmp_path):
    with pytest.raises(InputError, match="root: expected the folder of Open-i, got a path at which there is none"):
        load(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"root: expected reports as ecgen-radiology/\*.xml.*got a folder without"):
        load(tmp_path)
    path = write_archive(tmp_path / "a" / "NLMCXR_reports.tgz")
    path.write_bytes(path.read_bytes()[:400])
    with pytest.raises(InputError, match=r"root: expected a whole archive NLMCXR_reports.tgz, got none that can be"):
        load(tmp_path / "a")
    write_archive(path, {})
    with pytest.raises(InputError, match=r"root: expected XML reports in NLMCXR_reports.tgz, got an archive without"):
        load(tmp_path / "a")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label": "Cardiomegally"}, r"label: expected a label of Open-i.*Did you mean 'Cardiomegaly'\?"),
        ({"label": ""}, r"label: expected a label of Open-i, or words of its MeSH terms, got ''"),
        ({"terms": "minor"}, r"terms: expected one of 'either', 'major', 'automatic', got 'minor'.*mean 'major'\?"),
    ],
)
def test_wrong_choices(no_torchxrayvision, tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        load(write_folder(tmp_path / "a"), **options)


@pytest.mark.skipif(importlib.util.find_spec("torchxrayvision") is None, reason="torchxrayvision is not installed")
def test_the_real_reports():
    data = load()
    # Counted in the XML files: 3,955 reports, 95 with the heading "No Indexing"; 1,391 "normal".
    assert data.n_samples == 3955 - 95
    assert int(load(label="normal").y_true.sum()) == 1391
    assert int(load(terms="major").y_true.sum()) == 161
