import os

import torch

os.environ.setdefault("HF_HUB_OFFLINE", "1")
torch.set_num_threads(1)

# --doctest-modules would import every conftest.py under the one name "conftest" and refuse the second
collect_ignore_glob = ["*conftest.py"]
