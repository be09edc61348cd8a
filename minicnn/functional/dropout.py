"""Dropout.

Reference: Srivastava et al., Dropout: a simple way to prevent neural networks from overfitting (2014), section 4.
"""

from minicnn.functional.dispatch import operation


@operation
def dropout(x, p, rng):
    """Set each element to 0 with probability p and divide the others by 1 - p, so that the mean stays ("inverted").

    Args:
        x: any shape, floating; its dtype is kept.
        p: probability of zeroing, 0 <= p < 1.
        rng: numpy.random.Generator.

    Returns:
        y: as x; mask: as x, 0 or 1 / (1 - p). The backward pass is grad_y * mask.
    """
    mask = (rng.random(x.shape) >= p).astype(x.dtype) / (1 - p)
    return x * mask, mask
