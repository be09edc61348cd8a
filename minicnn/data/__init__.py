"""Data sets by name, folder or file, and images in whatever form they are given."""

from minicnn.data.annotated import AnnotatedImage, AnnotatedImages, box_areas, label_table
from minicnn.data.digits import make_digits
from minicnn.data.images import as_image, as_input, find_images, read_image, write_image
from minicnn.data.load import is_annotated, load_annotated, load_data
from minicnn.data.scenes import write_scenes

__all__ = ["AnnotatedImage", "AnnotatedImages", "as_image", "as_input", "box_areas", "find_images", "is_annotated", "label_table",
           "load_annotated", "load_data", "make_digits", "read_image", "write_image", "write_scenes"]
