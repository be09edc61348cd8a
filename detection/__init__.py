"""Faster R-CNN: nothing here yet. Its files will stand in the order the data flows through them."""
