"""Evaluating a detector: metrics, intervals, comparison, detections in files."""
