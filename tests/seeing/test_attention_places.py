"""Where the tokens of an attention layer stand on the image."""

import math

import pytest
import torch
from torch import nn

from sightline.seeing.attention_calls import watch_attention
from sightline.seeing.attention_places import Ground, Place, nearest


def test_a_token_count_has_a_place_only_where_something_explains_it() -> None:
    ground = Ground((224, 224))
    assert ground.place(49) == Place(49, (7, 7))  # no map was made yet: pitch 32 divides the image
    ground.saw_map((14, 14))
    ground.saw_map((56, 96))  # channels last: not shaped like the image
    assert ground.place(196) == Place(196, (14, 14))
    for count in (49, 50, 197, 56 * 96):  # what a masked autoencoder leaves, a class token nobody has seen joined
        assert ground.place(count) == Place(count, None)
    ground.saw_join([torch.empty(1, n, 2) for n in (1, 196)], 1)
    ground.saw_join([torch.empty(1, n, 2) for n in (1, 4, 196)], 1)
    ground.saw_join([torch.empty(1, n, 2) for n in (3, 197, 7)], 1)
    assert ground.place(197) == Place(197, (14, 14), 1)
    assert ground.place(201) == Place(201, (14, 14), 5)
    assert ground.place(207) == Place(207, (14, 14), 4, 7)
    told = Ground((224, 224), prefix=2)
    told.saw_map((14, 14))
    assert told.place(198) == Place(198, (14, 14), 2)


def test_the_nearest_position_is_that_of_the_nearest_cell_centre() -> None:
    for image, grid in (((12, 16), (3, 4)), ((97, 65), (13, 9)), ((7, 5), (7, 5))):
        for y in range(image[0]):
            for x in range(image[1]):
                found = nearest((y, x), image, grid)
                for p, cells, pixels, axis in zip((y, x), grid, image, found, strict=True):
                    distance = [abs((i + 0.5) * pixels / cells - 0.5 - p) for i in range(cells)]
                    assert math.isclose(distance[axis], min(distance))


def test_bad_images_get_one_sentence(as_users_run_it: None) -> None:
    with pytest.raises(ValueError, match=r"images \[b, c, h, w\].*got torch.uint8 of shape \(1, 3, 8, 8\)"):
        watch_attention(nn.Identity(), torch.zeros(1, 3, 8, 8, dtype=torch.uint8), print)
    with pytest.raises(ValueError, match=r"got torch.float32 of shape \(3, 8, 8\): add the batch axis"):
        watch_attention(nn.Identity(), torch.zeros(3, 8, 8), print)
