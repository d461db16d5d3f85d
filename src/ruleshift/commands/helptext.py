"""Help texts that break where the terminal ends.

The docstring of a field goes over several lines, and tyro (1.0) joins those that begin with a letter and are not
indented alone: others would break in the help where they break in the code.
"""

from functools import cache
from typing import Any

import docstring_parser


@cache  # once
def join_lines() -> None:
    """Have tyro find each paragraph of the docstring of a field in one line."""
    read = docstring_parser.parse_from_object

    def parse_from_object(obj: Any, *arguments: Any, **options: Any) -> docstring_parser.Docstring:
        found = read(obj, *arguments, **options)
        for field in found.params:
            paragraphs = (field.description or "").split("\n\n")
            field.description = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs) or None
        return found

    docstring_parser.parse_from_object = parse_from_object
