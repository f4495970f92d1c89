"""Images in folders, zip files and behind URLs: found inside, refused outside, told apart by their content."""

import hashlib
import io
import os
import pickle
import struct
import sys
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import mmaudit as mma
from mmaudit._errors import ImageReadError, InputError, MissingExtraError
from mmaudit.classifiers._images import ArrayImages
from mmaudit.datasets.phantom._images import PhantomImages
from mmaudit.images import GrayImage, ImageFiles, ImageSource, image_fingerprints, read_image

fsspec = pytest.importorskip("fsspec", reason="the extra remote is not installed")

from fsspec.implementations.memory import MemoryFileSystem  # noqa: E402

OUTSIDE = (
    "image: expected a path inside image_root, got one that leads outside it. "
    "Set image_root to a folder that holds all images."
)
MISSING = "image: expected a file, got a path at which there is none. Check image_root and the image column."
SECRET = b"key of the safe"


def picture(grey, kind="PNG"):
    file = io.BytesIO()
    Image.fromarray(np.full((6, 8), grey, dtype=np.uint8)).save(file, kind)
    return file.getvalue()


def zip_of(path, members, **options):
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def error_of(files, index=0):
    with pytest.raises(ImageReadError) as caught:
        files.read(index)
    return caught.value


@pytest.fixture
def memory():
    """A file system in memory, with films/ and something beside it."""
    files = MemoryFileSystem()
    files.store.clear()
    for path, data in {"/films/p1/a.png": picture(10), "/films/b.png": picture(20), "/secret.png": SECRET}.items():
        files.pipe_file(path, data)
    yield files
    files.store.clear()


# Roots of every kind give the same images


def make_folder(tmp_path):
    (tmp_path / "films" / "p1").mkdir(parents=True)
    (tmp_path / "films" / "p1" / "a.png").write_bytes(picture(10))
    (tmp_path / "films" / "b.png").write_bytes(picture(20))
    return tmp_path / "films"


def make_file_url(tmp_path):
    return make_folder(tmp_path).as_uri()


def make_zip(tmp_path):
    return zip_of(tmp_path / "films.zip", {"p1/a.png": picture(10), "b.png": picture(20)})


def make_memory(tmp_path):
    return "memory://films"


def make_chain(tmp_path):
    inner = zip_of(tmp_path / "inner.zip", {"deep/p1/a.png": picture(10), "deep/b.png": picture(20)})
    MemoryFileSystem().pipe_file("/inner.zip", inner.read_bytes())
    return "zip://deep::memory://inner.zip"


ROOTS = pytest.mark.parametrize("make", [make_folder, make_file_url, make_zip, make_memory, make_chain])


@ROOTS
def test_images_of_every_kind_of_root(tmp_path, memory, make):
    files = ImageFiles(["p1/a.png", "b.png", "p1/../b.png", "./b.png"], make(tmp_path))
    assert isinstance(files, ImageSource)
    assert [round(float(files.read(i).pixels.mean() * 255)) for i in range(4)] == [10, 20, 20, 20]
    again = pickle.loads(pickle.dumps(files)).take([1, 0])
    assert [round(float(again.read(i).pixels.mean() * 255)) for i in range(2)] == [20, 10]


@ROOTS
@pytest.mark.parametrize(
    "given", ["../secret.png", "p1/../../secret.png", "/secret.png", "/films/../secret.png", "..", "p1/../../films2/a"]
)
def test_no_path_leaves_any_root(tmp_path, memory, make, given):
    (tmp_path / "secret.png").write_bytes(SECRET)
    error = error_of(ImageFiles([given], make(tmp_path)))
    assert str(error) == OUTSIDE
    assert error.reason == "outside image_root"


@pytest.mark.parametrize("make", [make_zip, make_memory, make_chain])
@pytest.mark.parametrize("given", ["..\\secret.png", "C:\\secret.png", "\\secret.png", "p1\\..\\..\\secret.png"])
def test_no_path_of_windows_leaves_them_either(tmp_path, memory, make, given):
    assert error_of(ImageFiles([given], make(tmp_path))).reason == "outside image_root"


@ROOTS
@pytest.mark.parametrize("given", ["none.png", "", "p1", "a\0b.png"])
def test_what_is_not_there_is_missing(tmp_path, memory, make, given):
    error = error_of(ImageFiles([given], make(tmp_path)))
    assert error.reason in ("missing", "not reachable")
    if make is not make_chain:  # a folder in a zip file behind a URL has an error of its own
        assert str(error) == MISSING


@ROOTS
def test_data_from_every_kind_of_root(tmp_path, memory, make):
    frame = pd.DataFrame({"y": [0, 1], "who": ["a", "b"], "path": ["p1/a.png", "b.png"]}, index=["s1", "s2"])
    root = make(tmp_path)
    data = mma.AuditData.from_frame(frame, label="y", patient_id="who", image="path", image_root=root)
    assert data.image("s2").shape == (6, 8)
    assert len(mma.AuditData.from_frame(frame, label="y", patient_id="who", image="path", image_root=root).images) == 2


def test_threads_share_a_zip_file(tmp_path):
    members = {f"{i}.png": picture(i) for i in range(100)}
    files = ImageFiles(list(members), zip_of(tmp_path / "films.zip", members))
    with ThreadPoolExecutor(8) as pool:
        greys = list(pool.map(lambda i: round(float(files.read(i).pixels.mean() * 255)), range(100)))
    assert greys == list(range(100))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_process_opens_the_zip_file_anew(tmp_path):
    files = ImageFiles(["p1/a.png", "b.png"], make_zip(tmp_path))
    files.read(0)
    ours = files._place._archive()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        is_another = files._place._archive() is not ours
        os.write(write, bytes([is_another, round(float(files.read(1).pixels.mean() * 255))]))
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 2) == bytes([True, 20])
    assert files._place._archive() is ours
    os.close(read)
    os.close(write)


def test_the_open_zip_file_is_not_pickled(tmp_path):
    files = ImageFiles(["b.png"], make_zip(tmp_path))
    before = len(pickle.dumps(files))
    files.read(0)
    assert len(pickle.dumps(files)) == before


# Zip files that are not what they should be


def test_a_member_whose_name_leads_outside_is_not_read(tmp_path):
    root = zip_of(tmp_path / "films.zip", {"../secret.png": picture(1), "/abs.png": picture(1)})
    for given in ("../secret.png", "/abs.png"):
        assert str(error_of(ImageFiles([given], root))) == OUTSIDE


def test_a_member_that_unpacks_to_too_much_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr("mmaudit.images._limits.MAX_FILE_BYTES", 1024**2)
    data = b"\x89PNG\r\n\x1a\n" + bytes(2 * 1024**2)
    files = ImageFiles(["a.png"], zip_of(tmp_path / "a.zip", {"a.png": data}, compression=zipfile.ZIP_DEFLATED))
    assert (tmp_path / "a.zip").stat().st_size < 10_000
    monkeypatch.setattr(zipfile.ZipFile, "open", pytest.fail)
    error = error_of(files)
    assert error.reason == "too large"
    assert "got a file of more than 1 MB" in str(error)


def test_a_member_that_lies_about_its_size_is_unpacked_no_further(tmp_path, monkeypatch):
    path = zip_of(tmp_path / "a.zip", {"a.png": bytes(50 * 1024**2)}, compression=zipfile.ZIP_DEFLATED)
    whole = bytearray(path.read_bytes())
    whole[22:26] = struct.pack("<I", 1000)  # the size in the local header and in the directory
    at = whole.rfind(b"PK\1\2") + 24
    whole[at : at + 4] = struct.pack("<I", 1000)
    path.write_bytes(whole)
    asked = []
    unpack = zipfile.ZipExtFile._read1
    monkeypatch.setattr(zipfile.ZipExtFile, "_read1", lambda self, n: asked.append(n) or unpack(self, n))
    assert error_of(ImageFiles(["a.png"], path)).reason == "truncated or damaged"  # the sum is that of all of it
    assert asked == [1000]  # without a bound the first question is for 2 GB


def test_an_encrypted_member_is_refused(tmp_path):
    path = make_zip(tmp_path)
    whole = bytearray(path.read_bytes())
    at = whole.find(b"PK\1\2")
    whole[at + 8] |= 1  # the flag in the directory
    path.write_bytes(whole)
    error = error_of(ImageFiles(["p1/a.png"], path))
    assert error.reason == "encrypted"
    assert str(error) == (
        "image: expected a zip member without a password, got an encrypted one. "
        "Unpack the archive, and give the folder as image_root."
    )


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compressions_are_refused(tmp_path, method):
    error = error_of(ImageFiles(["a.png"], zip_of(tmp_path / "a.zip", {"a.png": picture(1)}, compression=method)))
    assert error.reason == "no decoder"
    assert "got one that is compressed in another way. Unpack the archive" in str(error)


def test_a_damaged_member(tmp_path):
    path = zip_of(tmp_path / "a.zip", {"a.png": np.random.default_rng(0).bytes(5000)})
    whole = bytearray(path.read_bytes())
    whole[1000] ^= 255
    path.write_bytes(whole)
    error = error_of(ImageFiles(["a.png"], path))
    assert error.reason == "truncated or damaged"
    assert "(BadZipFile)" in str(error)


def test_random_damage_to_a_zip_file_never_escapes_as_another_error(tmp_path):
    whole = zip_of(
        tmp_path / "a.zip", {"a.png": picture(1), "b.png": picture(2)}, compression=zipfile.ZIP_DEFLATED
    ).read_bytes()
    rng = np.random.default_rng(0)
    outcomes = set()
    for i in range(150):
        damaged = bytearray(whole)
        for position in rng.integers(0, len(damaged), size=3):
            damaged[position] = rng.integers(0, 256)
        path = tmp_path / f"{i}.zip"
        path.write_bytes(damaged)
        try:
            files = ImageFiles(["a.png"], path)
        except InputError as error:
            outcomes.add(error.argument)
            continue
        try:
            files.read(0)
            outcomes.add("read")
        except ImageReadError as error:
            outcomes.add(error.reason)
        assert [f is None or len(f) == 40 for f in files.fingerprints(known=Known())] == [True]
    assert {"read", "missing", "truncated or damaged"} <= outcomes


def test_a_zip_file_that_is_gone(tmp_path):
    files = ImageFiles(["b.png"], make_zip(tmp_path))
    (tmp_path / "films.zip").unlink()
    assert error_of(files).reason == "missing"
    assert files.fingerprints(known=Known()) == [None]


def test_a_root_that_is_a_file_but_no_zip(tmp_path):
    (tmp_path / "a.tar").write_bytes(b"no zip")
    expected = r"^image_root: expected a folder or a zip file, got a file that is no zip\. Check the path\.$"
    with pytest.raises(InputError, match=expected):
        ImageFiles(["a.png"], tmp_path / "a.tar")


# URLs


def test_urls_in_the_column_without_a_root(tmp_path, memory):
    (tmp_path / "c.png").write_bytes(picture(30))
    local = tmp_path / "c.png"
    files = ImageFiles(["memory://films/b.png", str(local), local.as_uri(), None])
    assert [round(float(files.read(i).pixels.mean() * 255)) for i in range(3)] == [20, 30, 30]
    assert error_of(files, 3).reason == "missing"
    assert error_of(ImageFiles(["memory://films/none.png"])).reason == "missing"


@pytest.mark.parametrize(
    "given",
    [
        "memory://secret.png",
        "memory://films/../secret.png",
        "memory://films2/a.png",
        "file:///etc/passwd",
        "https://example.org/a.png",
        "zip://a.png::memory://films/a.zip",
        "%2e%2e/secret.png",
        "p1/%2E%2E/../%2e%2e/secret.png",
        "%2Fsecret.png",
        "..%2fsecret.png",
        "..%5csecret.png",
    ],
)
def test_no_url_leaves_a_root(memory, given):
    assert str(error_of(ImageFiles([given], "memory://films"))) == OUTSIDE


def test_whole_urls_below_the_root(memory):
    for root in ("memory://films", "memory://films/"):
        files = ImageFiles(["memory://films/b.png", "memory://films/p1/a.png"], root)
        assert [round(float(files.read(i).pixels.mean() * 255)) for i in range(2)] == [20, 10]


@pytest.mark.parametrize("given", ["file:///etc/passwd", "memory://films/b.png", "https://example.org/a.png"])
def test_urls_below_a_folder_or_zip_are_not_followed(tmp_path, memory, given):
    for make in (make_folder, make_zip):
        error = error_of(ImageFiles([given], make(tmp_path)))
        assert error.reason == "missing"


def test_a_file_url_as_root_resolves_links(tmp_path):
    root = make_folder(tmp_path)
    (tmp_path / "secret.png").write_bytes(SECRET)
    (root / "link.png").symlink_to(tmp_path / "secret.png")
    assert str(error_of(ImageFiles(["link.png"], root.as_uri()))) == OUTSIDE


def test_local_files_do_not_need_fsspec(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "fsspec", None)
    for make in (make_folder, make_zip, make_file_url):
        place = tmp_path / make.__name__
        place.mkdir()
        assert ImageFiles(["b.png"], make(place)).read(0).pixels.shape == (6, 8)
    assert ImageFiles([(tmp_path / "make_folder" / "films" / "b.png").as_uri()]).read(0).pixels.shape == (6, 8)


@pytest.mark.parametrize(
    "make", [lambda: ImageFiles(["a.png"], "s3://bucket/films"), lambda: ImageFiles(["https://example.org/a.png"])]
)
def test_without_fsspec_the_extra_is_named(monkeypatch, make):
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(MissingExtraError) as caught:
        make()
    assert str(caught.value) == (
        'reading images from URLs needs the package fsspec. Install it with: pip install "mmaudit[remote]"'
    )


def test_an_unknown_kind_of_url():
    expected = (
        r"^image_root: expected a kind of URL that fsspec knows, got s4://\. See fsspec\.available_protocols\(\)\.$"
    )
    with pytest.raises(InputError, match=expected):
        ImageFiles(["a.png"], "s4://bucket/films")
    with pytest.raises(InputError, match=r"^image: expected a kind of URL that fsspec knows, got another kind\."):
        ImageFiles(["Mrs.Jane.Doe://a.png"])


def test_a_kind_of_url_whose_package_is_missing(monkeypatch):
    def missing(protocol):
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec, "get_filesystem_class", missing)
    expected = (
        r"^image_root: expected the package that opens s3:// to be installed, got none \(Install s3fs to access S3\)\. "
        r"Install it\.$"
    )
    with pytest.raises(InputError, match=expected):
        ImageFiles(["a.png"], "s3://bucket/films")


def test_a_drive_of_windows_is_no_url():
    assert error_of(ImageFiles(["C://films/a.png"])).reason == "missing"


def test_nothing_is_opened_before_the_first_image_is_read(monkeypatch):
    monkeypatch.setattr(fsspec.core, "url_to_fs", pytest.fail)
    files = pickle.loads(pickle.dumps(ImageFiles(["a.png", "b.png"], "memory://films"))).take([0])
    assert len(files.with_window("full")) == 1
    ImageFiles(["memory://films/a.png"])


class Broken(MemoryFileSystem):
    protocol = "broken"
    cachable = False

    def open(self, path, *given, **more):
        raise RuntimeError("no right to read films of SECRET-4711")


class Tagged(MemoryFileSystem):
    """What a server may tell of a file: `more` is added to its name and size."""

    protocol = "tagged"
    cachable = False
    more = {}  # noqa: RUF012
    n_opened = 0

    @classmethod
    def _strip_protocol(cls, path):
        return MemoryFileSystem._strip_protocol(path.replace("tagged://", "memory://"))

    def info(self, path, **kwargs):
        told = {name: value for name, value in super().info(path, **kwargs).items() if name != "created"}
        return told | self.more

    def open(self, path, mode="rb", **kwargs):
        type(self).n_opened += 1
        return super().open(path, mode, **kwargs)


@pytest.fixture
def tagged(memory, monkeypatch):
    fsspec.register_implementation("tagged", Tagged, clobber=True)
    monkeypatch.setattr(Tagged, "n_opened", 0)
    return Tagged


def test_the_error_of_a_file_system_is_told_by_its_name_alone(memory):
    fsspec.register_implementation("broken", Broken, clobber=True)
    error = error_of(ImageFiles(["b.png"], "broken://films"))
    assert error.reason == "not reachable"
    assert str(error) == (
        "image: expected a URL that can be read, got one that cannot (RuntimeError). "
        "Check the URL, the network and your right to read it."
    )
    assert error.__suppress_context__


@pytest.mark.parametrize("tells_size", [False, True])
def test_a_large_file_behind_a_url_is_not_read_to_its_end(tagged, monkeypatch, tells_size):
    class Large(io.RawIOBase):
        def read(self, n=-1):
            asked.append(n)
            return bytes(n)

    asked, large = [], Large()
    if tells_size:
        large.size = 5000
    monkeypatch.setattr("mmaudit.images._places.MAX_FILE_BYTES", 1000)
    monkeypatch.setattr("mmaudit.images._limits.MAX_FILE_BYTES", 1000)
    monkeypatch.setattr(tagged, "open", lambda *given, **more: large)
    assert error_of(ImageFiles(["large.png"], "tagged://films")).reason == "too large"
    assert asked == ([] if tells_size else [1001])
    assert large.closed


def test_path_is_for_folders(tmp_path, memory):
    root = make_folder(tmp_path)
    assert ImageFiles(["b.png"], root).path(0) == (root / "b.png").resolve()
    for other in (make_zip(tmp_path), "memory://films"):
        with pytest.raises(InputError, match=r"^image_root: expected a folder, got a zip file or a URL\. Use read"):
            ImageFiles(["b.png"], other).path(0)


# Fingerprints


class Known:
    """A store in memory that counts what it is asked."""

    def __init__(self):
        self.kept, self.asked, self.put = {}, [], []

    def get_many(self, keys):
        self.asked.append(list(keys))
        return {key: self.kept[key] for key in keys if key in self.kept}

    def put_many(self, found):
        self.put.append(dict(found))
        self.kept.update(found)


def age(path, seconds=60):
    then = time.time() - seconds
    os.utime(path, (then, then))


def blake(data):
    return hashlib.blake2b(data, digest_size=20).hexdigest()


@ROOTS
def test_fingerprints_are_hashes_of_the_bytes(tmp_path, memory, make):
    files = ImageFiles(["p1/a.png", None, "b.png", "none.png", "../x.png", "b.png"], make(tmp_path))
    expected = [blake(picture(10)), None, blake(picture(20)), None, None, blake(picture(20))]
    assert files.fingerprints() == expected
    assert files.fingerprints(n_jobs=1) == expected
    assert image_fingerprints(files) == expected
    assert files.take([2, 0]).fingerprints() == [expected[2], expected[0]]


def test_equal_files_are_equal_wherever_they_lie(tmp_path, memory):
    inside = [ImageFiles(["b.png"], make(tmp_path)).fingerprints() for make in (make_folder, make_zip, make_memory)]
    assert inside == [[blake(picture(20))]] * 3


def test_progress_is_shown_on_standard_error(tmp_path, capsys):
    ImageFiles(["b.png"], make_zip(tmp_path)).fingerprints(progress=True)
    assert "hashing images" in capsys.readouterr().err


@pytest.mark.parametrize("make", [make_folder, make_zip])
def test_known_fingerprints_are_not_worked_out_again(tmp_path, monkeypatch, make):
    root = make(tmp_path)
    for path in (root, *root.glob("**/*.png")):
        age(path)
    files, known = ImageFiles(["p1/a.png", "b.png", "b.png", None], root), Known()
    first = files.fingerprints(known=known)
    assert sorted(known.kept.values()) == sorted({f for f in first if f})
    assert [len(keys) for keys in known.asked] == [2]  # all in one question
    monkeypatch.setattr(type(files._place), "open", pytest.fail)
    assert files.fingerprints(known=known) == first
    assert files.take([1]).fingerprints(known=known) == first[1:2]
    assert len(known.put) == 1


def test_keys_say_path_size_time_and_inode(tmp_path):
    root = make_folder(tmp_path)
    age(root / "b.png")
    known = Known()
    ImageFiles(["b.png"], root).fingerprints(known=known)
    state = (root / "b.png").stat()
    path = (root / "b.png").resolve()
    assert known.asked == [[f"{path}|{state.st_size}|{state.st_mtime_ns}|{state.st_ino}"]]


def test_keys_of_a_zip_say_archive_and_member(tmp_path):
    path = make_zip(tmp_path)
    age(path)
    known = Known()
    ImageFiles(["b.png"], path).fingerprints(known=known)
    state, member = path.stat(), zipfile.ZipFile(path).getinfo("b.png")
    archive = f"{path.resolve()}|{state.st_size}|{state.st_mtime_ns}"
    assert known.asked == [[f"{archive}|b.png|{member.CRC:08x}|{member.file_size}"]]


def test_a_changed_file_is_read_again(tmp_path):
    root = make_folder(tmp_path)
    age(root / "b.png", 60)
    files, known = ImageFiles(["b.png"], root), Known()
    before = files.fingerprints(known=known)
    (root / "b.png").write_bytes(picture(21))
    age(root / "b.png", 30)
    after = files.fingerprints(known=known)
    assert (before, after) == ([blake(picture(20))], [blake(picture(21))])


@pytest.mark.parametrize("make", [make_folder, make_zip])
@pytest.mark.parametrize("seconds", [0, 1, -3600])
def test_a_file_that_may_still_change_is_not_remembered(tmp_path, make, seconds):
    root = make(tmp_path)
    age(root / "b.png" if root.is_dir() else root, seconds)
    known = Known()
    assert ImageFiles(["b.png"], root).fingerprints(known=known) == [blake(picture(20))]
    assert known.kept == {}


def test_a_file_that_changes_while_it_is_read_is_not_remembered(tmp_path, monkeypatch):
    root = make_folder(tmp_path)
    age(root / "b.png", 60)
    files, known = ImageFiles(["b.png"], root), Known()
    opened = type(files._place).open

    def open_then_change(self, given):
        file = opened(self, given)
        age(root / "b.png", 30)
        return file

    monkeypatch.setattr(type(files._place), "open", open_then_change)
    assert files.fingerprints(known=known) == [blake(picture(20))]
    assert known.kept == {}


@pytest.mark.parametrize(
    ("more", "is_kept"),
    [
        ({"ETag": '"a1"'}, True),
        ({"md5Hash": "x"}, True),
        ({"mtime": 1_000_000_000.0}, True),
        ({"LastModified": datetime(2020, 1, 1, tzinfo=timezone.utc)}, True),
        ({"LastModified": "Wed, 01 Jan 2020"}, False),  # no time that its age can be told of
        ({"mtime": 32_503_680_000.0}, False),  # the year 3000
        ({}, False),
    ],
)
def test_urls_are_remembered_where_the_server_tells_their_state(tagged, monkeypatch, more, is_kept):
    monkeypatch.setattr(tagged, "more", more)
    files, known = ImageFiles(["b.png", "p1/a.png"], "tagged://films"), Known()
    expected = [blake(picture(20)), blake(picture(10))]
    assert files.fingerprints(known=known) == expected
    assert len(known.kept) == (2 if is_kept else 0)
    assert files.fingerprints(known=known) == expected
    assert tagged.n_opened == (2 if is_kept else 4)


def test_another_tag_is_another_file(tagged, monkeypatch, memory):
    monkeypatch.setattr(tagged, "more", {"ETag": "1"})
    files, known = ImageFiles(["b.png"], "tagged://films"), Known()
    files.fingerprints(known=known)
    memory.pipe_file("/films/b.png", picture(21))
    monkeypatch.setattr(tagged, "more", {"ETag": "2"})
    assert files.fingerprints(known=known) == [blake(picture(21))]


def test_a_window_is_part_of_what_is_told_apart(tmp_path):
    root = make_folder(tmp_path)
    age(root / "b.png")
    files, known = ImageFiles(["b.png", None], root), Known()
    plain = files.fingerprints(known=known)
    assert files.with_window("full").fingerprints(known=known) == [f"{plain[0]}-full", None]
    assert files.with_window("percentiles").fingerprints() == plain
    assert len(known.put) == 1  # the file itself is known


def test_fingerprints_of_arrays_differ_by_type_shape_and_values():
    zeros = np.zeros((2, 8), dtype=np.uint8)
    one = zeros.copy()
    one[1, 2] = 1
    pictures = [zeros, zeros.reshape(4, 4), np.zeros((2, 2), dtype=np.float32), one, zeros.copy(), one.copy(order="F")]
    found = ArrayImages(pictures).fingerprints()
    assert len(set(found)) == 4
    assert found[0] == found[4]
    assert found[3] == found[5]  # how an array lies in memory is no part of it
    assert image_fingerprints(ArrayImages(pictures)) == found


def test_fingerprints_of_phantoms_are_those_of_what_is_drawn(tmp_path):
    data = mma.datasets.load_phantom(n_patients=20, random_state=0)
    films = data.images.films[:6]
    small = PhantomImages(films, 32)
    found = small.fingerprints()
    assert len(set(found)) == len({small.draw(i).tobytes() for i in range(6)}) == 6
    assert found == PhantomImages(films, 32, cache=tmp_path).fingerprints()
    assert list(tmp_path.iterdir()) == []  # nothing was drawn
    assert small.take([3, 1]).fingerprints() == [found[3], found[1]]
    others = [*PhantomImages(films, 33).fingerprints(), *PhantomImages(films, 32, bit_depth=16).fingerprints()]
    assert not set(found) & set(others)


def test_fingerprints_of_phantoms_change_with_the_code_that_draws(monkeypatch):
    films = mma.datasets.load_phantom(n_patients=20, random_state=0).images.films[:1]
    before = PhantomImages(films, 32).fingerprints()
    monkeypatch.setattr("mmaudit.datasets.phantom._images._code_digest", lambda: "edited")
    assert PhantomImages(films, 32).fingerprints() != before


class Plain:
    """A source with nothing but what it must have."""

    def __init__(self, pictures):
        self.pictures = pictures

    def __len__(self):
        return len(self.pictures)

    def take(self, indices):
        return Plain([self.pictures[i] for i in indices])

    def read(self, index, *, max_side_px=None):
        if self.pictures[index] is None:
            raise ImageReadError("image", "a", "b", "c")
        pixels = self.pictures[index]
        return GrayImage(pixels, pixels.shape[1], pixels.shape[0], 8)


def test_any_source_is_told_apart_by_its_pixels():
    flat, tall = np.zeros((2, 3), dtype=np.float32), np.zeros((3, 2), dtype=np.float32)
    changed = flat.copy()
    changed[0, 0] = 1e-3
    found = image_fingerprints(Plain([flat, tall, changed, None, flat.copy()]))
    assert found[0] == found[4]
    assert found[3] is None
    assert len({found[0], found[1], found[2]}) == 3
    assert found[0] == hashlib.blake2b(b"(2, 3)" + bytes(24), digest_size=20).hexdigest()


def test_read_image_takes_no_url():
    with pytest.raises(ImageReadError, match="a path at which there is none"):
        read_image("memory://films/b.png")
