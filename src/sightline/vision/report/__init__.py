"""The page of a training run: how good is it, and where does it fail?"""
