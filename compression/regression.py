"""Linear regression of a layer's original outputs on its inputs in the smaller network, optionally with a ReLU behind the layer.

The model is y ~ W x + b over samples (x, y): x (D,) is an input of the layer in the smaller network, y (O,) the original layer's output
at the same point. If a ReLU follows, all outputs below zero are equally good, and the loss is

    L(p, y) = (y - p)^2 where y > 0, else max(p, 0)^2,

convex in p and never below (max(y, 0) - max(p, 0))^2. Given the last prediction p' it is bounded by (t - p)^2 with t = y where y > 0,
else min(p', 0), which touches it at p = p'. So repeated least squares on the targets t never increases L.

References: Hoerl, Kennard, Ridge regression (1970), here with the penalty on the change from the present weights; Izenman,
Reduced-rank regression for the multivariate linear model (1975); Zhang, Zou, He, Sun, Accelerating very deep convolutional networks for
classification and detection (2016), section 3.2, for a ReLU behind the layer (there by an auxiliary variable; the bound is ours), and
3.3, for fitting on the smaller network's own inputs and the original's outputs; Hunter, Lange, A tutorial on MM algorithms (2004).
"""

import numpy as np

STRENGTHS = (1e-2, 0.1, 1.0, 10.0, np.inf)  # of the ridge, in mean variances of an input; inf: the weight stays
ROUNDS = 5                                  # of targets for a layer with a ReLU behind it


class Samples:
    """Samples of a layer's inputs, centred, and of the outputs it should have.

    Args:
        x: (S, D) float32, from which the mean is subtracted in place. y: (S, O) float32. relu: whether a ReLU follows the layer.
    """

    def __init__(self, x, y, relu):
        self.mean = x.mean(axis=0, dtype=np.float64)
        self.x, self.y, self.relu = x, y, relu
        x -= self.mean.astype(np.float32)

    def covariance(self):
        """Covariance of the inputs, (D, D) float64."""
        return (self.x.T @ self.x / len(self.x)).astype(np.float64)

    def predict(self, weight, bias):
        """W x + b (S, O), float32."""
        found = self.x @ weight.T.astype(np.float32)
        found += (bias + weight @ self.mean).astype(np.float32)
        return found

    def targets(self, weight, bias):
        """Targets t (S, O) of the next least squares, see the module's text, given the last weight (O, D) and bias (O,); y without a
        ReLU."""
        if not self.relu:
            return self.y
        targets = self.predict(weight, bias)
        np.minimum(targets, 0, out=targets)                 # in place: samples of all images are large
        np.copyto(targets, self.y, where=self.y > 0)
        return targets

    def activated(self, y):
        """Outputs behind the ReLU, if there is one."""
        return np.maximum(y, 0) if self.relu else y

    def error(self, weight, bias):
        """Squared differences of W x + b and y, behind the ReLU if there is one, over the variance of y there."""
        expected = self.activated(self.y)
        difference = self.activated(self.predict(weight, bias)) - expected
        return float((difference ** 2).sum(dtype=np.float64) / (expected.var(axis=0, dtype=np.float64).sum() * len(expected) or 1.0))


def with_ridge(covariance, strength):
    """A covariance (D, D) with ``strength`` mean variances added to its diagonal; with 1 if all variances are 0."""
    covariance = covariance.copy()
    np.fill_diagonal(covariance, covariance.diagonal() + (strength * covariance.trace() / len(covariance) or 1.0))
    return covariance


def fit(samples, covariance, strength, weight, guide):
    """One round of ridge regression around a weight.

    Args:
        samples: ``Samples``. covariance: theirs. strength: see ``with_ridge``; infinite: the weight stays.
        weight: (O, D), which the solution is pulled to. guide: (weight, bias) of the last round, for the targets.

    Returns:
        weight, bias: (O, D) and (O,) float64, which minimise the mean of |t - W x - b|^2 + strength * variance * |W - weight|^2.
    """
    targets = samples.targets(*guide)
    mean = targets.mean(axis=0, dtype=np.float64)
    if np.isfinite(strength):
        centred = np.subtract(targets, mean.astype(np.float32), out=targets if samples.relu else None)    # with a ReLU they are a new array
        mixed = samples.x.T @ centred / len(targets)
        weight = weight + np.linalg.solve(with_ridge(covariance, strength), mixed - covariance @ weight.T).T
    return weight, mean - weight @ samples.mean


def fit_best(samples, held_back, weight, bias, factorise=lambda weight, covariance: (weight,), strengths=STRENGTHS):
    """Rounds of ``fit`` with the strength that has the lowest error on held-back samples after the first round.

    Args:
        samples, held_back: ``Samples`` of different images. weight, bias: (O, D) and (O,), the present ones.
        factorise: (weight, covariance) -> factors of an approximation that the layers can hold, such as of lower rank, the rightmost first.

    Returns:
        factors; bias; strength: the chosen one; before, after: errors on the held-back samples.
    """
    covariance = samples.covariance()

    def next_round(strength, guide):
        factors = factorise(fit(samples, covariance, strength, weight, guide)[0], covariance)
        product = factors[0] if len(factors) == 1 else factors[1] @ factors[0]
        return factors, (product, samples.targets(*guide).mean(axis=0, dtype=np.float64) - product @ samples.mean)
    tried = []
    for strength in strengths:
        factors, new = next_round(strength, (weight, bias))
        tried.append((held_back.error(*new), strength, factors, new))
    _, strength, factors, new = min(tried, key=lambda trial: trial[0])
    for _ in range(ROUNDS - 1 if samples.relu else 0):
        factors, new = next_round(strength, new)
    return factors, new[1], strength, held_back.error(weight, bias), held_back.error(*new)


def reduce_rank(weight, covariance, rank):
    """The factors of the matrix of a rank whose outputs are nearest to those of a weight: reduced-rank regression.

    Args:
        weight: (O, D). covariance: (D, D) of the inputs. rank: at most O.

    Returns:
        out, inner: (O, rank) with orthonormal columns, and (rank, D); of all such pairs out @ inner has the lowest mean
        |W x - out inner x|^2.
    """
    values, vectors = np.linalg.eigh(weight @ covariance @ weight.T)
    out = vectors[:, ::-1][:, :rank]
    return out, out.T @ weight
