"""How results are shown: colours of classes, pictures, charts, and pages of one file."""
