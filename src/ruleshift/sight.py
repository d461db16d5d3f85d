"""Pictures on their way to a model: the placeholders that stand for them, and the tensors that a processor makes.

Every picture of a conversation has places of its own among the token ids. How many depends on its size only, so that
ids are known without looking at pixels, and features are put into them one for one.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from transformers import ProcessorMixin

from ruleshift.errors import RuleshiftError
from ruleshift.pictures import pixels_of
from ruleshift.records import Picture

_ROWS: dict[str, object] = {"return_row_col_info": True}
# By class of processor: what its image processor is asked for beyond tensors.
PROCESSORS: dict[str, dict[str, object]] = {
    "Idefics3Processor": _ROWS,
    "SmolVLMProcessor": _ROWS,
    "LlavaProcessor": {},
    "MllamaProcessor": {},
    "Qwen2_5_VLProcessor": {},
    "Qwen3VLProcessor": {},
}


@dataclass(frozen=True)
class Space:
    """What stands for a picture of some size: `text`, in which the placeholder is written `count` times.

    `grid` (rows, columns) is how these lie in the picture, for models with positions in three dimensions. The tower is
    given so many `values` for it.
    """

    text: str
    count: int
    grid: tuple[int, int] | None
    values: int


class Eye:
    """A processor's side of pictures. `token` is the placeholder, `token_id` its id.

    Raises RuleshiftError for a processor of another class than those in `PROCESSORS`.
    """

    def __init__(self, processor: ProcessorMixin, name: str = "the model") -> None:
        kind = type(processor).__name__
        if kind not in PROCESSORS:
            raise RuleshiftError(f"{name} has a {kind}, which is not known here; known are {', '.join(PROCESSORS)}")
        self.processor, self.name, self._extra = processor, name, PROCESSORS[kind]
        self.token: str = processor.image_token  # type: ignore[attr-defined]
        self.token_id = int(processor.tokenizer.convert_tokens_to_ids(self.token))
        self.space_of_size = lru_cache(maxsize=1_000)(self._space)

    def space(self, picture: Picture) -> Space:
        """What stands for this picture."""
        return self.space_of_size(picture.height, picture.width)

    def _space(self, height: int, width: int) -> Space:
        inputs = self._process([np.zeros((height, width, 3), np.uint8)], "np")
        text = self.processor.replace_image_token(inputs, 0)
        grid = None
        if "image_grid_thw" in inputs:
            merged = self.processor.image_processor.merge_size
            rows, columns = (int(side) // merged for side in inputs["image_grid_thw"][0][1:])
            grid = (rows, columns)
        return Space(text, text.count(self.token), grid, inputs["pixel_values"].size)

    def inputs(self, pictures: Sequence[Picture]) -> dict[str, torch.Tensor]:
        """The processor's tensors for pictures of one size, by name of the model's argument."""
        inputs = self._process([pixels_of(picture) for picture in pictures], "pt")
        return {name: value for name, value in inputs.items() if name not in ("rows", "cols", "num_tiles")}

    def _process(self, arrays: Sequence[np.ndarray], kind: str) -> Any:
        from PIL import Image

        images = [[Image.fromarray(array)] for array in arrays]
        return self.processor.image_processor(images, return_tensors=kind, **self._extra)


def by_size(pictures: Sequence[Picture]) -> Iterator[list[int]]:
    """Places in `pictures` of those that have the same size, size after size: these are processed together."""
    groups: dict[tuple[int, int], list[int]] = defaultdict(list)
    for place, picture in enumerate(pictures):
        groups[picture.height, picture.width].append(place)
    yield from groups.values()
