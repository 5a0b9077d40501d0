"""The long-range study: which networks can answer a question whose answer stands anywhere in the image (`study.py`)?"""
