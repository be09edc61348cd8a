"""The networks by name, what they consist of, and what compression needs of them."""

from minicnn.models.builders import BUILDERS, build
from minicnn.models.channel_groups import ChannelGroup
from minicnn.models.classifier import Classifier
from minicnn.models.protocol import Compressible, CompressibleDetector

__all__ = ["BUILDERS", "ChannelGroup", "Classifier", "Compressible", "CompressibleDetector", "build"]
