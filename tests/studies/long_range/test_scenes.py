"""A scene comes back from disk as it was, with nothing pickled."""

from dataclasses import fields
from pathlib import Path

import numpy as np

from sightline.studies.long_range.scenes import Scene, load_scenes, save_scenes


def scene(seed: int) -> Scene:
    rng = np.random.default_rng(seed)
    looks = rng.random((2, 6, 2, 3)).astype(np.float16)
    looks[0] = np.nan
    return Scene(
        image=rng.integers(0, 256, (8, 12, 3), dtype=np.uint8),
        truth=rng.integers(-1, 10, (8, 12)),
        networks=["deep convolutions", "criss-cross R=2"],
        prediction=rng.integers(0, 10, (2, 8, 12)),
        looks=looks,
        reach=rng.random((2, 6, 1, 2)) < 0.5,
        effect=rng.random((2, 6, 1, 2)).astype(np.float16),
    )


def test_scenes_come_back_as_they_were(tmp_path: Path) -> None:
    before = [scene(0), scene(1)]
    after = load_scenes(save_scenes(tmp_path / "new" / "scenes.npz", before))
    assert len(after) == 2
    for old, new in zip(before, after, strict=True):
        assert old.networks == new.networks
        assert new.map_size == (2, 3)
        for field in fields(Scene):
            np.testing.assert_array_equal(getattr(old, field.name), getattr(new, field.name))
            assert np.asarray(getattr(old, field.name)).dtype == np.asarray(getattr(new, field.name)).dtype


def test_no_file_holds_no_scenes(tmp_path: Path) -> None:
    assert load_scenes(tmp_path / "scenes.npz") == []
