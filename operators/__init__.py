"""Rx operators on batches of ticks; they know reactivex and each other, nothing of the pipeline."""

import logging

# All loggers are below this one, pipeline's too; what becomes of their lines is for the program to say.
logging.getLogger("tickbraid").addHandler(logging.NullHandler())
