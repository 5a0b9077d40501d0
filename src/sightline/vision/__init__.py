"""Supervised learning from images: examples, augmentation, losses, training, prediction and the pages about them.

Each room imports from those above it: `drawing`; `data`; `built_in`; `augmentation`; `measures`; `training`;
`prediction`; `report`. Only the end of the command, which writes the report, looks down the list.

Where to begin: `data/examples.py` (what data promises) and `data/folders.py` (your own), `training/settings.py` and
`training/run_training.py` (the command), `training/train.py` (one update), `prediction/predict.py` and
`prediction/why.py` (answers and reasons), `report/page.py` (how good, and where not).
"""
