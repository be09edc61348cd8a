"""Linear regression of what a layer shall give on what it reads, for a layer that a rectifier may follow.

A layer that was made smaller is fitted anew to what the original gave: y ~ W x + b over samples (x, y), each x (D,) what the smaller
layer reads, each y (O,) what the original's layer answered at the same place. Where max(0, .) follows, an answer below zero is as good as
any other below zero: what counts is

    L(p, y) = (y - p)^2 where y > 0, else max(p, 0)^2,

convex in p and never below (max(y, 0) - max(p, 0))^2. With the last prediction p' as a guide it is bounded by (t - p)^2, t = y where y > 0,
else min(p', 0), which touches it at p = p': so least squares on the targets t, again and again, never makes L larger.

References: Hoerl, Kennard, Ridge regression (1970), here with the penalty on the change from the weights that there are; Izenman,
Reduced-rank regression for the multivariate linear model (1975); Zhang, Zou, He, Sun, Accelerating very deep convolutional networks for
classification and detection (2016), section 3.2, for a rectifier that follows (there by an auxiliary variable; the bound is ours), and
3.3, for fitting on the smaller network's own inputs and the original's outputs; Hunter, Lange, A tutorial on MM algorithms (2004).
"""

import numpy as np

STRENGTHS = (1e-2, 0.1, 1.0, 10.0, np.inf)  # of the ridge, in mean variances of an input; inf: the weight stays
ROUNDS = 5                                  # of targets for a layer that a rectifier follows


class Samples:
    """Samples, what was read less its mean.

    Args:
        x: (S, D) float32, from which the mean is taken in place. y: (S, O) float32. rectified: whether max(0, .) follows.
    """

    def __init__(self, x, y, rectified):
        self.mean = x.mean(axis=0, dtype=np.float64)
        self.x, self.y, self.rectified = x, y, rectified
        x -= self.mean.astype(np.float32)

    def covariance(self):
        """Of the inputs, (D, D) float64."""
        return (self.x.T @ self.x / len(self.x)).astype(np.float64)

    def predict(self, weight, bias):
        """W x + b (S, O), float32."""
        return self.x @ weight.T.astype(np.float32) + (bias + weight @ self.mean).astype(np.float32)

    def targets(self, weight, bias):
        """t (S, O), see the module's text, guided by a weight (O, D) and a bias (O,); y where no rectifier follows."""
        return np.where(self.y > 0, self.y, np.minimum(self.predict(weight, bias), 0)) if self.rectified else self.y

    def seen(self, y):
        """What the layers behind see of answers."""
        return np.maximum(y, 0) if self.rectified else y

    def error(self, weight, bias):
        """The squared differences of what is seen of W x + b and of y, over the variance of the latter."""
        seen = self.seen(self.y)
        lacking = self.seen(self.predict(weight, bias)) - seen
        return float((lacking ** 2).sum(dtype=np.float64) / (seen.var(axis=0, dtype=np.float64).sum() * len(seen) or 1.0))


def pulled(covariance, strength):
    """A covariance (D, D) with ``strength`` mean variances added to each; with 1 if there are none, for nothing is learnt from them."""
    covariance = covariance.copy()
    np.fill_diagonal(covariance, covariance.diagonal() + (strength * covariance.trace() / len(covariance) or 1.0))
    return covariance


def fit(samples, covariance, strength, weight, guide):
    """Ridge regression round a weight, one round.

    Args:
        samples: ``Samples``. covariance: theirs. strength: see ``pulled``; infinite: the weight stays.
        weight: (O, D), what it is pulled to. guide: (weight, bias) of the last round, for the targets.

    Returns:
        weight, bias: (O, D) and (O,) float64, of least mean |t - W x - b|^2 + strength * variance * |W - weight|^2.
    """
    targets = samples.targets(*guide)
    mean = targets.mean(axis=0, dtype=np.float64)
    if np.isfinite(strength):
        mixed = samples.x.T @ (targets - mean.astype(np.float32)) / len(targets)
        weight = weight + np.linalg.solve(pulled(covariance, strength), mixed - covariance @ weight.T).T
    return weight, mean - weight @ samples.mean


def fit_best(samples, held_back, weight, bias, cut=lambda weight, covariance: (weight,), strengths=STRENGTHS):
    """Rounds of ``fit``, with the strength that after the first one has the least error on held-back samples.

    Args:
        samples, held_back: ``Samples`` of different images. weight, bias: (O, D) and (O,), what there is.
        cut: (weight, covariance) -> factors of the same as the layer can have it, such as of lower rank, the first one rightmost.

    Returns:
        factors; bias; strength: the chosen one; before, after: errors on the held-back samples.
    """
    covariance = samples.covariance()

    def next_round(strength, guide):
        factors = cut(fit(samples, covariance, strength, weight, guide)[0], covariance)
        product = factors[0] if len(factors) == 1 else factors[1] @ factors[0]
        return factors, (product, samples.targets(*guide).mean(axis=0, dtype=np.float64) - product @ samples.mean)
    tried = []
    for strength in strengths:
        factors, new = next_round(strength, (weight, bias))
        tried.append((held_back.error(*new), strength, factors, new))
    _, strength, factors, new = min(tried, key=lambda one: one[0])
    for _ in range(ROUNDS - 1 if samples.rectified else 0):
        factors, new = next_round(strength, new)
    return factors, new[1], strength, held_back.error(weight, bias), held_back.error(*new)


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
