"""The study of positions: which encoding of where works at sizes that were never trained on?"""
