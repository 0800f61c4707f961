#!/usr/bin/env bash
# traker 0.3.2, on a processor: with proj_dim up to 100 a tracer that has finalised its features can't score; with 101 it can
#
# A quick trial of TRAK on a laptop has few rows, a small network, and a small proj_dim, so that it is done at once. Guess before it was run:
# a smaller projection says the same, with more noise. Seen: finalize_features frees the projection matrix; of up to 100 dimensions, which
# are one block, it is made again only when the number of the checkpoint changes, so that scoring with the checkpoint that was featurised
# last, the only one there is, ends in an AttributeError. Of more dimensions every block is drawn anew for each batch, and it works.
# So: proj_dim=101 or more on a processor, or a new TRAKer on the same save_dir for the scoring.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check traker==0.3.2 torch==2.13.0 torchvision==0.28.0 numpy==2.4.6
cd "$folder"
cat > look.py <<'PY'
import logging
import tempfile

import torch
from torch import nn
from trak import TRAKer

torch.manual_seed(0)
X = torch.randn(60, 5)
y = (X[:, 0] > 0).long()
net = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 2))
weights = net.state_dict()


def tracer(folder, dimensions):
    return TRAKer(model=net, task="image_classification", train_set_size=60, save_dir=folder, device="cpu", proj_dim=dimensions,
                  use_half_precision=False, logging_level=logging.ERROR)


def featurised(folder, dimensions):
    one = tracer(folder, dimensions)
    one.load_checkpoint(weights, model_id=0)
    one.featurize(batch=(X, y), num_samples=60)
    one.finalize_features()
    return one


def scored(one):
    one.start_scoring_checkpoint(exp_name="first", checkpoint=weights, model_id=0, num_targets=10)
    one.score(batch=(X[:10], y[:10]), num_samples=10)
    return one.finalize_scores(exp_name="first").shape


for dimensions in (16, 100, 101):
    with tempfile.TemporaryDirectory() as folder:
        one = featurised(folder, dimensions)
        try:
            print(dimensions, "scores", scored(one))
        except AttributeError as error:
            print(dimensions, "AttributeError:", error)
with tempfile.TemporaryDirectory() as folder:
    featurised(folder, 100)
    print("100, a new tracer scores", scored(tracer(folder, 100)))
PY
said=$("$folder/venv/bin/python" look.py 2>/dev/null)
expected="16 AttributeError: 'BasicProjector' object has no attribute 'proj_matrix'
100 AttributeError: 'BasicProjector' object has no attribute 'proj_matrix'
101 scores (60, 10)
100, a new tracer scores (60, 10)"
echo "$said"
if [ "$said" != "$expected" ]; then
  echo "traker behaves otherwise now" >&2
  exit 1
fi
