"""V-IRL data for the tests: the form is that of the paper's data, the places are invented."""

import io
import json
import os
import pickle
from pathlib import Path
from typing import Any

from PIL import Image

from ruleshift.tasks.virl.route import Milestone, Route, Sight

# Three legs. Headings are chosen so that two of the three turns cross north.
ROUTE = Route(
    id="hand",
    city="Testville",
    start_name="Amber Bakery",
    start=(10.0, 20.0),
    initial_heading=350.0,
    milestones=(
        Milestone((10.0, 20.006), 80.0, 657.0, Sight("Copper Cafe", "right front")),
        Milestone((10.006, 20.006), 10.0, 664.0, None),
        Milestone((10.006, 20.0), 340.0, 657.0, Sight("Lilac Library", "left")),
    ),
)


def place(name: str, latitude: float, longitude: float, **more: object) -> dict[str, Any]:
    """A place with the keys that the map service gives."""
    return {
        "name": name,
        "geocode": [latitude, longitude],
        "rating": 4.5,
        "place_id": "x",
        "distance": 7.25,
        "n_reviews": 12,
        "heading": 33.1,
        "photo_reference": None,
        "place_types": ["cafe", "food"],
        "plus_code": {"compound_code": "x"},
        "vicinity": "1 Oak Street",
        **more,
    }


def block(number: int, seen: str, heading: str, distance: int = 16, human: int = 0) -> str:
    """One block of milestone_info, with the line breaks and the last comma of the paper's data."""
    pairs = [
        ("intersection_idx", str(number)),
        ("landmarks", seen),
        ("distance", f"{distance} meters"),
        ("human_heading", str(human)),
        ("to_next_intersection_heading", heading),
    ]
    return "\n{\n" + "".join(f'"{key}": "{value}",\n' for key, value in pairs) + "}\n"


def raw_route() -> dict[str, Any]:
    """A route of three legs as the data hold it; the second intersection has no landmark."""
    return {
        "dest_place": place("Lilac Library", 10.0061, 20.0, relocated_geocode=[10.006, 20.0], region="Test_Town"),
        "start_place": place("Amber Bakery", 10.0001, 20.0, relocated_geocode=[10.0, 20.0]),
        "route_results": {
            "geocode_list": [[10.0, 20.006], [10.006, 20.006], [10.006, 20.0]],
            "polyline": ["_c`|@_gayBA_@", "_c`|@_gayBA_@"],
            "instructions": ["Head <b>east</b>", "Turn <b>left</b>", "Turn <b>left</b>"],
            "distance_list": [657, 664, 657],
            "time_list": [400, 410, 400],
            "time": 1210,
            "distance": 1978,
            "n_landmarks": 1,
            "landmark_list": [place("Copper Cafe", 10.0001, 20.0061, spatial_relation="right behind"), None],
        },
        "init_heading": 0,
        "instruction": "Walk along Oak Street ...",
        "milestone_info": block(1, "Copper Cafe is on your right behind", "80 (east)", 657)
        + block(2, "No landmark nearby", "10 (north)", 664, human=80)
        + block(3, "The destination Lilac Library is on your left", "340 (north)", 657, human=10),
    }


def mapping() -> dict[tuple[float, float], str]:
    """Panoramas at the start and the milestones of `raw_route`, and at one point of its way."""
    return {
        (10.0, 20.0): "pano-start",
        (10.0, 20.006): "pano-cafe",
        (10.006, 20.006): "pano_corner",
        (10.006, 20.0): "pano_library",
        (10.0, 20.0024): "pano_way",
    }


def jpeg(columns: int = 512, rows: int = 256) -> bytes:
    """A JPEG file, grey all over; as it is, that of a panorama."""
    file = io.BytesIO()
    Image.new("RGB", (columns, rows), "grey").save(file, "JPEG")
    return file.getvalue()


def write_download(top: Path, routes: list[dict[str, Any]] | None = None) -> Path:
    """A complete download, small: the folder nyc_1k_routes in `top`."""
    folder = top / "nyc_1k_routes"
    pictures = folder / "street_views"
    pictures.mkdir(parents=True)
    (folder / "route_infos.json").write_text(json.dumps([routes or [raw_route()], 1]))
    (folder / "gps_pano_mapping.pkl").write_bytes(pickle.dumps(mapping()))
    for id in mapping().values():
        (pictures / f"{id}.jpg").write_bytes(jpeg())
        (pictures / f"{id}.metadata.json").write_text(json.dumps({"rotation": 271.5, "panoId": id}))
    return folder


class Hostile:
    """Unpickled, it would run a command."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (self.command,)
