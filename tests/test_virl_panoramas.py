"""The mapping from places to panoramas, and their pictures: what is read, and what is refused."""

import json
import pickle
import random
import struct
from contextlib import suppress
from pathlib import Path

import pytest

from ruleshift.errors import RuleshiftError
from ruleshift.tasks.virl import panoramas
from ruleshift.tasks.virl.panoramas import Panoramas, load_panoramas, read_pickle
from ruleshift.tasks.virl.views.panorama import read_panorama
from virl_fixtures import Hostile, jpeg, mapping


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_of_every_protocol_are_read(protocol: int) -> None:
    for ids in ({}, {(1.5, -2.0): "a"}, mapping(), {(float(i), i / 7): "same" for i in range(-80, 80)}):
        assert read_pickle(pickle.dumps(ids, protocol), "x") == ids
    assert read_pickle(pickle.dumps({(1, -70_000): "a"}, protocol), "x") == {(1.0, -70_000.0): "a"}


def test_json_and_csv_are_read_alike(tmp_path: Path) -> None:
    contents = {
        "a.pkl": pickle.dumps(mapping()),
        "b.json": json.dumps({f"({lat}, {lng})": id for (lat, lng), id in mapping().items()}).encode(),
        "c.json": json.dumps([[lat, lng, id] for (lat, lng), id in mapping().items()]).encode(),
        "d.csv": "".join(f"{lat},{lng},{id}\n" for (lat, lng), id in mapping().items()).encode(),
        "e.csv": b"\xef\xbb\xbflat,lng,id\r\n"
        + "".join(f"{lat}, {lng}, {id}\r\n" for (lat, lng), id in mapping().items()).encode(),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        assert load_panoramas(tmp_path / name).ids == mapping(), name


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_hostile_pickle_does_not_run(protocol: int, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    bomb = Hostile(f"touch {trace}")
    for content in (bomb, {(1.0, 2.0): bomb}, {bomb: "a"}, {(1.0, bomb): "a"}, {**mapping(), (3.0, 3.0): bomb}):
        with pytest.raises(RuleshiftError, match=r"holds the instruction (STACK_)?GLOBAL"):
            read_pickle(pickle.dumps(content, protocol), "gps_pano_mapping.pkl")
    assert not trace.exists()
    pickle.loads(pickle.dumps(bomb, protocol))  # the negative control: it does run when it is unpickled
    assert trace.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a pickle",
        pickle.dumps(7),
        pickle.dumps(["a"]),
        pickle.dumps({"a": "b"}),
        pickle.dumps({(1.0, 2.0): 3}),
        pickle.dumps({(1.0, 2.0): b"a"}),
        pickle.dumps({(1.0, 2.0, 3.0): "a"}),
        pickle.dumps({(1.0, (2.0, 3.0)): "a"}),
        pickle.dumps({(1.0, 2.0): {}}),
        b"(ios\nsystem\nV1\no.",
        b"Pid\n.",
        b"\x82\x01.",
        b"}}s.",
        b"t.",
        b"s.",
        b"}h\x05.",
        b"}}.",
        b"(.",
        b"\x8d" + struct.pack("<Q", 1 << 62) + b"x.",
        b"\x8b" + struct.pack("<i", 1 << 30) + b"x.",
    ],
)
def test_other_pickles_are_refused(content: bytes) -> None:
    with pytest.raises(RuleshiftError, match="x is not read as a pickle of panorama ids"):
        read_pickle(content, "x")


def test_pickles_that_would_fill_the_memory() -> None:
    assert read_pickle(b"\x80\x02}r\xff\xff\xff\x7f.", "x") == {}  # a memo of 2**31 places, if one reserves them
    laughs = b"".join(b"h%c\x94h%c\x86\x94" % (i, i) for i in range(40))
    with pytest.raises(RuleshiftError):
        read_pickle(b"\x80\x04G?\xf0" + 6 * b"\x00" + laughs + b".", "x")


def test_a_pickle_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "gps_pano_mapping.pkl"
    file.write_bytes(pickle.dumps(mapping()))
    monkeypatch.setattr(panoramas, "MOST_PANORAMAS", 4)
    with pytest.raises(RuleshiftError, match="more than 4 panoramas"):
        load_panoramas(file)
    monkeypatch.setattr(panoramas, "MOST_INSTRUCTIONS", 20)
    with pytest.raises(RuleshiftError, match="it is too long"):
        load_panoramas(file)
    monkeypatch.setattr(panoramas, "MOST_BYTES", 50)
    with pytest.raises(RuleshiftError, match="more than 50"):
        load_panoramas(file)


def test_damaged_pickles_never_make_the_reader_fail() -> None:
    rng = random.Random(0)
    whole = pickle.dumps(mapping())
    for end in range(len(whole)):
        with pytest.raises(RuleshiftError):
            read_pickle(whole[:end], "x")
    for _ in range(1500):
        damaged = bytearray(pickle.dumps(mapping(), rng.randrange(6)))
        for _ in range(rng.randrange(1, 4)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        with suppress(RuleshiftError):
            read_pickle(bytes(damaged), "x")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("m.pkl", pickle.dumps({(1.0, 2.0): "../../etc/passwd"}), "entry 1 has '../../etc/passwd' for a panorama id"),
        ("m.pkl", pickle.dumps({(91.0, 2.0): "a"}), "entry 1[0] must be from -90 to 90"),
        ("m.json", b'{"1": "a"}', "entry 1 must have 2 entries, not 1"),
        ("m.json", b'{"1,x": "a"}', "entry 1[1] must be a number, not null"),
        ("m.json", b"[[1, 2, 3]]", "entry 1 has 3 for a panorama id"),
        ("m.json", b'[[1, 2, ["a"]]]', "entry 1 has a list for a panorama id"),
        ("m.json", b"[[1, 2]]", "[0] must have 3 entries, not 2"),
        ("m.json", b'{"1,2":', "is not JSON"),
        ("m.csv", b"1,2\n", "line 1 must hold latitude, longitude, panorama id"),
        ("m.csv", b"1,2,a\nx,y,b\n", "entry 2[0] must be a number, not null"),
        ("m.csv", b"\xff,2,a\n", "is not CSV"),
        ("m.csv", b"1,2,\x1b[2J\n", r"has '\x1b[2J' for a panorama id"),
    ],
)
def test_a_broken_mapping_is_named(name: str, content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RuleshiftError) as error:
        load_panoramas(tmp_path / name)
    assert said in str(error.value)
    assert str(error.value).startswith(name)


def test_the_nearest_panorama_within_20_metres() -> None:
    places = Panoramas({(0.0, 0.0): "a", (0.0, 0.0003): "b", (60.0, 10.0): "c", (60.0, 10.0004): "d"})
    assert places.nearest((0.0, 0.0)) == "a"
    assert places.nearest((0.0001, 0.0)) == "a"
    assert places.nearest((0.00018, 0.0)) == "a"  # 19.9 m
    assert places.nearest((0.00019, 0.0)) is None  # 21.0 m
    assert places.nearest((0.0, -0.00017)) == "a"
    assert places.nearest((0.0, 0.00016)) == "b"
    assert places.nearest((60.0, 10.0003)) == "d"  # 5.6 m; 16.7 m from c
    assert places.nearest((60.0, 9.9997)) == "c"  # 16.7 m
    assert places.nearest((60.0, 9.9996)) is None  # 22.3 m
    assert places.nearest((60.0, 9.9996), within=25) == "c"


# ---------------------------------------------------------------- the pictures


def write_panorama(folder: Path, content: bytes) -> None:
    (folder / "pano.jpg").write_bytes(content)
    (folder / "pano.metadata.json").write_text('{"rotation": 12.5}')


@pytest.mark.parametrize(("columns", "rows"), [(64, 32), (512, 256), (448, 256), (512, 240)])
def test_pictures_twice_as_wide_as_high_are_read(columns: int, rows: int, tmp_path: Path) -> None:
    write_panorama(tmp_path, jpeg(columns, rows))
    picture, rotation = read_panorama(tmp_path, "pano")
    assert (picture.shape, rotation) == ((rows, columns, 3), 12.5)


@pytest.mark.parametrize(
    ("columns", "rows"), [(1, 1), (2, 1), (62, 31), (512, 512), (256, 512), (512, 220), (512, 310)]
)
def test_pictures_of_another_size_are_refused(columns: int, rows: int, tmp_path: Path) -> None:
    write_panorama(tmp_path, jpeg(columns, rows))
    with pytest.raises(RuleshiftError) as error:
        read_panorama(tmp_path, "pano")
    assert str(error.value) == (
        f"pano.jpg has {columns} x {rows} pixels, "
        "but a panorama is about twice as wide as high and at least 64 wide: download it again"
    )


def test_pictures_that_would_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_panorama(tmp_path, jpeg())
    monkeypatch.setattr("PIL.Image.MAX_IMAGE_PIXELS", 512 * 256 // 2 - 1)
    with pytest.raises(RuleshiftError, match=r"pano.jpg is not read as a JPEG picture .*decompression bomb"):
        read_panorama(tmp_path, "pano")
