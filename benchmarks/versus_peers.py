"""The contestants: each builds the same network from the same arrays, in its own way.

====================== ===============================================================
``tinycnn``            this library: ``fuse`` and ``fast.Adam``
``tinycnn-plain``      the layers and Adam as they are written
``torch-nchw``         PyTorch eager, Adam in one kernel (``fused``); inference in
                       ``inference_mode``
``torch-nhwc``         the same with images and weights ``channels_last``
``...-tuned``          the same with an allocator that keeps its memory (`TUNED`);
                       inference traced, frozen and optimised
``tensorflow``         Keras layers in a ``tf.function``
``jax``                ``jax.jit`` of the whole step, its buffers donated
``sgemm``              no network: NumPy's product of two matrices, the yardstick
====================== ===============================================================

All compute the mean softmax cross-entropy and take a step of Adam (0.9, 0.999, 1e-8),
in float32. Making a framework's array of a batch is not part of the step. A library is
imported only by the contestant that uses it.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.versus_networks import Arrays, Network, output_shapes

SIDE = 2048  # of the matrices of the yardstick
SGEMM_FLOP = 2 * SIDE**3
TUNED = {
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
    "MALLOC_TRIM_THRESHOLD_": "8589934592",
    "MALLOC_TOP_PAD_": "268435456",
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}


@dataclass(frozen=True)
class Contestant:
    """A network that can be trained and evaluated.

    Attributes
    ----------
    version : str
    prepare : callable
        Turns images, float32 (N, 28, 28, 1), and labels, int64 (N,), into a batch of
        the contestant's own.
    train : callable
        Takes a step on a batch and returns the loss before it, a float.
    infer : callable
        Returns the logits of a batch, something that `numpy.asarray` understands.
        When either returns, the work is done.
    """

    version: str
    prepare: Callable[[NDArray[np.float32], NDArray[np.int64]], Any]
    train: Callable[[Any], float]
    infer: Callable[[Any], Any]


class Job(NamedTuple):
    """What a contestant is built from."""

    network: Network
    arrays: Arrays
    threads: int
    learning_rate: float


def as_layers(network: Network, arrays: Arrays) -> Any:
    """Return a `Sequential` of this library's layers that starts with the arrays."""
    from tinycnn import nn

    rng = np.random.default_rng(0)
    layers: list[nn.Layer] = []
    for layer in network:
        match layer:
            case ["conv", C, F, K, padding]:
                edge = 0 if padding == "valid" else padding
                layers.append(nn.Conv2D(C, F, K, padding=edge, rng=rng))
            case ["relu"]:
                layers.append(nn.ReLU())
            case ["pool", K]:
                layers.append(nn.MaxPool2D(K))
            case ["norm", C]:
                layers.append(nn.BatchNorm2D(C))
            case ["dropout", rate]:
                layers.append(nn.Dropout(rate))
            case ["flatten"]:
                layers.append(nn.Flatten())
            case ["dense", I, O]:
                layers.append(nn.Dense(I, O, rng=rng))
    model = nn.Sequential(layers)
    for name, array in model.state().items():
        array[...] = arrays[name]
    return model


def tinycnn(job: Job, *, fused: bool = True, fast_adam: bool = True) -> Contestant:
    """Build the network from this library's layers."""
    from importlib.metadata import version

    from tinycnn import fast, nn
    from tinycnn.threads import use_threads

    use_threads(job.threads)
    model = as_layers(job.network, job.arrays)
    runner = fast.fuse(model) if fused else model
    make_optimizer = fast.Adam if fast_adam else nn.Adam
    optimizer = make_optimizer(model.parameters(), job.learning_rate)

    def train(batch: Any) -> float:
        images, labels = batch
        logits = runner.forward(images, training=True)
        loss, dlogits = nn.softmax_cross_entropy(logits, labels)
        runner.backward(dlogits)
        optimizer.step()
        return loss

    return Contestant(
        f"tinycnn {version('tinycnn')}",
        lambda images, labels: (images, labels),
        train,
        lambda batch: runner.forward(batch[0]),
    )


def sgemm(job: Job) -> Contestant:  # noqa: ARG001
    """Make two matrices to be multiplied, whatever the batch."""
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, SIDE, SIDE), np.float32)
    y = np.empty_like(a)
    return Contestant(
        f"numpy {np.__version__}",
        lambda images, labels: None,  # noqa: ARG005
        lambda batch: float(np.dot(a, b, out=y)[0, 0]),  # noqa: ARG005
        lambda batch: np.dot(a, b, out=y),  # noqa: ARG005
    )


def torch(job: Job, *, channels_last: bool, tuned: bool) -> Contestant:
    """Build the network from PyTorch's modules."""
    import torch
    from torch import nn

    torch.set_num_threads(job.threads)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    shapes = output_shapes(job.network)
    flattened: tuple[int, ...] | None = None  # the image that the next dense layer gets
    modules: list[Any] = []
    for number, layer in enumerate(job.network):
        arrays = {
            name.partition(".")[2]: array
            for name, array in job.arrays.items()
            if name.startswith(f"{number}.")
        }
        match layer:
            case ["conv", C, F, K, padding]:
                modules.append(nn.Conv2d(C, F, K, padding=padding))
                arrays["weight"] = arrays["weight"].transpose(3, 2, 0, 1)
            case ["relu"]:
                modules.append(nn.ReLU())
            case ["pool", K]:
                modules.append(nn.MaxPool2d(K))
            case ["norm", C]:
                modules.append(nn.BatchNorm2d(C, eps=1e-5, momentum=0.1))
            case ["dropout", rate]:
                modules.append(nn.Dropout(rate))
            case ["flatten"]:
                modules.append(nn.Flatten())
                flattened = shapes[number - 1]
            case ["dense", I, O]:
                modules.append(nn.Linear(I, O))
                weight = arrays["weight"]
                if flattened is not None:  # PyTorch puts channels before rows
                    weight = weight.reshape(*flattened, O).transpose(2, 0, 1, 3)
                    flattened = None
                arrays["weight"] = weight.reshape(I, O).T
        with torch.no_grad():
            for name, array in arrays.items():
                value = torch.from_numpy(np.ascontiguousarray(array))
                getattr(modules[-1], name).copy_(value)
    model = nn.Sequential(*modules).to(memory_format=layout)
    optimizer = torch.optim.Adam(model.parameters(), job.learning_rate, fused=True)
    # By shape of a batch, with the weights of that moment: only without training.
    frozen: dict[tuple[int, ...], Any] = {}

    def prepare(images: NDArray[np.float32], labels: NDArray[np.int64]) -> Any:
        x = torch.from_numpy(images).permute(0, 3, 1, 2)
        return x.contiguous(memory_format=layout), torch.from_numpy(labels)

    def train(batch: Any) -> float:
        x, labels = batch
        model.train()
        optimizer.zero_grad(set_to_none=True)
        loss = nn.functional.cross_entropy(model(x), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    def infer(batch: Any) -> Any:
        x, _ = batch
        with torch.inference_mode():
            return model.eval()(x)

    def infer_frozen(batch: Any) -> Any:
        x, _ = batch
        if x.shape not in frozen:
            with warnings.catch_warnings():  # torch.jit is deprecated
                warnings.simplefilter("ignore")
                traced = torch.jit.freeze(torch.jit.trace(model.eval(), x))
                frozen[x.shape] = torch.jit.optimize_for_inference(traced)
        with torch.inference_mode():
            return frozen[x.shape](x)

    chosen = infer_frozen if tuned else infer
    return Contestant(f"torch {torch.__version__}", prepare, train, chosen)


def tensorflow(job: Job) -> Contestant:
    """Build the network from Keras layers, and compile its step into a graph."""
    import keras
    import tensorflow as tf
    from keras import layers as kl

    tf.config.threading.set_intra_op_parallelism_threads(job.threads)
    tf.config.threading.set_inter_op_parallelism_threads(job.threads)
    made: list[Any] = []
    for layer in job.network:
        match layer:
            case ["conv", _, F, K, padding]:
                made.append(kl.Conv2D(F, K, padding=padding))
            case ["relu"]:
                made.append(kl.ReLU())
            case ["pool", K]:
                made.append(kl.MaxPooling2D(K))
            case ["norm", _]:
                made.append(kl.BatchNormalization(epsilon=1e-5, momentum=0.9))
            case ["dropout", rate]:
                made.append(kl.Dropout(rate))
            case ["flatten"]:
                made.append(kl.Flatten())
            case ["dense", _, O]:
                made.append(kl.Dense(O))
    model = keras.Sequential([keras.Input((28, 28, 1)), *made])
    # Keras orders a layer's arrays as these names are ordered.
    names = ("weight", "bias", "running_mean", "running_var")
    for number, layer in enumerate(made):
        keys = [f"{number}.{name}" for name in names]
        layer.set_weights([job.arrays[key] for key in keys if key in job.arrays])
    optimizer = keras.optimizers.Adam(job.learning_rate, epsilon=1e-8)
    optimizer.build(model.trainable_variables)
    loss_of = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    @tf.function
    def step(images: Any, labels: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = loss_of(labels, model(images, training=True))
        grads = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(grads, model.trainable_variables, strict=True))
        return loss

    @tf.function
    def logits(images: Any) -> Any:
        return model(images, training=False)

    return Contestant(
        f"tensorflow {tf.__version__}",
        lambda images, labels: (tf.constant(images), tf.constant(labels)),
        lambda batch: float(step(*batch).numpy()),
        lambda batch: logits(batch[0]).numpy(),
    )


def jax(job: Job) -> Contestant:
    """Build the network from JAX's functions, and compile its step."""
    import jax
    import jax.numpy as jnp
    from jax import lax

    def forward(arrays: Any, x: Any, key: Any) -> tuple[Any, Any]:
        """Return logits and running averages; without a key it is inference."""
        running = {}
        for number, layer in enumerate(job.network):
            weight, bias = (arrays.get(f"{number}.{n}") for n in ("weight", "bias"))
            match layer:
                case ["conv", _, _, _, padding]:
                    x = bias + lax.conv_general_dilated(
                        x,
                        weight,
                        (1, 1),
                        padding.upper(),
                        dimension_numbers=("NHWC", "HWIO", "NHWC"),
                    )
                case ["relu"]:
                    x = jax.nn.relu(x)
                case ["pool", K]:
                    window = (1, K, K, 1)
                    x = lax.reduce_window(x, -jnp.inf, lax.max, window, window, "VALID")
                case ["norm", _]:
                    names = [f"{number}.running_{what}" for what in ("mean", "var")]
                    mean, var = (arrays[name] for name in names)
                    if key is not None:
                        M = x.size // x.shape[-1]
                        now = x.mean(axis=(0, 1, 2)), x.var(axis=(0, 1, 2))
                        running[names[0]] = 0.9 * mean + 0.1 * now[0]
                        running[names[1]] = 0.9 * var + 0.1 * now[1] * M / (M - 1)
                        mean, var = now
                    x = weight * (x - mean) / jnp.sqrt(var + 1e-5) + bias
                case ["dropout", rate]:
                    if key is not None:
                        key, mine = jax.random.split(key)
                        survives = jax.random.bernoulli(mine, 1 - rate, x.shape)
                        x = jnp.where(survives, x / (1 - rate), 0)
                case ["flatten"]:
                    x = x.reshape(len(x), -1)
                case ["dense", _, _]:
                    x = x @ weight + bias
        return x, running

    def loss_of(learned: Any, fixed: Any, key: Any, x: Any, labels: Any) -> Any:
        logits, running = forward(learned | fixed, x, key)
        log_p = jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], 1)
        return -log_p.mean(), running

    def step(
        learned: Any, fixed: Any, m: Any, v: Any, t: Any, x: Any, labels: Any
    ) -> Any:
        key = jax.random.fold_in(jax.random.key(0), t)
        (loss, running), grads = jax.value_and_grad(loss_of, has_aux=True)(
            learned, fixed, key, x, labels
        )
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, grads)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, grads)
        learned = jax.tree.map(
            lambda value, m, v: (
                value
                - job.learning_rate
                * (m / (1 - 0.9**t))
                / (jnp.sqrt(v / (1 - 0.999**t)) + 1e-8)
            ),
            learned,
            m,
            v,
        )
        return (learned, running, m, v, t + 1), loss

    arrays = {name: jnp.array(array) for name, array in job.arrays.items()}
    fixed = {name: array for name, array in arrays.items() if "running" in name}
    learned = {name: array for name, array in arrays.items() if name not in fixed}
    zeros = [jax.tree.map(jnp.zeros_like, learned) for _ in range(2)]
    state = [(learned, fixed, *zeros, jnp.array(1))]
    compiled = jax.jit(step, donate_argnums=(0, 1, 2, 3, 4))
    logits = jax.jit(lambda arrays, x: forward(arrays, x, None)[0])

    def train(batch: Any) -> float:
        state[0], loss = compiled(*state[0], *batch)
        jax.block_until_ready(state[0])
        return float(loss)

    def infer(batch: Any) -> Any:
        learned, fixed, *_ = state[0]
        return logits(learned | fixed, batch[0]).block_until_ready()

    return Contestant(
        f"jax {jax.__version__}",
        lambda images, labels: (jnp.array(images), jnp.array(labels)),
        train,
        infer,
    )


@dataclass(frozen=True)
class Peer:
    """How to get and start a contestant."""

    build: Callable[[Job], Contestant]
    module: str  # it is installed if this can be imported
    remedy: str  # the command that installs it
    environment: dict[str, str] = field(default_factory=dict)  # of its process


TORCH = "pip install torch==2.13.0, a build for CPUs"
OURS = {
    "tinycnn": Peer(tinycnn, "tinycnn", "pip install -e ."),
    "tinycnn-plain": Peer(
        partial(tinycnn, fused=False, fast_adam=False), "tinycnn", "pip install -e ."
    ),
    "sgemm": Peer(sgemm, "numpy", "pip install numpy"),
}
PEERS = {
    **{
        f"torch-{layout}{'-tuned' * tuned}": Peer(
            partial(torch, channels_last=layout == "nhwc", tuned=tuned),
            "torch",
            TORCH,
            TUNED if tuned else {},
        )
        for layout in ("nchw", "nhwc")
        for tuned in (False, True)
    },
    "tensorflow": Peer(tensorflow, "tensorflow", "pip install tensorflow-cpu"),
    "jax": Peer(jax, "jax", "pip install jax jaxlib"),
}
