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
import transformers
from packaging.version import Version
from transformers import ProcessorMixin

from ruleshift.errors import RuleshiftError
from ruleshift.files import reason_of
from ruleshift.pictures import pixels_of
from ruleshift.records import Picture

OLDEST = "5.23"  # before, processors do not say what stands for a picture, or models not what they make of it
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


@dataclass(frozen=True)
class Scale:
    """A quick way for processors that leave a picture's pixels where they are: `table` (3, 256) is what becomes of each
    value of each colour, to the last bit, and `like` what was made of one picture."""

    table: np.ndarray
    like: dict[str, torch.Tensor]

    def inputs(self, arrays: Sequence[np.ndarray]) -> dict[str, torch.Tensor]:
        """As the processor would make them of pictures of that size."""
        one = self.like["pixel_values"]
        pixels = np.empty((len(arrays), *one.shape[-3:]), np.float32)
        for picture, array in zip(pixels, arrays, strict=True):
            for channel in range(3):
                np.take(self.table[channel], array[:, :, channel], out=picture[channel], mode="clip")
        others = {name: value.expand(len(arrays), *value.shape[1:]) for name, value in self.like.items()}
        return {**others, "pixel_values": torch.from_numpy(pixels).view(len(arrays), *one.shape[1:])}


class Eye:
    """A processor's side of pictures. `token` is the placeholder, `token_id` its id.

    Raises RuleshiftError for a processor of another class than those in `PROCESSORS`.
    """

    def __init__(self, processor: ProcessorMixin, name: str = "the model") -> None:
        if Version(transformers.__version__) < Version(OLDEST):
            raise RuleshiftError(f"pictures need a newer transformers: pip install -U 'transformers>={OLDEST}'")
        kind = type(processor).__name__
        if kind not in PROCESSORS:
            raise RuleshiftError(f"{name} has a {kind}, which is not known here; known are {', '.join(PROCESSORS)}")
        self.processor, self.name, self._extra = processor, name, PROCESSORS[kind]
        self.token: str = processor.image_token  # type: ignore[attr-defined]
        self.token_id = int(processor.tokenizer.convert_tokens_to_ids(self.token))
        self.space_of_size = lru_cache(maxsize=1_000)(self._space)
        self._scale_of_size = lru_cache(maxsize=100)(self._scale)

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
        scale = self._scale_of_size(pictures[0].height, pictures[0].width)
        arrays = [pixels_of(picture) for picture in pictures]
        return self._tensors(arrays) if scale is None else scale.inputs(arrays)

    def _tensors(self, arrays: Sequence[np.ndarray]) -> dict[str, torch.Tensor]:
        inputs = self._process(arrays, "pt")
        return {name: value for name, value in inputs.items() if name not in ("rows", "cols", "num_tiles")}

    def _scale(self, height: int, width: int) -> "Scale | None":
        """What the processor does to pictures of this size if that is no more than to scale their values."""
        if height * width < 256:
            return None
        noise = np.random.default_rng(0).integers(0, 256, (2, height, width, 3), dtype=np.uint8)
        noise[0].reshape(-1, 3)[:256] = np.arange(256)[:, None]
        first, second = (self._tensors([array]) for array in noise)
        if first["pixel_values"].shape[-3:] != (3, height, width) or first["pixel_values"].numel() != noise[0].size:
            return None
        table = np.zeros((3, 256), np.float32)
        for channel, values in enumerate(first["pixel_values"].view(3, height, width).numpy()):
            table[channel, noise[0, :, :, channel]] = values
        scale = Scale(table, first)
        same = scale.inputs([noise[1]])
        return scale if all(torch.equal(same[name], value) for name, value in second.items()) else None

    def _process(self, arrays: Sequence[np.ndarray], kind: str) -> Any:
        from PIL import Image

        images = [[Image.fromarray(array)] for array in arrays]
        try:
            return self.processor.image_processor(images, return_tensors=kind, **self._extra)
        except ValueError as error:  # Qwen-VL's, for one side of 200 times the other
            height, width = arrays[0].shape[:2]
            raise RuleshiftError(
                f"the processor of {self.name} takes no pictures of {width} x {height} pixels "
                f"({reason_of(error)[:200]}): show it others, or choose another model"
            ) from error


def by_size(pictures: Sequence[Picture]) -> Iterator[list[int]]:
    """Places in `pictures` of those that have the same size, size after size: these are processed together."""
    groups: dict[tuple[int, int], list[int]] = defaultdict(list)
    for place, picture in enumerate(pictures):
        groups[picture.height, picture.width].append(place)
    yield from groups.values()
