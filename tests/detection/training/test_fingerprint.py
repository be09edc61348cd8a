"""Digests of data, by which a checkpoint or a cache of another training is recognised."""

from minicnn.data.annotated import AnnotatedImages
from minicnn.detection.training.fingerprint import data_crc


def test_other_data_has_another_crc(data):
    others = [AnnotatedImages(["a", *data.class_names[1:]], data.images), AnnotatedImages(data.class_names, data.images[:-1])]
    assert len({data_crc(one) for one in (data, *others)}) == 3 and data_crc(data) == data_crc(data)
