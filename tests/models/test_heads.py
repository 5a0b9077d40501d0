"""Heads give one answer per image or per pixel, whatever the encoder."""

import torch
import torch.nn.functional as F

from sightline.models.convnet import ConvNet
from sightline.models.heads import ClassHead, Classifier, MaskHead, Segmenter
from sightline.models.vit import Size, VisionTransformer


def test_a_class_head_takes_maps_and_summaries() -> None:
    head = ClassHead(6, 3)
    features = torch.randn(2, 6, 4, 5)
    torch.testing.assert_close(head(features), head(features.mean((2, 3))))
    torch.testing.assert_close(head(features), features.mean((2, 3)) @ head.linear.weight.T + head.linear.bias)


def test_a_mask_head_grows_to_the_image() -> None:
    features = torch.randn(2, 6, 4, 5)
    for align in (False, True):
        head = MaskHead(6, 3, align_corners=align)
        out = head(features, (9, 17))
        assert out.shape == (2, 3, 9, 17)
        small = F.conv2d(features, head.convolution.weight, head.convolution.bias)
        if align:  # corners on corners
            torch.testing.assert_close(
                out[:, :, [0, 0, -1, -1], [0, -1, 0, -1]], small[:, :, [0, 0, -1, -1], [0, -1, 0, -1]]
            )
        else:
            torch.testing.assert_close(head(features, (4, 5)), small)


def test_networks_of_encoder_and_head() -> None:
    image = torch.randn(2, 3, 24, 40)
    convolutions = ConvNet(width=8).eval()
    assert Segmenter(convolutions, 5)(image).shape == (2, 5, 24, 40)
    classifier = Classifier(convolutions, 5)
    torch.testing.assert_close(classifier(image), classifier.head(convolutions(image).mean((2, 3))))
    vit = VisionTransformer(Size(8, 2, 2), patch=8).eval()
    classifier = Classifier(vit, 5)
    torch.testing.assert_close(classifier(image), classifier.head(vit.summary(image)))  # the class token, not the mean
    assert Segmenter(vit, 5)(image).shape == (2, 5, 24, 40)
