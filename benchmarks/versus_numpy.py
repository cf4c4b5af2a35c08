"""A network in plain NumPy, as most who write one from scratch do: im2col and `@`.

Every patch that a kernel meets is laid in a row of a matrix, a slice a kernel cell at a
time, and a convolution is one matrix product. It is the slowest contestant and the
simplest, and what the others compute is held against it in the tests.

It knows NumPy and the list of layers of `benchmarks.versus_networks`. It does not know
tinycnn: nothing here is shared with what it is compared to.
"""

import numpy as np
from numpy.typing import NDArray

from benchmarks.versus_networks import Arrays, Network

Array = NDArray[np.float32]
EPS = np.float32(1e-5)  # of batch norm
MOMENTUM = np.float32(0.1)


class PlainNetwork:
    """A network that learns by Adam, in float32.

    Parameters
    ----------
    network : Network
    arrays : Arrays
        Copied.
    learning_rate : float
    """

    def __init__(self, network: Network, arrays: Arrays, learning_rate: float) -> None:
        self.network = network
        self.arrays = {name: array.copy() for name, array in arrays.items()}
        self.learning_rate = learning_rate
        self.rng = np.random.default_rng(0)
        self.steps = 0
        learned = [name for name in arrays if "running" not in name]
        self.m = {name: np.zeros_like(arrays[name]) for name in learned}
        self.v = {name: np.zeros_like(arrays[name]) for name in learned}
        self.tape: list[tuple[Array, ...]] = []  # what each layer's backward needs

    def train(self, images: Array, labels: NDArray[np.int64]) -> float:
        """Take one step and return the loss before it.

        Parameters
        ----------
        images : float32 array (N, H, W, C)
        labels : int64 array (N,)
        """
        logits = self.forward(images, training=True)
        z = logits - logits.max(axis=1, keepdims=True)
        log_p = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
        each = np.arange(len(labels))
        dlogits = np.exp(log_p)
        dlogits[each, labels] -= 1
        self.adam(self.backward(dlogits / np.float32(len(labels))))
        return float(-log_p[each, labels].mean())

    def forward(self, x: Array, training: bool = False) -> Array:
        """Map images (N, H, W, C) to what the last layer gives."""
        self.tape = []
        for number, layer in enumerate(self.network):
            weight = self.arrays.get(f"{number}.weight")
            bias = self.arrays.get(f"{number}.bias")
            match layer:
                case ["conv", _, F, K, padding]:
                    edge = K // 2 if padding == "same" else 0
                    x = np.pad(x, ((0, 0), (edge, edge), (edge, edge), (0, 0)))
                    cols = im2col(x, K)
                    self.tape.append((cols, x))
                    y = cols.reshape(-1, cols[0, 0, 0].size) @ weight.reshape(-1, F)
                    x = (y + bias).reshape(*cols.shape[:3], F)
                case ["relu"]:
                    self.tape.append((x > 0,))
                    x = np.maximum(x, 0)
                case ["pool", K]:
                    windows = as_windows(x, K)
                    winner = windows.argmax(axis=-1)[..., np.newaxis]
                    self.tape.append((winner, x))
                    x = np.take_along_axis(windows, winner, axis=-1)[..., 0]
                case ["norm", _]:
                    x = self._norm(number, x, training)
                case ["dropout", rate]:
                    scale = np.ones_like(x)
                    if training:
                        survives = self.rng.random(x.shape, np.float32) >= rate
                        scale = survives * np.float32(1 / (1 - rate))
                    self.tape.append((scale,))
                    x = x * scale
                case ["flatten"]:
                    self.tape.append((x,))
                    x = x.reshape(len(x), -1)
                case ["dense", _, _]:
                    self.tape.append((x,))
                    x = x @ weight + bias
        return x

    def backward(self, dy: Array) -> Arrays:
        """Return the gradient of every learned array, from that of what forward gave.

        Parameters
        ----------
        dy : float32 array (N, K)
        """
        grads: Arrays = {}
        for number, layer in reversed(list(enumerate(self.network))):
            weight = self.arrays.get(f"{number}.weight")
            kept = self.tape[number]
            match layer:
                case ["conv", _, F, K, padding]:
                    cols, x = kept
                    rows = dy.reshape(-1, F)
                    flat = cols.reshape(len(rows), -1)
                    grads[f"{number}.weight"] = (flat.T @ rows).reshape(weight.shape)
                    grads[f"{number}.bias"] = rows.sum(axis=0)
                    if number == 0:
                        return grads  # nobody asks how the image should change
                    dcols = (rows @ weight.reshape(-1, F).T).reshape(cols.shape)
                    dx = col2im(dcols, x.shape, K)
                    edge = K // 2 if padding == "same" else 0
                    _, H, W, _ = x.shape
                    dy = dx[:, edge : H - edge, edge : W - edge]
                case ["relu"] | ["dropout", _]:
                    dy = dy * kept[0]
                case ["pool", K]:
                    winner, x = kept
                    dwindows = np.zeros((*dy.shape, K * K), dy.dtype)
                    np.put_along_axis(dwindows, winner, dy[..., np.newaxis], axis=-1)
                    dy = from_windows(dwindows, x.shape, K)
                case ["norm", _]:
                    x_hat, std = kept
                    grads[f"{number}.weight"] = (dy * x_hat).sum(axis=(0, 1, 2))
                    grads[f"{number}.bias"] = dy.sum(axis=(0, 1, 2))
                    M = np.float32(dy.size // dy.shape[-1])
                    mean_dy = grads[f"{number}.bias"] / M
                    mean_dy_x_hat = grads[f"{number}.weight"] / M
                    dy = (dy - mean_dy - x_hat * mean_dy_x_hat) * (weight / std)
                case ["flatten"]:
                    dy = dy.reshape(kept[0].shape)
                case ["dense", _, _]:
                    grads[f"{number}.weight"] = kept[0].T @ dy
                    grads[f"{number}.bias"] = dy.sum(axis=0)
                    dy = dy @ weight.T
        return grads

    def adam(self, grads: Arrays) -> None:
        """Change every learned array (Kingma and Ba 2015, algorithm 1)."""
        self.steps += 1
        for name, grad in grads.items():
            m, v = self.m[name], self.v[name]
            m += np.float32(0.1) * (grad - m)
            v += np.float32(0.001) * (grad * grad - v)
            step = m / np.float32(1 - 0.9**self.steps)
            step /= np.sqrt(v / np.float32(1 - 0.999**self.steps)) + np.float32(1e-8)
            self.arrays[name] -= np.float32(self.learning_rate) * step

    def _norm(self, number: int, x: Array, training: bool) -> Array:
        """Normalise every channel, in training by this batch."""
        mean = self.arrays[f"{number}.running_mean"]
        var = self.arrays[f"{number}.running_var"]
        if training:
            M = x.size // x.shape[-1]
            batch_mean, batch_var = x.mean(axis=(0, 1, 2)), x.var(axis=(0, 1, 2))
            mean += MOMENTUM * (batch_mean - mean)
            var += MOMENTUM * (batch_var * np.float32(M / (M - 1)) - var)
            mean, var = batch_mean, batch_var
        std = np.sqrt(var + EPS)
        x_hat = (x - mean) / std
        self.tape.append((x_hat, std))
        return self.arrays[f"{number}.weight"] * x_hat + self.arrays[f"{number}.bias"]


def im2col(x: Array, K: int) -> Array:
    """Lay the patches of images (N, H, W, C) out as (N, OH, OW, K, K, C)."""
    N, H, W, C = x.shape
    OH, OW = H - K + 1, W - K + 1
    cols = np.empty((N, OH, OW, K, K, C), x.dtype)
    for kh in range(K):
        for kw in range(K):
            cols[:, :, :, kh, kw] = x[:, kh : kh + OH, kw : kw + OW]
    return cols


def col2im(cols: Array, shape: tuple[int, ...], K: int) -> Array:
    """Add patches (N, OH, OW, K, K, C) back to where they came from."""
    x = np.zeros(shape, cols.dtype)
    _, OH, OW = cols.shape[:3]
    for kh in range(K):
        for kw in range(K):
            x[:, kh : kh + OH, kw : kw + OW] += cols[:, :, :, kh, kw]
    return x


def as_windows(x: Array, K: int) -> Array:
    """Lay the K×K windows of (N, H, W, C) out as (N, OH, OW, C, K * K)."""
    N, H, W, C = x.shape
    OH, OW = H // K, W // K
    x = x[:, : OH * K, : OW * K].reshape(N, OH, K, OW, K, C)
    return x.transpose(0, 1, 3, 5, 2, 4).reshape(N, OH, OW, C, K * K)


def from_windows(windows: Array, shape: tuple[int, ...], K: int) -> Array:
    """Lay windows (N, OH, OW, C, K * K) back into images; what none held is 0."""
    N, OH, OW, C, _ = windows.shape
    inner = windows.reshape(N, OH, OW, C, K, K).transpose(0, 1, 4, 2, 5, 3)
    x = np.zeros(shape, windows.dtype)
    x[:, : OH * K, : OW * K] = inner.reshape(N, OH * K, OW * K, C)
    return x
