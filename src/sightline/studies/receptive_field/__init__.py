"""The study of receptive fields: what does a stack of convolutions see, in theory and in effect?"""
