"""What published files of weights look like: one file per family, each a pure function from the file's names to ours.

A layout never sees the network. It takes the file's tensors (and, for Hugging Face, the settings that lie beside them)
and says under which name each goes here, what was done to it, what has no place, and with which settings a network
must have been built to compute what the file's own code computes. `models/weights.py` fits that to a network.

Left out: names of layouts nobody published weights in.
"""
