"""Our own environments, as batched pure functions and as Gymnasium's: importing this room registers them there."""

from sightline.envs.registered import register

register()
