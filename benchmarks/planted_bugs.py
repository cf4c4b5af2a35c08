"""Plant one small fault at a time, and see that a test finds it.

``python -m benchmarks.planted_bugs [--only TEXT]``

A fault is a piece of `tinycnn` that occurs exactly once, and what a tired person might
have written instead. It is planted in a copy of the package, the test file that mirrors
the source runs until its first failure, and the copy is repaired. Exit 1 if a fault
survives, if the code it was to be planted in is no longer there (then somebody must
look at the table below), or if the test file fails without any fault.

``--only`` takes the faults whose name or file contains TEXT.

This file knows what mistakes look like. It does not know how a test finds them.
"""

import argparse
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
LIMIT_SECONDS = 300.0  # a test that a fault has made endless counts as a failure

# Lines at the end of every source in a copy, so that a fault need not change its size.
SPARE = 400

# Each works in a copy of its own. Test files are short and mostly Python, so that two
# at a time keep two cores at work.
WORKERS = 2


class Fault(NamedTuple):
    """What is planted: ``new`` in the place of ``old``."""

    name: str
    old: str
    new: str


# By source file in tinycnn/ and test file in tests/.
FAULTS: dict[tuple[str, str], list[Fault]] = {
    ("nn/kernels.py", "nn/test_kernels.py"): [
        Fault(
            "im2col: strides swapped",
            "cols[n, oh, ow, kh, i] = rows[n, oh * SH + kh, ow * SW * C + i]",
            "cols[n, oh, ow, kh, i] = rows[n, oh * SW + kh, ow * SH * C + i]",
        ),
        Fault(
            "im2col: channels forgotten in the column",
            "cols[n, oh, ow, kh, i] = rows[n, oh * SH + kh, ow * SW * C + i]",
            "cols[n, oh, ow, kh, i] = rows[n, oh * SH + kh, ow * SW + i]",
        ),
        Fault("col2im: overwrites instead of adding", "i] += cols[", "i] = cols["),
        Fault("col2im: begins with what was there", "rows[n] = 0", "pass"),
        Fault("max_pool: a tie goes to the last", "if value > y[", "if value >= y["),
        Fault("max_pool: NaN hidden", " or np.isnan(value)", ""),
        Fault(
            "max_pool: zero wins over negatives",
            "y[n, oh, ow, c] = x[n, oh * SH, ow * SW, c]",
            "y[n, oh, ow, c] = 0.0",
        ),
        Fault(
            "max_pool: winner counted in columns",
            "winner[n, oh, ow, c] = kh * KW + kw",
            "winner[n, oh, ow, c] = kw * KH + kh",
        ),
        Fault(
            "max_pool_backward: overwrites instead of adding",
            "c] += dy[n, oh, ow, c]",
            "c] = dy[n, oh, ow, c]",
        ),
        Fault(
            "max_pool_backward: begins with what was there", "        dx[n] = 0\n", ""
        ),
        Fault("hashed: the key is ignored", " ^ np.uint64(key)", ""),
        Fault("hashed: shifts too far", "(h >> np.uint64(15))", "(h >> np.uint64(1))"),
        Fault(
            "hashed: a product keeps its 64 bits",
            "* np.uint64(0x7FEB352D)) & low",
            "* np.uint64(0x7FEB352D))",
        ),
    ],
    ("nn/kernels.py", "nn/test_optim.py"): [
        Fault("adam: steps without memory", "rate * m_i", "rate * grad[i]"),
        Fault(
            "adam: eps inside the root",
            "(np.sqrt(correction * v_i) + eps)",
            "np.sqrt(correction * v_i + eps)",
        ),
        Fault(
            "adam: the correction outside the root",
            "np.sqrt(correction * v_i)",
            "correction * np.sqrt(v_i)",
        ),
        Fault("adam: no square", "(grad[i] * grad[i] - v[i])", "(abs(grad[i]) - v[i])"),
        Fault("adam: a moment is forgotten", "m[i], v[i] = m_i, v_i", "m[i] = m_i"),
        Fault(
            "adam: the step decays, too",
            "decay * value[i] - rate * m_i / (np.sqrt(correction * v_i) + eps)",
            "decay * (value[i] - rate * m_i / (np.sqrt(correction * v_i) + eps))",
        ),
    ],
    ("fast/vectors.py", "fast/test_vectors.py"): [
        Fault(
            "tile: the matrix is half as wide",
            "b = builder.add(b, _bytes(4 * COLUMNS))",
            "b = builder.add(b, _bytes(4 * LANES))",
        ),
        Fault(
            "tile: a run begins where the last one ended",
            "                _, *rest = _loop(builder, K, [a, *rest], along_k)",
            "                a, *rest = _loop(builder, K, [a, *rest], along_k)",
        ),
        Fault(
            "multiply: the last tile goes over the edge",
            "min(i + rows, M - rows)",
            "i + rows",
        ),
        Fault(
            "multiply: rows of the result touch",
            "y + i * y_row",
            "y + 4 * i * COLUMNS",
        ),
        Fault(
            "transform: the result is turned",
            "[half[b][i] for b in range(size)], j)",
            "[half[b][j] for b in range(size)], i)",
        ),
        Fault(
            "transform: -1 is taken for 1",
            "add = builder.fadd if factor == 1 else builder.fsub",
            "add = builder.fadd",
        ),
        Fault(
            "transform: a row's first factor is taken for 1",
            "    if factor == 1:\n        return value",
            "    if factor:\n        return value",
        ),
        Fault(
            "pool: a tie goes to the last",
            'fcmp_ordered(">", value, best)',
            'fcmp_ordered(">=", value, best)',
        ),
        Fault(
            "pool: NaN hidden",
            'builder.fcmp_unordered("uno", value, value)',
            'builder.fcmp_ordered("<", value, value)',
        ),
        Fault(
            "pool: gradient passes at 0",
            'fcmp_ordered("<=", best, nothing)',
            'fcmp_ordered("<", best, nothing)',
        ),
        Fault(
            "pool: what is closed has a winner",
            "won = builder.select(closed, constant(DEAD), won)",
            "pass",
        ),
        Fault("pool: dropout hides NaN", "builder.and_(dropped, a_number)", "dropped"),
        Fault(
            "pool: the survivors of dropout are not scaled",
            "best = builder.fmul(best, _spread(builder, scale, kind))",
            "pass",
        ),
        Fault(
            "pool: every eight channels have the biases of the first",
            "KHP, KWP, bias + 4 * f,",
            "KHP, KWP, bias,",
        ),
        Fault(
            "pool: every eight channels are dropped together",
            "np.uint32(number + f)",
            "np.uint32(number)",
        ),
        Fault(
            "pool: all square windows are of one cell",
            "if side == 1 and threshold == 0:",
            "if side > 0 and threshold == 0:",
        ),
        Fault(
            "pool: all square windows are of four cells, if there is dropout",
            "elif side == 2:",
            "elif side > 0:",
        ),
        Fault(
            "pool: eight channels are dropped as one",
            "list(range(lanes)) if lanes > 1 else 0)",
            "[0] * lanes if lanes > 1 else 0)",
        ),
        Fault(
            "pool: hashed numbers have a sign",
            "dropped = builder.icmp_unsigned(",
            "dropped = builder.icmp_signed(",
        ),
        Fault(
            "pool: another hash than the layer's",
            "((16, 0x7FEB352D), (15, 0x846CA68B))",
            "((15, 0x7FEB352D), (16, 0x846CA68B))",
        ),
        Fault(
            "weighted sum: overwrites instead of adding",
            "sums = [_load(builder, y, j, kind) for j in range(size)]",
            "sums = [_load(builder, y, j, kind) for j in range(size)]\n"
            "            sums = [builder.fsub(one, one) for one in sums]",
        ),
        Fault(
            "weighted sum: 16 columns are taken twice",
            "            size = 80\n",
            "            size = 64\n",
        ),
        Fault(
            "weighted sum: the next part of the first columns",
            "        rows += 4 * size\n",
            "",
        ),
    ],
    ("training/handwriting.py", "training/test_handwriting.py"): [
        Fault(
            "a digit is drawn whenever it is asked for",
            "            self._drawn[i] = True\n",
            "",
        ),
        Fault(
            "the first digit by code is taken for an image",
            "by_code = wanted >= len(self._images)",
            "by_code = wanted > len(self._images)",
        ),
        Fault(
            "digits by code are counted with the images",
            "self._hands[wanted[by_code] - len(self._images)]",
            "self._hands[wanted[by_code] % len(self._hands.labels)]",
        ),
    ],
    ("fast/winograd.py", "fast/test_winograd.py"): [
        Fault(
            "kernel_matrix: nothing is divided",
            "p**k / np.prod([p - q for q in points if q != p])",
            "p**k",
        ),
        Fault(
            "kernel_matrix: infinity is taken for 0",
            "[0] * (K - 1) + [1]], np.float64)",
            "[1] + [0] * (K - 1)], np.float64)",
        ),
        Fault(
            "output_matrix: outputs from right to left",
            "[p**i for i in range(OUTPUTS)]",
            "[p**i for i in reversed(range(OUTPUTS))]",
        ),
        Fault(
            "patch_matrix: coefficients from the highest on",
            "np.poly(points)[::-1]]",
            "np.poly(points)]",
        ),
        Fault(
            "points so far apart that rounding grows",
            "POINTS = (0, 1, -1, 2, -2, 0.5, -0.5)",
            "POINTS = (0, 1, -1, 9, -9, 0.5, -0.5)",
        ),
        Fault(
            "transform_kernels: kernels are turned",
            "weight.reshape(K, K * C * F)",
            "weight.swapaxes(0, 1).reshape(K, K * C * F)",
        ),
        Fault(
            "convolve: the last band is as high as the others",
            "tiles = min(band, count * high - first) * wide",
            "tiles = band * wide",
        ),
        Fault(
            "convolve: the images lie as close as their patches",
            "over // high * H + OUTPUTS * (over % high)",
            "OUTPUTS * over",
        ),
        Fault(
            "convolve: eight channels are all",
            "for c in range(0, C, LANES):",
            "for c in range(0, LANES, LANES):",
        ),
        Fault(
            "convolve: of eight points six are read",
            "_from_8(source, row",
            "_from_6(source, row",
        ),
    ],
    ("fast/convolution.py", "fast/test_convolution.py"): [
        Fault(
            "forward: strides swapped",
            "image + 4 * (i * H + oh * SH) * W * C,\n"
            "                            4 * SW * C,",
            "image + 4 * (i * H + oh * SW) * W * C,\n"
            "                            4 * SH * C,",
        ),
        Fault(
            "forward: the weights of the first panel are those of all",
            "weight.ctypes.data + 4 * p * KH * run * COLUMNS",
            "weight.ctypes.data",
        ),
        Fault(
            "forward: without margins the first images are all",
            "image = x.ctypes.data + 4 * first * H * W * C",
            "image = x.ctypes.data",
        ),
        Fault(
            "forward: margins left and right are none",
            "if height == H and width == W:",
            "if height == H:",
        ),
        Fault(
            "backward: margins left and right are none",
            "margins = height < H or width < W",
            "margins = height < H",
        ),
        Fault(
            "backward: without margins the first image is all",
            "image = x.ctypes.data + 4 * n * H * W * C\n            dimage",
            "image = x.ctypes.data\n            dimage",
        ),
        Fault(
            "backward: without margins dx begins with what was there",
            "_clear(dx, n)",
            "pass",
        ),
        Fault(
            "forward: pooling with strides swapped",
            "cell = (i * OH + oh * SHP) * OW + ow * SWP",
            "cell = (i * OH + oh * SWP) * OW + ow * SHP",
        ),
        Fault(
            "forward: every block reads the first one's image",
            "images.ctypes.data + 4 * block * group * H * W * C",
            "images.ctypes.data",
        ),
        Fault(
            "forward: the images of a ragged group are lost",
            "count = min(group, end - first)",
            "count = group if end - first >= group else 0",
        ),
        Fault(
            "forward: an image at the wrong place of its margins",
            "padded[uintp(block), h + top, w + left, c] =",
            "padded[uintp(block), h + left, w + top, c] =",
        ),
        Fault(
            "backward: the wrong margins are cut off",
            "= padded[uintp(block), h + top, w + left, c]",
            "= padded[uintp(block), h + left, w + top, c]",
        ),
        Fault(
            "backward: the stride is forgotten within a window",
            "cell // KWP * SH * W + cell % KWP * SW",
            "cell // KWP * W + cell % KWP",
        ),
        Fault(
            "backward: the stride is forgotten between windows",
            "window = oh * SHP * SH * W + ow * SWP * SW",
            "window = oh * SHP * W + ow * SWP",
        ),
        Fault(
            "backward: the gradient of the image before is kept",
            "_clear(dimages, block)",
            "pass",
        ),
        Fault(
            "backward: dropout's scale is forgotten",
            "uintp(f)] * scale",
            "uintp(f)]",
        ),
        Fault(
            "backward: the bias remembers one place only",
            "dbiases[uintp(block), uintp(f)] += g",
            "dbiases[uintp(block), uintp(f)] = g",
        ),
        Fault(
            "backward: filters as far apart as their rows",
            "in_cell[cell], 4 * KH * run,",
            "in_cell[cell], 4 * run,",
        ),
        Fault(
            "backward: every row of a kernel reads the first row",
            "image + 4 * kh * W * C, dkernels",
            "image, dkernels",
        ),
        Fault(
            "ink: the margins are forgotten",
            "row, column = h + top + KH - 1, w + left + KW - 1",
            "row, column = h + KH - 1, w + KW - 1",
        ),
        Fault(
            "ink: one to the right",
            "row, column = h + top + KH - 1, w + left + KW - 1",
            "row, column = h + top + KH - 1, w + left + KW",
        ),
        Fault(
            "ink: the kernel is turned over",
            "dmap - 4 * (kh * W + kw) * F",
            "dmap - 4 * ((KH - 1 - kh) * W + KW - 1 - kw) * F",
        ),
        Fault(
            "ink: a cell that won twice is paid once",
            "dmaps[uintp(block), h + row, w + column, f] += g",
            "dmaps[uintp(block), h + row, w + column, f] = g",
        ),
        Fault(
            "ink: gradient where ReLU was closed",
            "g = g if alive else np.float32(0)",
            "pass",
        ),
        Fault(
            "ink: channels before columns",
            "((kh * KW + kw) * C + c) * F, F,",
            "((kh * C + c) * KW + kw) * F, F,",
        ),
        Fault("ink: negative ink is paper", "if value != 0:", "if value > 0:"),
        Fault(
            "ink: the map of the image before is kept", "_clear(dmaps, block)", "pass"
        ),
    ],
    ("fast/convolution.py", "fast/test_addresses.py"): [
        Fault(
            "forward: the room between two points is taken for rows of patches",
            "(values.shape[2] - winograd.LINE) // (wide * C)",
            "values.shape[2] // (wide * C)",
        ),
    ],
    ("fast/dense.py", "fast/test_dense.py"): [
        Fault(
            "forward: rows that do not fill a block are lost",
            "end = D * (block + 1) // blocks",
            "end = D // blocks * (block + 1)",
        ),
        Fault(
            "forward: a narrow tile is read as a wide one",
            "rows, stride = tile.ctypes.data, 4 * width",
            "rows, stride = tile.ctypes.data, 4 * COLUMNS_FORWARD",
        ),
        Fault(
            "forward: the next columns are those of the first",
            "weight.ctypes.data + 4 * (first * U + j), 4 * U",
            "weight.ctypes.data + 4 * first * U, 4 * U",
        ),
        Fault(
            "only positive numbers count",
            "(bits[uintp(n), i] & 0x7FFFFFFF) != 0",
            "bits[uintp(n), i] > 0",
        ),
        Fault(
            "forward: a product takes the place of the sum",
            "y[uintp(block), n, uintp(j) + k] += sums",
            "y[uintp(block), n, uintp(j) + k] = sums",
        ),
        Fault(
            "forward: what few columns are left is multiplied by sixteens",
            "many = packed and U % COLUMNS == 0 and",
            "many = packed and",
        ),
        Fault(
            "forward: every panel has the first columns",
            "weight[i, uintp(j) + k]",
            "weight[i, k]",
        ),
        Fault(
            "find_all: lists overlap by one",
            "n, U, places, shares, n * (U + 1))",
            "n, U, places, shares, n * U)",
        ),
        Fault(
            "backward: the last block is as wide as the others",
            "last = min(first + ROWS_BACKWARD, D)",
            "last = first + ROWS_BACKWARD",
        ),
        Fault(
            "backward: the last block is read as a narrow one",
            "counts[n], 4 * ROWS_BACKWARD,",
            "counts[n], 4 * (last - first),",
        ),
        Fault(
            "backward: dx begins with what was there",
            "dx[uintp(n), uintp(i)] = 0",
            "pass",
        ),
        Fault(
            "backward: dweight begins with what was there",
            "dweight[uintp(i), uintp(j)] = 0",
            "pass",
        ),
        Fault(
            "backward: the last image is forgotten",
            "i - first, N, images, values, 0)",
            "i - first, N - 1, images, values, 0)",
        ),
    ],
    ("fast/steps.py", "fast/test_convolution.py"): [
        Fault(
            "the weights of before are used",
            "if same and patch == patch_before:",
            "if patch == patch_before:",
        ),
        Fault(
            "weights are held against themselves",
            "self._kernels = weight.copy(), patch, laid_out",
            "self._kernels = weight, patch, laid_out",
        ),
        Fault(
            "weights laid out for larger images are used",
            "if same and patch == patch_before:",
            "if same:",
        ),
        Fault(
            "places of fewer images are used",
            "if self._places is None or self._places[0] != key:",
            "if self._places is None:",
        ),
        Fault(
            "margins of larger images are what these were",
            "self._places, self._layout = None, (key, self._lay_out(H, W))",
            "self._layout = key, self._lay_out(H, W)",
        ),
        Fault(
            "Winograd leaps over no pixel",
            "if conv.stride != (1, 1) or KH != KW or",
            "if KH != KW or",
        ),
        Fault("Winograd: half a vector", "if C % LANES != 0 or F <", "if F <"),
        Fault(
            "Winograd: no patch hangs over the edge",
            "high, wide = -(-OH // m), -(-OW // m)",
            "high, wide = OH // m, OW // m",
        ),
        Fault(
            "convolution: laid out for an image on its side",
            "self._lay_out(H, W)",
            "self._lay_out(W, H)",
        ),
        Fault(
            "convolution: the gradient of the first block only",
            "grad = dweights.sum(axis=0).transpose(1, 2, 0)",
            "grad = dweights[0].transpose(1, 2, 0)",
        ),
        Fault(
            "convolution: the bias of the first block only",
            "dbiases.sum(axis=0)",
            "dbiases[0]",
        ),
        Fault(
            "convolution: drops at inference",
            "if self.dropout is not None and training:",
            "if self.dropout is not None:",
        ),
        Fault(
            "convolution: ink with a stride",
            "if C >= LANES or self.conv.stride != (1, 1):",
            "if C >= LANES:",
        ),
        Fault(
            "convolution: the margins are those of the top and left",
            "padded = top + H + bottom, left + W + right",
            "padded = top + H + top, left + W + left",
        ),
    ],
    ("fast/steps.py", "fast/test_dense.py"): [
        Fault(
            "dense: only the first block of rows",
            "y: Array = parts.sum(axis=0)",
            "y: Array = parts[0]",
        ),
        Fault("dense: no bias", "y += self.dense.bias.value", "pass"),
        Fault(
            "dense: the bias's gradient is a mean",
            "self.dense.bias.grad = dy.sum(axis=0)",
            "self.dense.bias.grad = dy.mean(axis=0)",
        ),
    ],
    ("fast/steps.py", "fast/test_normalization.py"): [
        Fault(
            "batch norm: the running variance of few",
            "norm.update_running(mean, var, len(rows))",
            "norm.update_running(mean, var, len(x))",
        ),
        Fault(
            "batch norm: the terms of training at inference",
            "(sums / M if training else np.zeros_like(sums))",
            "(sums / M)",
        ),
        Fault(
            "batch norm: the two means swapped",
            "means[1], means[0], dx",
            "means[0], means[1], dx",
        ),
    ],
    ("fast/normalization.py", "fast/test_normalization.py"): [
        Fault("moments: the unbiased variance", "variance /= M", "variance /= M - 1"),
        Fault(
            "moments: the variance around 0",
            "apart = flat[at + c] - mean[c]",
            "apart = flat[at + c]",
        ),
        Fault(
            "normalize: what is kept is scaled",
            "flat_x_hat[at + c] = value",
            "flat_x_hat[at + c] = weight[c] * value",
        ),
        Fault(
            "input_gradient: misses its last term",
            " - flat_x_hat[at + c] * mean_dy_x_hat[c]",
            "",
        ),
    ],
    ("nn/sequential.py", "fast/test_plan.py"): [
        Fault(
            "the plan of before for new layers",
            "if self._planned != self.layers:",
            "if not self._planned:",
        ),
        Fault(
            "float64 goes through the plan",
            "self.fuse and all(value.dtype == np.float32 for value in values)",
            "self.fuse",
        ),
        Fault(
            "only the input decides about the plan",
            "values = [x, *[parameter.value for parameter in self._found]]",
            "values = [x]",
        ),
    ],
    ("fast/plan.py", "fast/test_plan.py"): [
        Fault(
            "a subclass of ReLU is taken for one",
            "type(rest[0]) is kind",
            "isinstance(rest[0], kind)",
        ),
        Fault(
            "a subclass of Conv2D is taken for one",
            "if type(first) is Conv2D and",
            "if isinstance(first, Conv2D) and",
        ),
        Fault(
            "a subclass of Dense is taken for one",
            "elif type(first) is Dense and",
            "elif isinstance(first, Dense) and",
        ),
        Fault(
            "whatever follows a convolution is taken for ReLU",
            "type(first) is Conv2D and _next_is(ReLU, rest):",
            "type(first) is Conv2D and rest:",
        ),
        Fault(
            "a window whose cells no byte can number",
            "KHP * KWP <= DEAD",
            "KHP * KWP <= 2 * DEAD",
        ),
        Fault("agree: anything does", "AGREEMENT * max(size", "9 + max(size"),
        Fault(
            "agree: the gradients of one pair decide",
            "2 * sum(gradients) >= len(pairs)",
            "all(gradients)",
        ),
        Fault(
            "agree: every array has a gradient of its own", "among=True", "among=False"
        ),
        Fault(
            "agree: the layers are held against themselves",
            "(_computed(model, pair), _computed(plain, pair))",
            "(_computed(plain, pair), _computed(plain, pair))",
        ),
        Fault(
            "agree: an output may differ for half of the pairs",
            "all(outputs) and",
            "2 * sum(outputs) >= len(pairs) and",
        ),
    ],
    ("nn/layers.py", "nn/test_layers.py"): [
        Fault(
            "Conv2D: bias averaged over the places",
            "self.bias.grad = dy.sum(axis=0)\n        dcols",
            "self.bias.grad = dy.mean(axis=0)\n        dcols",
        ),
        Fault(
            "Conv2D: weight gradient transposed",
            "self.weight.grad = (cols.T @ dy).reshape(KH, KW, C, F)",
            "self.weight.grad = (dy.T @ cols).reshape(KH, KW, C, F)",
        ),
        Fault(
            "Conv2D: strides swapped",
            'self.stride = _pair("stride", stride, least=1)',
            'self.stride = _pair("stride", stride, least=1)[::-1]',
        ),
        Fault(
            "Conv2D: padding swapped", "return PH, PH, PW, PW", "return PW, PW, PH, PH"
        ),
        Fault(
            "Conv2D: same puts the extra at the top",
            "return PH // 2, PH - PH // 2, PW // 2, PW - PW // 2",
            "return PH - PH // 2, PH // 2, PW - PW // 2, PW // 2",
        ),
        Fault(
            "Conv2D: same rounds down",
            "PH = max((-(-H // SH) - 1)",
            "PH = max((H // SH - 1)",
        ),
        Fault(
            "Conv2D: same may be negative",
            "PW = max((-(-W // SW) - 1) * SW + KW - W, 0)",
            "PW = (-(-W // SW) - 1) * SW + KW - W",
        ),
        Fault(
            "Conv2D: the wrong rows are cut off",
            "dx[:, top : H - bottom,",
            "dx[:, bottom : H - top,",
        ),
        Fault(
            "Conv2D: He fan-out",
            "KH * KW * C, rng, dtype), ",
            "KH * KW * F, rng, dtype), ",
        ),
        Fault("He: variance of Xavier", "(2 / fan_in) ** 0.5", "(1 / fan_in) ** 0.5"),
        Fault("He: root forgotten", "(2 / fan_in) ** 0.5", "(2 / fan_in)"),
        Fault(
            "a window that just does not fit is allowed",
            "if KH > H or KW > W:",
            "if KH > H + 1 or KW > W:",
        ),
        Fault(
            "output size with strides swapped",
            "return (H - KH) // SH + 1, (W - KW) // SW + 1",
            "return (H - KH) // SW + 1, (W - KW) // SH + 1",
        ),
        Fault(
            "MaxPool2D: stride defaults to 1",
            "kernel_size if stride is None else stride",
            "1 if stride is None else stride",
        ),
        Fault(
            "MaxPool2D: winner of the wrong width",
            "(_, KW), (SH, SW) = self.kernel_size, self.stride",
            "(KW, _), (SH, SW) = self.kernel_size, self.stride",
        ),
        Fault(
            "GlobalAveragePool2D: gradient without 1/HW",
            "share = dy.reshape(N, 1, 1, C) / (H * W)",
            "share = dy.reshape(N, 1, 1, C)",
        ),
        Fault(
            "GlobalAveragePool2D: silent float64",
            "x.mean(axis=(1, 2))",
            "x.mean(axis=(1, 2), dtype=np.float64)",
        ),
        Fault(
            "Flatten: columns before rows",
            "y = x.reshape(len(x), -1)",
            "y = x.swapaxes(1, -1).reshape(len(x), -1)",
        ),
        Fault(
            "Dense: bias summed over the wrong axis",
            "self.bias.grad = dy.sum(axis=0)\n        dx",
            "self.bias.grad = dy.sum(axis=1)\n        dx",
        ),
        Fault(
            "Dense: gradient added instead of assigned",
            "self.weight.grad = x.T @ dy",
            "self.weight.grad = x.T @ dy + (\n"
            "            0 if self.weight.grad is None else self.weight.grad\n"
            "        )",
        ),
        Fault(
            "Dense: divided by N twice",
            "self.weight.grad = x.T @ dy",
            "self.weight.grad = x.T @ dy / len(x)",
        ),
        Fault(
            "Dense: edits dy",
            "dx: Array = dy @ self.weight.value.T",
            "dx: Array = dy @ self.weight.value.T\n        dy *= 0",
        ),
        Fault("ReLU: gradient passes at 0", "x.shape, x > 0)", "x.shape, x >= 0)"),
        Fault("ReLU: gradient where negative", "dy * positive", "dy * ~positive"),
        Fault("ReLU: edits x", "np.maximum(x, 0)", "np.maximum(x, 0, out=x)"),
        Fault("ReLU: hides NaN", "return np.maximum(x, 0)", "return np.fmax(x, 0)"),
        Fault(
            "Dropout: scale missing",
            "x.dtype.type(1 / (1 - self.rate))",
            "x.dtype.type(1)",
        ),
        Fault(
            "Dropout: silent float64",
            "x.dtype.type(1 / (1 - self.rate))",
            "np.float64(1 / (1 - self.rate))",
        ),
        Fault("Dropout: step does not advance", "self.step += 1", "pass"),
        Fault("Dropout: drops at inference", "if not training:", "if False:"),
        Fault("Dropout: keeps what it should drop", "bits >= self", "bits < self"),
        Fault(
            "Dropout: one mask for all layers",
            "[self.seed, self.number, self.step]",
            "[self.seed, self.step]",
        ),
        Fault(
            "Dropout: numbers that add up to the same",
            "[self.seed, self.number, self.step]",
            "[self.seed + self.number + self.step]",
        ),
        Fault(
            "Dropout: the gradient of what was dropped",
            "return dy if scale is None else dy * scale",
            "return dy",
        ),
        Fault(
            "Dropout: stale memory after inference",
            "            self._remember(x.shape, None)\n",
            "",
        ),
        Fault(
            "BatchNorm2D: running variance biased",
            "unbiased = var * (M / max(M - 1, 1))",
            "unbiased = var",
        ),
        Fault(
            "BatchNorm2D: division by zero for one value",
            "(M / max(M - 1, 1))",
            "(M / (M - 1))",
        ),
        Fault(
            "BatchNorm2D: momentum the other way round",
            "self.running_mean += self.momentum * (",
            "self.running_mean += (1 - self.momentum) * (",
        ),
        Fault(
            "BatchNorm2D: running mean replaced, not moved",
            "self.running_mean += self.momentum * (mean - self.running_mean)",
            "self.running_mean = self.running_mean + self.momentum * (\n"
            "                mean - self.running_mean\n"
            "            )",
        ),
        Fault("BatchNorm2D: eps missing", "np.sqrt(var + self.eps)", "np.sqrt(var)"),
        Fault(
            "BatchNorm2D: eps outside the root",
            "np.sqrt(var + self.eps)",
            "np.sqrt(var) + self.eps",
        ),
        Fault(
            "BatchNorm2D: backward misses its last term",
            " - x_hat * (self.weight.grad / M)",
            "",
        ),
        Fault(
            "BatchNorm2D: backward misses the mean of dy", " - self.bias.grad / M", ""
        ),
        Fault(
            "BatchNorm2D: the batch decides at inference too",
            "if training:\n            mean",
            "if True:\n            mean",
        ),
        Fault(
            "BatchNorm2D: the terms of training at inference",
            "if training:  # the two",
            "if True:  # the two",
        ),
        Fault(
            "a layer remembers its first forward for ever",
            "self._memory = values",
            "self._memory = self._memory or values",
        ),
        Fault(
            "dy of the right size in the wrong shape",
            "if dy.shape != y_shape:",
            "if dy.size != np.prod(y_shape):",
        ),
        Fault(
            "more channels than weights are allowed",
            "isinstance(wanted, str) or wanted == size",
            "isinstance(wanted, str) or wanted <= size",
        ),
        Fault(
            "cast forgets the buffers",
            "setattr(self, name, getattr(self, name).astype(dtype))",
            "getattr(self, name).astype(dtype)",
        ),
        Fault(
            "a pair is taken in the wrong order",
            "return _whole(name, pair[0], least), _whole(name, pair[1], least)",
            "return _whole(name, pair[1], least), _whole(name, pair[0], least)",
        ),
    ],
    ("nn/losses.py", "nn/test_losses.py"): [
        Fault(
            "gradient without 1/N",
            "dlogits = (np.exp(log_p) - target) / N",
            "dlogits = np.exp(log_p) - target",
        ),
        Fault("loss without 1/N", "log_p).sum()) / N", "log_p).sum())"),
        Fault(
            "gradient uphill", "(np.exp(log_p) - target)", "(target - np.exp(log_p))"
        ),
        Fault(
            "smoothing over K - 1", "label_smoothing / K)", "label_smoothing / (K - 1))"
        ),
        Fault("smoothing not taken from the label", "+= 1 - label_smoothing", "+= 1"),
        Fault(
            "smoothing overwritten at the label",
            "+= 1 - label_smoothing",
            "= 1 - label_smoothing",
        ),
        Fault("label off by one", "labels.max() >= K", "labels.max() > K"),
        Fault("negative labels allowed", "labels.min() < 0 or ", ""),
        Fault(
            "maximum not subtracted",
            "shifted = logits - logits.max(axis=1, keepdims=True)",
            "shifted = logits",
        ),
        Fault(
            "maximum of the batch subtracted",
            "shifted = logits - logits.max(axis=1, keepdims=True)",
            "shifted = logits - logits.max()",
        ),
        Fault(
            "softmax overflows",
            "np.exp(logits - logits.max(axis=-1, keepdims=True))",
            "np.exp(logits)",
        ),
        Fault(
            "silent float64",
            "np.full_like(logits, label_smoothing / K)",
            "np.full(logits.shape, label_smoothing / K)",
        ),
    ],
    ("nn/optim.py", "nn/test_optim.py"): [
        Fault(
            "Adam: first moment not corrected",
            "self.learning_rate / (1 - self.beta1**self.steps)",
            "self.learning_rate",
        ),
        Fault(
            "Adam: second moment not corrected",
            "1 / (1 - self.beta2**self.steps)",
            "1",
        ),
        Fault("Adam: decay of biases", "if value.ndim >= 2", "if value.ndim >= 1"),
        Fault(
            "Adam: decay without the learning rate",
            "self.learning_rate * self.weight_decay",
            "self.weight_decay",
        ),
        Fault(
            "Adam: betas swapped",
            "1 - self.beta1,\n            1 - self.beta2,",
            "1 - self.beta2,\n            1 - self.beta1,",
        ),
        Fault(
            "Adam: steps on copies", "(array.reshape(-1) for", "(array.flatten() for"
        ),
        Fault("Adam: two moments of one name", '{f"{i}.v": array', '{f"{i}.m": array'),
        Fault(
            "SGD: momentum against the gradient", "velocity += grad", "velocity -= grad"
        ),
        Fault(
            "SGD: momentum damped the other way",
            "velocity *= self.momentum",
            "velocity *= 1 - self.momentum",
        ),
        Fault("steps are not counted", "        self.steps += 1\n", ""),
        Fault(
            "cosine: a whole period",
            "(1 + math.cos(math.pi * step / steps))",
            "(1 + math.cos(2 * math.pi * step / steps))",
        ),
        Fault("one_cycle: off by one", "fall(step - rise)", "fall(step - rise + 1)"),
        Fault("one_cycle: ends above 0", "max(1, steps - rise)", "max(1, steps)"),
        Fault(
            "one_cycle: no warm-up", "low = learning_rate / 25", "low = learning_rate"
        ),
        Fault(
            "one_cycle: warm-up of one step", "round(warm_up * steps)", "round(warm_up)"
        ),
        Fault(
            "one_cycle: rises in a line",
            "(1 - math.cos(math.pi * step / rise)) / 2",
            "step / rise",
        ),
    ],
    ("nn/sequential.py", "nn/test_sequential.py"): [
        Fault("backward is not reversed", "in reversed(self._ran):", "in self._ran:"),
        Fault(
            "backward_parameters is not reversed",
            "in reversed(self._ran[1:])",
            "in self._ran[1:]",
        ),
        Fault(
            "backward_parameters forgets the first step",
            "step.backward_parameters(dy)",
            "pass",
        ),
        Fault(
            "backward_parameters gives the first step too early a gradient",
            "for step in reversed(self._ran[1:]):\n            dy = step",
            "for step in reversed(self._ran[1:]):\n            step",
        ),
        Fault(
            "training is not passed on",
            ".forward(x, training)\n        return x",
            ".forward(x)\n        return x",
        ),
        Fault(
            "predict loses the last batch",
            "range(0, len(x), batch_size)",
            "range(0, len(x) - batch_size + 1, batch_size)",
        ),
        Fault(
            "predict overlaps its batches",
            "x[i : i + batch_size]",
            "x[i : i + batch_size + 1]",
        ),
        Fault(
            "predict trains",
            "self.forward(x[i : i + batch_size])",
            "self.forward(x[i : i + batch_size], True)",
        ),
        Fault(
            "names of the state collide",
            'f"{number}.{name}": array',
            'f"{type(layer).__name__}.{name}": array',
        ),
        Fault(
            "dropout layers share a number", "= seed, number, step", "= seed, 0, step"
        ),
        Fault("dropout begins at step 0", "= seed, number, step", "= seed, number, 0"),
        Fault("dropout without the seed", "= seed, number, step", "= 0, number, step"),
        Fault(
            "multiply-adds of biases", "if p.value.ndim >= 2", "if p.value.ndim >= 1"
        ),
        Fault("multiply-adds at every channel", "y.shape[1:-1]", "y.shape[1:]"),
        Fault("cast forgets the layers", "layer.cast(dtype)", "pass"),
    ],
    ("nn/gradcheck.py", "nn/test_gradcheck.py"): [
        Fault("tolerates much", "TOLERANCE = 1e-6", "TOLERANCE = 1e-2"),
        Fault("tolerates much where linear", "TOLERANCE = 1e-9", "TOLERANCE = 1e-6"),
        Fault("sees no kink", "KINK = 1e-3", "KINK = 1e3"),
        Fault("sees kinks in curves", "KINK = 1e-3", "KINK = 1e-6"),
        Fault("a kink hides every error", "error[kinks] = 0", "error[...] = 0"),
        Fault("kinks count as errors", "    error[kinks] = 0\n", ""),
        Fault(
            "nothing but kinks is fine",
            "elif 2 * kinks > values",
            "elif kinks > values",
        ),
        Fault(
            "NaN is fine",
            "error[np.isnan(error)] = np.inf",
            "error[np.isnan(error)] = 0",
        ),
        Fault(
            "upstream of ones",
            "np.random.default_rng([seed, 1]).standard_normal(y.shape)",
            "np.ones(y.shape)",
        ),
        Fault("the seed is ignored", "default_rng([seed, 1])", "default_rng([0, 1])"),
        Fault("entries are not put back", "        values[index] = value\n", ""),
        Fault(
            "inference is not checked",
            "if not np.array_equal(in_training, in_inference):",
            "if False:",
        ),
        Fault("works on the layer itself", "layer = copy.deepcopy(layer)", "pass"),
        Fault("edited arguments are fine", "if edited:", "if False:"),
        Fault(
            "one generator for all forwards",
            "copy.deepcopy(layer).forward(x, training).copy()",
            "layer.forward(x, training).copy()",
        ),
        Fault(
            "compares a view with itself",
            "copy.deepcopy(layer).forward(x, training).copy()",
            "copy.deepcopy(layer).forward(x, training)",
        ),
        Fault("float32", "layer.cast(np.float64)", "layer.cast(np.float32)"),
        Fault(
            "shapes are not compared",
            "if analytic.shape != numeric.shape:",
            "if analytic.size != numeric.size:",
        ),
    ],
    ("nn/threads.py", "nn/test_threads.py"): [
        Fault("BLAS keeps its threads", "limits=1,", "limits=None,"),
        Fault("kernels keep their threads", "numba.set_num_threads(count)", "pass"),
    ],
    ("nn/compiled.py", "nn/test_compiled.py"): [
        Fault("NaN is assumed away", '"fastmath": {"contract"}', '"fastmath": True'),
        Fault("no cache, no kernel", "except RuntimeError:", "except OSError:"),
        Fault(
            "shared: one machine code for all kinds",
            "if kind not in addresses:",
            "if not addresses:",
        ),
        Fault("shared: the last block is lost", "prange(blocks)", "prange(blocks - 1)"),
        Fault(
            "shared: every block is the first",
            "_call(address, np.int64(block), blocks",
            "_call(address, np.int64(0), blocks",
        ),
        Fault(
            "an edited kernel is not seen by those that contain it",
            "return super().get_source_stamp(), stamps",
            "return super().get_source_stamp()",
        ),
    ],
    ("nn/saving.py", "nn/test_saving.py"): [
        Fault(
            "checksum not looked at",
            "digest.hexdigest() != checksum",
            "checksum is None",
        ),
        Fault(
            "gaps allowed", "if entry.start != reached:", "if entry.start < reached:"
        ),
        Fault("duplicate keys allowed", "if len(result) < len(pairs):", "if False:"),
        Fault(
            "surplus data allowed",
            "if reached != data_size:",
            "if reached > data_size:",
        ),
        Fault("NaN loaded", "if bad := _not_finite(tensors):", "if bad := None:"),
        Fault("NaN saved", "if bad := _not_finite(state):", "if bad := None:"),
        Fault("model not compared", "        _check_against(state, header)\n", ""),
        Fault(
            "arrays replaced, not filled",
            "array[...] = tensors[name]",
            "state[name] = tensors[name]",
        ),
        Fault("data not aligned", "-len(text) % 8", "0"),
    ],
    ("files.py", "test_files.py"): [
        Fault("written in place", "with temporary.open(", "with target.open("),
        Fault("written before it is on the disk", "os.fsync(file.fileno())", "pass"),
        Fault("one temporary name for all", "{secrets.token_hex(4)}", "0"),
        Fault("leavings after an error", "temporary.unlink()", "pass"),
    ],
    ("data/idx.py", "data/test_idx.py"): [
        Fault("labels above 9", "labels > 9", "labels > 10"),
        Fault("more labels than images", "if len(images) != len(labels):", "if False:"),
        Fault("surplus bytes", "if len(body) != math.prod(shape):", "if False:"),
        Fault("any element type", "if element_type != UNSIGNED_BYTE:", "if False:"),
        Fault("little-endian header", 'f">{dimensions}I"', 'f"<{dimensions}I"'),
        Fault("read-only array", ".reshape(shape).copy()", ".reshape(shape)"),
        Fault("no limit to unpacking", "promised + 1)", "0)"),
    ],
    ("data/mnist.py", "data/test_mnist.py"): [
        Fault(
            "validation is the first part",
            "return images[:cut], labels[:cut], images[cut:], labels[cut:]",
            "return images[-cut:], labels[-cut:], images[:-cut], labels[:-cut]",
        ),
        Fault(
            "validation leaks into training",
            "return images[:cut], labels[:cut],",
            "return images, labels,",
        ),
        Fault(
            "test digits are training digits",
            "*read_pair(*paths[2:])",
            "*read_pair(*paths[:2])",
        ),
    ],
    ("training/fit.py", "training/test_fit.py"): [
        Fault("the same order every epoch", "([seed, epoch]).perm", "([seed]).perm"),
        Fault(
            "images drawn with replacement",
            ".permutation(count)",
            ".integers(count, size=count)",
        ),
        Fault(
            "last batch lost",
            "math.ceil(len(train_images) / recipe.batch_size)",
            "len(train_images) // recipe.batch_size",
        ),
        Fault(
            "labels of other images",
            "self.train_labels[chosen]",
            "self.train_labels[: len(chosen)]",
        ),
        Fault(
            "deformed by another's warp",
            "warps.of(chosen)",
            "warps.of(np.arange(len(chosen)))",
        ),
        Fault("the average stands still", "self._average.update(step)", "pass"),
        Fault(
            "the last weights are kept, not their average",
            "array.copy() for name, array in self.averaged.",
            "array.copy() for name, array in self.model.",
        ),
        Fault(
            "the last epoch is the best",
            "if val.accuracy >= progress.best_accuracy:",
            "if True:",
        ),
        Fault(
            "the best is not kept apart", "name: array.copy() for", "name: array for"
        ),
        Fault(
            "the best is thrown away",
            "array[...] = self.best[name]",
            "self.best[name] = array",
        ),
        Fault(
            "validates on training images",
            "evaluate(self.averaged, self.val_images, self.val_labels)",
            "evaluate(self.averaged, self.train_images, self.train_labels)",
        ),
        Fault(
            "learning rate not applied",
            "self.optimizer.learning_rate = self.schedule(step)",
            "self.schedule(step)",
        ),
        Fault(
            "schedule starts anew each epoch",
            "step = progress.epoch * self.batches + progress.batch",
            "step = progress.batch",
        ),
        Fault(
            "schedule of one epoch", "self.batches * self.recipe.epochs", "self.batches"
        ),
        Fault(
            "grey values not scaled",
            "images.astype(np.float32) / 255",
            "images.astype(np.float32)",
        ),
        Fault("trains without dropout", "training=True", "training=False"),
        Fault(
            "loss of a ragged batch weighs as much",
            "loss * len(labels)",
            "loss * self.recipe.batch_size",
        ),
        Fault(
            "an infinite loss goes on",
            "if not math.isfinite(loss):",
            "if math.isnan(loss):",
        ),
        Fault("no step", "    optimizer.step()\n", ""),
        Fault(
            "no weight decay", "weight_decay=recipe.weight_decay,", "weight_decay=0.0,"
        ),
        Fault(
            "smoothing dropped", "(logits, labels, label_smoothing)", "(logits, labels)"
        ),
    ],
    ("training/metrics.py", "training/test_metrics.py"): [
        Fault(
            "confusion transposed",
            "labels * K + predictions",
            "predictions * K + labels",
        ),
        Fault("NLL in bits", "-np.log(chosen", "-np.log2(chosen"),
        Fault("NLL infinite", "chosen = np.maximum(", "chosen = np.minimum("),
        Fault(
            "bins of the ECE weigh the same",
            "sum(gaps) / len(confidence)",
            "sum(gaps) / BINS",
        ),
        Fault(
            "gaps of the ECE cancel",
            "one.images * abs(one.confidence - one.accuracy)",
            "one.images * (one.confidence - one.accuracy)",
        ),
        Fault("the diagonal is a mistake", "label != prediction and ", ""),
        Fault("the rarest mistakes first", "-mistake[2]", "mistake[2]"),
        Fault("errors are what is right", "int(N - right.sum())", "int(right.sum())"),
        Fault(
            "nine of ten digits are refused", "confidence, 0.005)", "confidence, 0.9)"
        ),
    ],
    ("training/checkpoint.py", "training/test_checkpoint.py"): [
        Fault(
            "resumed dropout begins again",
            "seed_dropout(trainer.seed, trainer.optimizer.steps)",
            "seed_dropout(trainer.seed)",
        ),
        Fault(
            "steps of the optimizer lost",
            'trainer.optimizer.steps = int(metadata["optimizer_steps"])',
            'int(metadata["optimizer_steps"])',
        ),
        Fault(
            "moments lost",
            '"optimizer": self._trainer.optimizer.state(),',
            '"optimizer": {},',
        ),
        Fault("best weights lost", '"best": self._trainer.best,', '"best": {},'),
        Fault(
            "average lost",
            'parts["average"] = self._trainer.averaged.state()',
            'parts["average"] = {}',
        ),
        Fault("progress lost", "trainer.progress = Progress(", "Progress("),
        Fault("younger lines kept", "lines[:epochs]", "lines"),
        Fault("a ruined network saved", "        trainer.check_finite()\n", ""),
        Fault("a folder used twice", "if any(path.iterdir()):", "if False:"),
    ],
    ("training/augment.py", "training/test_augment.py"): [
        Fault("the same every epoch", "([seed, epoch, 1])", "([seed, 1])"),
        Fault("bent the same every epoch", "([seed, epoch, 3])", "([seed, 3])"),
        Fault(
            "rows for columns",
            "top, left = int(from_h), int(from_w)",
            "left, top = int(from_h), int(from_w)",
        ),
        Fault("not scaled to ink", " / np.float32(255)", ""),
        Fault("turned about a corner", "(H - 1) / 2, (W - 1) / 2", "0.0, 0.0"),
        Fault("bent down as far as to the right", "bends[n, 1]", "bends[n, 0]"),
        Fault("knots at the wrong places", "+ (KNOTS - 1 - MIDDLE) / 2", "+ 0.0"),
        Fault("splines with a corner", "away**3 / 2", "away**3 / 3"),
        Fault(
            "a thin pen is a thick one",
            "if pen > 0 else min(there",
            "if True else min(there",
        ),
        Fault(
            "pens know no column",
            "ink[h, w - 1], ink[h, w + 1]",
            "ink[h, w], ink[h, w]",
        ),
        Fault(
            "the pen follows its own ink",
            "here = there = ink[h, w]",
            "here = there = result[h, w - 1]",
        ),
    ],
    ("training/signs.py", "training/test_signs.py"): [
        Fault(
            "signs: one way each",
            "WAYS[sign][rng.integers(len(WAYS[sign]))]",
            "WAYS[sign][0]",
        ),
        Fault(
            "signs: letters upon each other",
            "x += (high - low)[0] * scale",
            "x += 0 * scale",
        ),
        Fault("signs: all stand on the line", "0.7 if letter in DEEP else 0", "0"),
        Fault("signs: the chance of digits", "[seed, stream, 4]", "[seed, stream, 2]"),
    ],
    ("training/average.py", "training/test_average.py"): [
        Fault("no warm-up", "min(self.decay, steps / (steps + 10))", "self.decay"),
        Fault(
            "it weighs the new by the old", "np.float32(1 - decay)", "np.float32(decay)"
        ),
        Fault(
            "running statistics stand still",
            "in average.items():",
            "in list(average.items())[:2]:",
        ),
    ],
    ("models.py", "test_models.py"): [
        Fault("five views, none moved", "_moved(x, down, right)", "x"),
        Fault("five gradients, none moved back", "_moved(view, -down, -right)", "view"),
        Fault(
            "the sum of five views",
            "super().backward(np.tile(dy / self._looks",
            "super().backward(np.tile(dy",
        ),
        Fault(
            "training looks five times", "1 if training else len(PLACES)", "len(PLACES)"
        ),
        Fault(
            "one seed for all", "default_rng(seed)), seed)", "default_rng(0)), seed)"
        ),
        Fault(
            "dropout without the seed",
            "default_rng(seed)), seed)",
            "default_rng(seed)))",
        ),
    ],
    ("arguments.py", "test_arguments.py"): [
        Fault("the largest is refused", "<= int(text) <= most", "<= int(text) < most"),
        Fault(
            "zero is positive",
            "if not 0 < value <= most:",
            "if not 0 <= value <= most:",
        ),
        Fault("underscores in numbers", ' or c == "_"', ""),
        Fault("Ctrl-C is a success", "code = 130", "code = 0"),
    ],
    ("ink/normalize.py", "ink/test_normalize.py"): [
        Fault(
            "normalize: stretched", "side = max(tight.shape)", "side = min(tight.shape)"
        ),
        Fault("normalize: not centred", "CENTRE = 14", "CENTRE = 12"),
        Fault(
            "normalize: the axes of the centre swapped",
            "masses = box.sum(axis=1), box.sum(axis=0)",
            "masses = box.sum(axis=0), box.sum(axis=1)",
        ),
        Fault("normalize: the strongest is not 1", "= box / box.max()", "= box"),
        Fault(
            "normalize: ink in a corner of the square",
            "padding = (side - length) * BOX // (2 * side)",
            "padding = 0",
        ),
        Fault(
            "strokes: the pen grows with the digit", "[pen] * len", "[pen * 2] * len"
        ),
    ],
    ("ink/strokes.py", "ink/test_strokes.py"): [
        Fault("strokes: more points than can be read", "> MOST_POINTS", "> 10**9"),
        Fault("strokes: true is a number", "not isinstance(value, bool) and", ""),
        Fault(
            "strokes: pen widths are not held against the strokes",
            "if len(self.pen_widths) != len(self.points):",
            "if False:",
        ),
    ],
    ("reading/segment.py", "reading/test_segment.py"): [
        Fault("pieces: corners do not touch", "np.ones((3, 3), bool)", "None"),
        Fault("pieces: the soft edge is left out", "range(EDGE):", "range(0):"),
        Fault("cuts: ink costs nothing", "price = values + ", "price = 0 * values + "),
        Fault(
            "bonds: gaps do not part",
            "2 - 33 * gap() / height",
            "2 - 0 * gap() / height",
        ),
        Fault(
            "bonds: the parts of a component are strangers",
            "if neighbours else APART",
            "if False else APART",
        ),
        Fault(
            "lines: bottom to top",
            "np.mean([w.box[1] + w.box[3] for w in line])",
            "-np.mean([w.box[1] + w.box[3] for w in line])",
        ),
        Fault(
            "lines: pieces from right to left",
            "key=lambda number: page.pieces[number].middle",
            "key=lambda number: -page.pieces[number].middle",
        ),
        Fault("heights: dashes count", "< 3 * p.height] or pieces", "< 1e9] or pieces"),
    ],
    ("reading/segment.py", "reading/test_reader.py"): [
        Fault(
            "cuts: a blot is cut",
            "min(THICKEST * stroke, 0.6 * height)",
            "THICKEST * stroke",
        ),
        Fault(
            "lines: a broken digit is two",
            "if across > 0 and 0 <= -shared < 0.1 * (a.height + b.height):",
            "if False:",
        ),
        Fault(
            "lines: strokes that meet are on one line, however tall together",
            "if not others or both <= ONE_DIGIT * _typical_height(others):",
            "if True:",
        ),
        Fault(
            "meet: strokes side by side do",
            "SIDE_BY_SIDE = 0.5",
            "SIDE_BY_SIDE = 2.0",
        ),
    ],
    ("reading/reader.py", "reading/test_reader.py"): [
        Fault(
            "search: the bond before a candidate is forgotten",
            "so_far += parted[start - 1]",
            "so_far += 0.0",
        ),
        Fault(
            "search: inner bonds shifted",
            "joined[start : stop - 1]",
            "joined[start:stop]",
        ),
        Fault("search: from right to left", "return found[::-1]", "return found"),
        Fault("search: junk is as likely as a digit", "JUNK = -5.0", "JUNK = 0.0"),
        Fault("digit: nothing is refused", "confidence >= self.threshold", "True"),
        Fault("digit: the scale is forgotten", "edge * ink.scale for", "edge for"),
        Fault("reader: the judge is not asked", "named + judged[:, :10]", "named"),
        Fault(
            "reader: the judge's weights name digits",
            "models.load_naming(path, once=True)",
            "(models.load(path, once=True)[0], 1.0, {})",
        ),
        Fault(
            "reader: specks are read",
            "candidate.largest < segment.SMALLEST or",
            "False or",
        ),
        Fault("reader: a scribble's ends are digits", "around < 0", "False"),
        Fault("reader: cut digits are refused", "around > 0 and", "False and"),
        Fault("reader: all that was cut are digits", "LENIENT = 0.1", "LENIENT = 0"),
        Fault(
            "reader: a rule makes a scribble of digits",
            "or not _is_nothing(f, ink)",
            "or True",
        ),
    ],
    ("reading/result.py", "reading/test_reader.py"): [
        Fault("reading: lines run together", 'return "\\n".join(', 'return "".join('),
    ],
    ("ink/paper.py", "ink/test_paper.py"): [
        Fault(
            "frames: a 0 with a speck in it", "ONE_INSIDE * (bottom", "0.1 * (bottom"
        ),
        Fault("frames: a side may be open", "> 0.02 * W:", "> 2 * W:"),
    ],
    ("teaching/practice.py", "teaching/test_practice.py"): [
        Fault(
            "practice: a bad cut is no digit",
            "BEST_IS_DIGIT = 0.6",
            "BEST_IS_DIGIT = 1",
        ),
        Fault("practice: two are one", "(held[i] > HALF).sum() > 1", "False"),
        Fault(
            "practice: the ink of others is not asked",
            "np.minimum(held, ",
            "(held + 0 * ",
        ),
        Fault(
            "practice: labels of neighbours",
            "int(labels[best])",
            "int(labels[best - 1])",
        ),
    ],
    ("gradcheck.py", "test_gradcheck_command.py"): [
        Fault("a wrong gradient exits with 0", "return 1 if wrong else 0", "return 0"),
        Fault(
            "the seed is not passed on", "(layer, x, seed=arguments.seed)", "(layer, x)"
        ),
        Fault(
            "a traceback for the learner",
            "except (Exception, SystemExit) as",
            "except KeyError as",
        ),
    ],
}


class Workshop:
    """A copy of the project in which faults are planted, one at a time.

    Parameters
    ----------
    folder : Path
        An empty folder for the copy and for what Numba compiles.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.copy = folder, folder / "copy"
        self.copy.mkdir()
        for name in ("tinycnn", "tests"):
            unwanted = shutil.ignore_patterns("__pycache__", ".*")
            shutil.copytree(ROOT / name, self.copy / name, ignore=unwanted)
        for path in (self.copy / "tinycnn").rglob("*.py"):
            path.write_text(path.read_text("utf-8") + SPARE * "\n", "utf-8")
        for name in ("pyproject.toml", "README.md"):
            shutil.copy2(ROOT / name, self.copy / name)

    def try_tests(self, test: str) -> None:
        """Run a test file without any fault, which warms the caches, too.

        Raises
        ------
        LookupError
            If it does not pass.
        """
        code, failure, output = self._run(test, "cache")
        if code:
            print(output, flush=True)
            raise LookupError(f"without it, tests/{test} fails: {failure}")

    def plant(self, source: str, test: str, fault: Fault) -> str | None:
        """Plant a fault, run the tests, repair the copy.

        Returns
        -------
        str or None
            What failed, or None if nothing did.

        Raises
        ------
        LookupError
            If the fault cannot be planted.
        """
        path = self.copy / "tinycnn" / source
        original = path.read_text("utf-8") if path.is_file() else ""
        if original.count(fault.old) != 1:
            times = original.count(fault.old)
            raise LookupError(f"what it replaces occurs {times} times in {source}")
        damaged = original.replace(fault.old, fault.new)
        try:
            compile(damaged, path.name, "exec")
        except SyntaxError as error:
            raise LookupError(f"it is not even Python: {error}") from error
        # Kernels are compiled anew if a file of their folder has another size or time.
        # Where there is a kernel in it, they must be; elsewhere it would take minutes.
        size = len(original.encode())
        damaged = damaged.rstrip("\n")
        damaged += (size - len(damaged.encode())) * "\n"
        compiles = "@compiled" in original or "intrinsic" in original
        # In a cache of its own; the common one stays warm.
        cache = tempfile.mkdtemp(dir=self.folder) if compiles else "cache"
        status = path.stat()
        times = status.st_atime_ns, status.st_mtime_ns
        path.write_text(damaged, "utf-8")
        if not compiles:
            os.utime(path, ns=times)
        try:
            code, failure, _ = self._run(test, cache)
        finally:
            path.write_text(original, "utf-8")
            os.utime(path, ns=times)
        return failure if code else None

    def _run(self, test: str, cache: str) -> tuple[int, str, str]:
        """Run a test file until its first failure.

        Returns
        -------
        code : int
            Of pytest; negative if a signal ended it.
        failure : str
            The first test that failed, or how the run ended.
        output : str
        """
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-x",
            "-q",
            "-n=0",
            "-p",
            "no:cacheprovider",
        ]
        process = subprocess.Popen(
            [*command, f"tests/{test}"],
            cwd=self.copy,
            env=os.environ
            | {
                "PYTHONPATH": str(self.copy),
                "NUMBA_CACHE_DIR": str(self.folder / cache),
                # Python, too, trusts what it kept, if size and time are the same.
                "PYTHONDONTWRITEBYTECODE": "1",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # what a test has started is ended with it
        )
        try:
            output, _ = process.communicate(timeout=LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            return -signal.SIGKILL, f"no end within {LIMIT_SECONDS:.0f} s", ""
        if process.returncode < 0:
            name = signal.Signals(-process.returncode).name
            return process.returncode, name, output
        found = re.search(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", output, re.MULTILINE)
        return process.returncode, found[1] if found else "", output


def try_file(workshop: Workshop, source: str, test: str, faults: list[Fault]) -> int:
    """Plant the faults of one source file, print a line for each, count the caught."""
    caught = 0
    refusal = None
    try:
        workshop.try_tests(test)
    except LookupError as error:
        refusal = error
    for fault in faults:
        began = time.perf_counter()
        try:
            if refusal:
                raise refusal
            failure = workshop.plant(source, test, fault)
        except LookupError as error:
            print(f"CANNOT    {source}: {fault.name}: {error}", flush=True)
            continue
        seconds = time.perf_counter() - began
        if failure is None:
            print(f"SURVIVED  {source}: {fault.name} ({seconds:.1f} s)", flush=True)
        else:
            caught += 1
            by = failure.rpartition("::")[2]
            line = f"caught    {source}: {fault.name}, by {by} ({seconds:.1f} s)"
            print(line, flush=True)
    return caught


def main() -> int:
    """Run the campaign and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", metavar="TEXT", help="of name or file")
    only = parser.parse_args().only
    chosen = {
        files: [fault for fault in faults if only in f"{files[0]}: {fault.name}"]
        for files, faults in FAULTS.items()
    }
    chosen = {files: faults for files, faults in chosen.items() if faults}
    if not chosen:
        parser.error(f"no fault has {only!r} in its name or file")
    count = sum(len(faults) for faults in chosen.values())
    begin = time.perf_counter()
    with (
        tempfile.TemporaryDirectory() as folder,
        ThreadPoolExecutor(WORKERS) as workers,
    ):
        workshops: queue.SimpleQueue[Workshop] = queue.SimpleQueue()
        for _ in range(WORKERS):
            workshops.put(Workshop(Path(tempfile.mkdtemp(dir=folder))))

        def work(files: tuple[str, str]) -> int:
            workshop = workshops.get()
            try:
                return try_file(workshop, *files, chosen[files])
            finally:
                workshops.put(workshop)

        # The longest first, so that the workers end together.
        order = sorted(chosen, key=lambda files: -len(chosen[files]))
        caught = sum(workers.map(work, order))
    minutes = (time.perf_counter() - begin) / 60
    print(f"{caught} of {count} faults caught in {minutes:.1f} minutes")
    return 0 if caught == count else 1


if __name__ == "__main__":
    sys.exit(main())
