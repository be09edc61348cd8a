"""Linear regression from sums alone: the samples, activations of many pictures, are never kept.

A layer that was made smaller is fitted anew to what the original gave: y ~ W x + b over samples (x, y), each x (D,) what the smaller
layer reads, each y (O,) what the original's layer answered at the same place.

References: Hoerl, Kennard, Ridge regression (1970), here with the penalty on the change from the weights that there are; Izenman,
Reduced-rank regression for the multivariate linear model (1975); Zhang, Zou, He, Sun, Accelerating very deep convolutional networks for
classification and detection (2016), section 3.3, for fitting on the smaller network's own inputs and the original's outputs.
"""

import numpy as np

STRENGTHS = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, np.inf)     # of the ridge, in mean variances of an input; inf: no change


class Moments:
    """Sums over samples, in float64.

    Args:
        inputs, outputs: D and O.
    """

    def __init__(self, inputs, outputs):
        self.count = 0
        self.x, self.y = np.zeros(inputs), np.zeros(outputs)
        self.xx, self.xy, self.yy = np.zeros((inputs, inputs)), np.zeros((inputs, outputs)), np.zeros(outputs)

    def add(self, x, y):
        """Samples x (S, D) and y (S, O)."""
        x, y = x.astype(np.float64), y.astype(np.float64)
        self.count += len(x)
        self.x += x.sum(axis=0)
        self.y += y.sum(axis=0)
        self.xx += x.T @ x
        self.xy += x.T @ y
        self.yy += (y ** 2).sum(axis=0)

    def merge(self, other):
        """Add the sums of other samples."""
        self.count += other.count
        for name in ("x", "y", "xx", "xy", "yy"):
            getattr(self, name)[...] += getattr(other, name)

    def variance(self):
        """Of the outputs, summed over them."""
        return self.yy.sum() / self.count - ((self.y / self.count) ** 2).sum()

    def covariance(self):
        """Of the inputs, (D, D)."""
        mean = self.x / self.count
        return self.xx / self.count - np.outer(mean, mean)

    def error(self, weight, bias):
        """The mean over samples of |y - W x - b|^2, for weight (O, D) and bias (O,)."""
        square = np.einsum("od,od->", weight @ self.xx, weight)             # the sum of |W x|^2
        mixed = np.einsum("od,do->", weight, self.xy)
        straight = (bias * (self.count * bias - 2 * self.y + 2 * weight @ self.x)).sum()
        return max(self.yy.sum() + square - 2 * mixed + straight, 0) / self.count


def fit(moments, weight, strength):
    """Ridge regression round a weight.

    Args:
        moments: ``Moments``. weight: (O, D), what it is pulled to.
        strength: of the pull, in mean variances of an input; infinity leaves the weight and fits the bias alone.

    Returns:
        weight, bias: (O, D) and (O,) float64, of least mean |y - W x - b|^2 + strength * variance * |W - weight|^2.
    """
    weight = weight.astype(np.float64)
    mean_x, mean_y = moments.x / moments.count, moments.y / moments.count
    if np.isfinite(strength):
        covariance = moments.covariance()
        mixed = moments.xy / moments.count - np.outer(mean_x, mean_y)
        pull = strength * covariance.trace() / len(covariance) or 1.0       # of inputs that never vary nothing is learnt
        residual = mixed - covariance @ weight.T
        covariance[np.diag_indices_from(covariance)] += pull
        weight = weight + np.linalg.solve(covariance, residual).T
    return weight, mean_y - weight @ mean_x


def fit_best(moments, held_back, weight, strengths=STRENGTHS, cut=lambda weight, bias: (weight, bias)):
    """``fit`` with the strength of least error on held-back samples.

    Args:
        moments, held_back: ``Moments`` of different pictures. weight: see ``fit``.
        cut: (weight, bias) -> the same as the layer can have them, such as of lower rank.

    Returns:
        weight, bias: fitted to ``moments`` and cut; strength: the chosen one.
    """
    fits = [(*cut(*fit(moments, weight, strength)), strength) for strength in strengths]
    return min(fits, key=lambda one: held_back.error(*one[:2]))


def reduce_rank(weight, covariance, rank):
    """The factors of the matrix of a rank whose outputs are nearest a regression's.

    Args:
        weight: (O, D). covariance: (D, D) of the inputs. rank: at most O.

    Returns:
        out, inner: (O, rank) with orthonormal columns, and (rank, D); of all such pairs out @ inner has the least mean
        |W x - out inner x|^2.
    """
    values, vectors = np.linalg.eigh(weight @ covariance @ weight.T)
    out = vectors[:, ::-1][:, :rank]
    return out, out.T @ weight
