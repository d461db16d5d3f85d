"""Settings of every test: no hub, no surprise threads."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import torch

torch.set_num_threads(min(2, os.cpu_count() or 1))
