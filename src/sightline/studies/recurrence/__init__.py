"""The study of recurrence: what does each further pass of criss-cross attention see, gain and cost?"""
