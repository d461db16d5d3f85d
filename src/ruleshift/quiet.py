"""Keeps libraries from printing over our own output."""

import logging
import warnings


def quiet_libraries() -> None:
    """Turn off the progress bars and notices of transformers, datasets and TRL; errors still show."""
    import datasets
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    datasets.utils.logging.set_verbosity_error()
    datasets.disable_progress_bars()
    logging.getLogger("trl").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="transformers|trl|datasets|accelerate|torch")
