"""The input gradient of a convolution, computed by convolutions of stride 1.

With x including its padding, filters w, stride s and dilation d,

    grad_x[r] = sum over taps i with (r - d i) divisible by s of w[i]^T grad_y[(r - d i) / s].

For stride 1 this is a convolution of grad_y with the filters rotated by 180 degrees and O and C exchanged; for a larger stride, the pixels
r with the same residue modulo s are such a convolution with every s-th tap.

Reference: Dumoulin, Visin, A guide to convolution arithmetic for deep learning (2016), section 4.
"""

import numpy as np


def input_gradient(grad_y, weight, shape, stride, padding, dilation, convolve):
    """The input gradient of a convolution; stride or dilation must be (1, 1).

    Args:
        grad_y: (N, Ho, Wo, O), contiguous float32.
        weight: (O, C, KH, KW).
        shape: of the result, (N, H, W, C'); C' >= C is the number of channels that ``convolve`` writes.
        stride, padding, dilation: (vertical, horizontal).
        convolve: function of (x, weight, dilation, y): y = the convolution of stride 1 of x (N, H, W, O) with weight (C, O, KH, KW).

    Returns:
        grad_x: of that shape.
    """
    (h, w), (kh, kw), (sh, sw), (ph, pw), (dh, dw) = shape[1:3], weight.shape[2:], stride, padding, dilation
    rotated = weight.transpose(1, 0, 2, 3)[:, :, ::-1, ::-1]
    grad_x = (np.empty if kh >= sh and kw >= sw else np.zeros)(shape, np.float32)       # a stride may skip pixels
    for i in range(min(sh, kh)):
        for j in range(min(sw, kw)):
            rows, columns = range((i - ph) % sh, h, sh), range((j - pw) % sw, w, sw)
            if not rows or not columns:
                continue
            taps = rotated[:, :, (kh - 1 - i) % sh::sh, (kw - 1 - j) % sw::sw]          # that contribute to these rows and columns
            high, wide = dh * (taps.shape[2] - 1), dw * (taps.shape[3] - 1)
            part = window(grad_y, (rows[0] + ph) // sh - high, (columns[0] + pw) // sw - wide, len(rows) + high, len(columns) + wide)
            if stride == (1, 1):
                convolve(part, taps, dilation, grad_x)
            else:
                y = np.empty((len(part), len(rows), len(columns), shape[3]), np.float32)
                convolve(part, taps, dilation, y)
                grad_x[:, rows[0]::sh, columns[0]::sw] = y
    return grad_x


def window(x, top, left, high, wide):
    """The pixels of x (N, H, W, C) from (top, left) on, zeros outside of it, as contiguous (N, high, wide, C)."""
    n, h, w, c = x.shape
    if (top, left, high, wide) == (0, 0, h, w):
        return x
    y = np.zeros((n, high, wide, c), x.dtype)
    rows, columns = slice(max(0, top), min(h, top + high)), slice(max(0, left), min(w, left + wide))
    if rows.start < rows.stop and columns.start < columns.stop:
        y[:, rows.start - top:rows.stop - top, columns.start - left:columns.stop - left] = x[:, rows, columns]
    return y
