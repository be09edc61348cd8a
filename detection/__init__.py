"""Faster R-CNN, its files in the order the data flows: transform, backbone, fpn, anchors, rpn, roi_align, roi_heads, faster_rcnn;
and how good it is: evaluate, and what it names.

Reference: Ren, He, Girshick, Sun, Faster R-CNN: towards real-time object detection with region proposal networks (2015).
"""
