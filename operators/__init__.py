"""Rx operators on batches of ticks; they know reactivex and each other, nothing of the pipeline."""
