"""Data sets by name, folder or file, and images in whatever form they are given."""

from minicnn.data.annotated import AnnotatedImage, AnnotatedImages, box_areas, label_table
from minicnn.data.check_images import check_image_files
from minicnn.data.digits import make_digits
from minicnn.data.image_files import find_images
from minicnn.data.images import as_image, as_input, read_image, write_image
from minicnn.data.load import default_split, is_annotated, load_annotated, load_data
from minicnn.data.scenes import write_scenes
from minicnn.data.skipped import Skipped
from minicnn.data.unlabelled import load_unlabelled

__all__ = ["AnnotatedImage", "AnnotatedImages", "Skipped", "as_image", "as_input", "box_areas", "check_image_files", "default_split",
           "find_images", "is_annotated", "label_table", "load_annotated", "load_data", "load_unlabelled", "make_digits", "read_image",
           "write_image", "write_scenes"]
