"""Supervised learning from images: examples, augmentation, losses, training, prediction and the pages about them.

Where to begin: `examples.py` (what data promises) and `folders.py` (your own), `settings.py` and `run_training.py` (the
command), `train.py` (the loop), `predict.py` and `why.py` (answers and reasons), `report.py` (how good, and where not).
"""
