"""Keeps libraries from printing over our own output."""

import logging
import os
import warnings


def quiet_libraries() -> None:
    """Turn off the progress bars and notices of transformers, datasets and TRL; errors still show."""
    import datasets
    import torch
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    datasets.utils.logging.set_verbosity_error()
    datasets.disable_progress_bars()
    logging.getLogger("trl").setLevel(logging.ERROR)
    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")  # DeepSpeed, where it is installed, would tell of its search
    warnings.filterwarnings("ignore", module="transformers|trl|datasets|accelerate|torch")
