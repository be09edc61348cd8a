"""Fit the first of the layers that a decomposed layer became, given those behind it: conjugate gradients on the normal equations.

A convolution that became three computes at a point p of its output, with the taps t of the kernel,

    y(p) = sum_t M_t A x(p + t) + b,    M_t = B K_t,

where A (R, I) is the first factor, K_t (Q, R) a tap of the core and B (O, Q) the last factor; of a linear layer or 1 x 1 convolution that
became two, with one tap, K is the identity. Given the others, y is linear in A. With the covariances C_st = E[x(p + s) x(p + t)^T] of the
patches that the convolution reads, and D_t = E[z x(p + t)^T], all centred, where z is what y shall be, the mean of
|z - y|^2 + strength * variance * sum_t |M_t (A - A')|^2, which is pulled to the present A', is least where

    sum_st M_t^T M_s A C_st + strength * variance * sum_t M_t^T M_t (A - A') = sum_t M_t^T D_t.

These are R I equations, up to 150,000 for VGG16, so the operator on the left is applied and never written down: M_s A for all taps is a
matrix (Q, I T), which is multiplied by the covariance (I T, I T) and goes back. Conjugate gradients need few steps, since taps are alike:
C_st ~ rho_st C, where C is the mean of the C_tt and rho_st = tr C_st / tr C. With that in its place the operator is the product of
sum_st rho_st M_t^T M_s and C, whose inverse is known: the preconditioner. With one tap it is exact, and one step is enough.

If ReLUs follow, z are the targets of ``regression``, given the last fit. Patches are held in float16 and used ``CHUNK`` at a time: those of
512 channels around 38,400 points take 354 MB, their covariance, in float32, 85 MB.

References: Kalle et al., Distribution-aware tensor decomposition for compression of convolutional neural networks (2025), arXiv 2511.04494,
for alternating least squares on a Tucker-2 decomposition in the covariance of its inputs; they fit the original's weights, this fits its
outputs. Hestenes, Stiefel, Methods of conjugate gradients for solving linear systems (1952). The preconditioner and the ridge are ours.
"""

from typing import NamedTuple

import numpy as np

from minicnn.compression.regression import STRENGTHS, Samples, fit_best, reduce_rank, with_ridge

FIRST_ROUNDS = 2        # of targets for the first factor of a layer with a ReLU behind it
SINGULAR = 1e-9         # ridge of the preconditioner, in mean variances
TOLERANCE = 1e-2        # of conjugate gradients: the residual's norm over that of the right side, which is 0 if nothing is to change
STEPS = 40              # of conjugate gradients, at most
CHUNK = 2048            # samples that are in float32 at a time


class Chain(NamedTuple):
    """What a decomposed layer became: first (R, I), core (Q, R, T) or None, last (O, Q) and bias (O,), float64. Without a core there are
    two layers, and Q = R."""

    first: np.ndarray
    core: np.ndarray | None
    last: np.ndarray
    bias: np.ndarray

    @property
    def taps(self):
        """The core (Q, R, T); the identity if there is none."""
        return np.eye(len(self.first))[:, :, None] if self.core is None else self.core

    @property
    def weight(self):
        """The map (O, R T) of all layers but the first."""
        return self.last if self.core is None else self.last @ self.core.reshape(len(self.core), -1)

    def factorise(self, weight, covariance):
        """``weight`` in factors of the layers' shapes, see ``regression.fit_best``."""
        return (weight,) if self.core is None else reduce_rank(weight, covariance, len(self.core))[::-1]

    def behind(self, factors, bias):
        """The same with other layers behind the first."""
        core = None if self.core is None else factors[0].reshape(self.core.shape)
        return self._replace(core=core, last=factors[-1], bias=bias)


class Patches:
    """What the first layer reads around the points of samples.

    Args:
        x: (S, I T) float16, each channel's taps side by side, as ``repair.patches`` returns them. y: (S, O) float32, what the output
            shall be there. relu: whether a ReLU follows the layer.
    """

    def __init__(self, x, y, relu):
        self.x, self.y, self.relu = x, y, relu

    def chunks(self):
        """(slice, samples (s, I T) float32), ``CHUNK`` at a time."""
        for start in range(0, len(self.x), CHUNK):
            piece = slice(start, start + CHUNK)
            yield piece, self.x[piece].astype(np.float32)

    def mean(self):
        """Mean of the patches, (I T,) float64."""
        return sum(x.sum(axis=0, dtype=np.float64) for _, x in self.chunks()) / len(self.x)

    def covariance(self):
        """Covariance of the patches, (I T, I T) float32."""
        total, mean = np.zeros((self.x.shape[1],) * 2, np.float32), self.mean().astype(np.float32)
        for _, x in self.chunks():
            x -= mean
            total += x.T @ x
        total /= len(self.x)
        return total

    def mixed(self, z):
        """Covariance (K, I T) of some values (S, K) float32, whose mean is 0, and the patches."""
        return sum(z[piece].T @ x for piece, x in self.chunks()) / np.float32(len(z))

    def behind(self, first):
        """``Samples`` of what the second layer reads, (S, R T), given the first factor (R, I)."""
        (r, i), width = first.shape, self.x.shape[1]
        first, found = first.T.astype(np.float32), np.empty((len(self.x), r, width // i), np.float32)
        for piece, x in self.chunks():
            taps = np.ascontiguousarray(x.reshape(len(x), i, -1).swapaxes(1, 2)).reshape(-1, i)
            found[piece] = (taps @ first).reshape(len(x), -1, r).swapaxes(1, 2)
        return Samples(found.reshape(len(found), -1), self.y, self.relu)

    def error(self, chain):
        """The error of a ``Chain``, see ``regression.Samples.error``."""
        return self.behind(chain.first).error(chain.weight, chain.bias)


def fit_chain(chain, learnt, held_back):
    """Fit the first layer, those behind it, and the first again, each as far as the error on held-back samples falls.

    The first comes first, since what the others fit too closely to the samples would mislead it.

    Args:
        chain: ``Chain``. learnt, held_back: ``Patches`` of different images.

    Returns:
        chain: the fitted one; strength, first_strength: of the ridges, infinite for what keeps its weights; before, after: errors on
        the held-back samples.
    """
    covariance, first_strength = learnt.covariance(), np.inf
    before = after = held_back.error(chain)
    new, tried, error = fit_first(chain, learnt, held_back, covariance)
    if error < after:
        chain, first_strength, after = new, tried, error
    factors, bias, strength, _, error = fit_best(learnt.behind(chain.first), held_back.behind(chain.first), chain.weight, chain.bias,
                                                 chain.factorise)
    if error < after:
        chain, after = chain.behind(factors, bias), error
    else:
        strength = np.inf
    new, tried, error = fit_first(chain, learnt, held_back, covariance)
    if error < after:
        chain, first_strength, after = new, tried, error
    return chain, strength, first_strength, before, after


def fit_first(chain, learnt, held_back, covariance):
    """Fit the first layer, with the strength of the ridge that has the lowest error on held-back samples.

    Args:
        chain, learnt, held_back: see ``fit_chain``. covariance: of the patches that are learnt from.

    Returns:
        chain: with a new first layer and bias; strength: the ridge's; error: on the held-back samples.
    """
    mean, tried, guide = learnt.mean(), [], chain

    def next_round(guide):
        targets = learnt.behind(guide.first).targets(guide.weight, guide.bias)
        centre = targets.mean(axis=0, dtype=np.float64)
        return centre, learnt.mixed((targets - centre.astype(np.float32)) @ chain.last.astype(np.float32))

    def solved(centre, mixed, strength, guide):
        first = solve_first(chain, covariance, mixed, strength, guide.first)
        return chain._replace(first=first, bias=centre - chain.last @ (joined(chain.taps, first) @ mean))

    equations = next_round(chain)
    for strength in sorted(filter(np.isfinite, STRENGTHS), reverse=True):           # each starts from the one before
        guide = solved(*equations, strength, guide)
        tried.append((held_back.error(guide), strength, guide))
    lowest, strength, new = min(tried, key=lambda trial: trial[0])
    for _ in range(FIRST_ROUNDS - 1 if learnt.relu else 0):
        new = solved(*next_round(new), strength, new)
    return new, strength, held_back.error(new)


def solve_first(chain, covariance, mixed, strength, start):
    """The first factor (R, I) that solves the equations of the module's text.

    Args:
        chain: whose first factor the solution is pulled to. covariance: (I T, I T). mixed: (Q, I T), B^T D. strength: of the ridge.
        start: (R, I), of the iteration.
    """
    taps, gram = chain.taps, chain.last.T @ chain.last
    ridge = strength * covariance.trace(dtype=np.float64) / len(covariance) or 1.0

    def times_covariance(first):
        product = joined(taps, first)
        return product.astype(covariance.dtype) @ covariance, product

    def operator(change):
        mixed, product = times_covariance(change)
        return parted(taps, gram @ (mixed + ridge * product))
    right = parted(taps, mixed - gram @ times_covariance(chain.first)[0])           # of the equations for the change
    return chain.first + conjugate_gradients(operator, right, start - chain.first, preconditioner(taps, gram, covariance, ridge))


def joined(taps, first):
    """The map (Q, I T) of a first factor (R, I) and the taps (Q, R, T) behind it."""
    return np.tensordot(taps, first, (1, 0)).swapaxes(1, 2).reshape(len(taps), -1)


def parted(taps, matrix):
    """The adjoint of ``joined``: (Q, I T) -> (R, I)."""
    return np.tensordot(taps, matrix.reshape(len(taps), -1, taps.shape[2]), ((0, 2), (0, 2)))


def preconditioner(taps, gram, covariance, ridge):
    """The inverse of the operator in which all taps' covariances are multiples of one, as a function (R, I) -> (R, I)."""
    count = taps.shape[2]
    blocks = covariance.reshape(len(covariance) // count, count, -1, count)
    mean = sum(blocks[:, tap, :, tap].astype(np.float64) for tap in range(count)) / count
    mean += ridge * np.eye(len(mean))
    alike = np.einsum("isit->st", blocks, dtype=np.float64) / mean.trace()
    alike += ridge * len(mean) / mean.trace() * np.eye(count)
    weighed = np.tensordot(np.tensordot(gram, taps, (1, 0)), alike, (2, 0))                     # (Q, R, T)
    outer = np.tensordot(taps, weighed, ((0, 2), (0, 2)))
    outer, inner = np.linalg.inv(with_ridge(outer, SINGULAR)), np.linalg.inv(mean)
    return lambda residual: outer @ residual @ inner


def conjugate_gradients(operator, right, start, precondition):
    """Solve operator(x) = right, with a symmetric and positive operator.

    Args:
        operator: linear, array -> array. right, start: arrays. precondition: array -> array, near the operator's inverse.

    Returns:
        x: with |right - operator(x)| at most ``TOLERANCE`` * |right|, or after ``STEPS`` steps.

    Reference: Hestenes, Stiefel (1952); preconditioned: Golub, Van Loan, Matrix computations, algorithm 11.5.1.
    """
    x, residual, limit = start, right - operator(start), TOLERANCE * np.linalg.norm(right)
    direction, last = 0, 1.0
    for _ in range(STEPS):
        if np.linalg.norm(residual) <= limit:
            break
        better = precondition(residual)
        product = (residual * better).sum()
        direction, last = better + product / last * direction, product
        image = operator(direction)
        length = product / (direction * image).sum()
        x, residual = x + length * direction, residual - length * image
    return x
