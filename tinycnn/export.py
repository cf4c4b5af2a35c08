"""Write a network for other libraries, as ONNX: ``python -m tinycnn.export``.

The graph takes ``images``, float32 (N, H, W, 1) in [0, 1] with ink 1 and paper 0, and
returns ``logits`` (N, K). N is free. Inside, images are NCHW, as ONNX has them:
transposed at the border, and back where a layer flattens. The metadata has the classes
(labels in the order of the logits) and the temperature of the views of training.
"""

from collections.abc import Iterator
from typing import Any

from tinycnn import _cli

OPSET, IR_VERSION = 18, 8  # of 2022
AGREEMENT = 1e-4  # of the largest logit; rounding differs by some millionths


def main(argv: list[str] | None = None) -> int:
    """Run the command and return 0; failures leave by `SystemExit`."""
    about = "Write a network for other libraries, as ONNX."
    example = "runs/first/weights.safetensors digits.onnx"
    parser = _cli.Parser("tinycnn export", about, example=example, json=False)
    add = parser.add_argument
    add("weights", type=_cli.existing_file, metavar="WEIGHTS", help="a weights file")
    add("file", type=_cli.file_to_write(".onnx"), metavar="FILE.onnx", help="to write")
    network = "the file that defines the network of these weights, if it is your own"
    add("--network", type=_cli.user_function, metavar="FILE.py:NAME", help=network)
    add("--views", action="store_true", help="average five shifted inputs")
    arguments = parser.parse_args(argv)
    from tinycnn import models
    from tinycnn.files import write_atomically

    try:
        model, facts = models.load(arguments.weights, arguments.network)
        made = to_onnx(model, facts, views=5 if arguments.views else 1)
        write_atomically(arguments.file, [made.SerializeToString()])
    except ImportError as error:
        _cli.fail(f'{error}; pip install "tinycnn[export]"')
    except (ValueError, OSError, ArithmeticError) as error:
        _cli.fail(error)
    print(f"{arguments.file}: {len(made.graph.node)} nodes of opset {OPSET}")
    return 0


def to_onnx(model: Any, facts: dict[str, Any], views: int = 1) -> Any:
    """Return a network as an `onnx.ModelProto`, compared with it on two images.

    Parameters
    ----------
    model : Sequential
    facts : dict
        Of `tinycnn.models.load`.
    views : int
        1 or 5, as in `tinycnn.models.predict`.

    Raises
    ------
    ValueError
        If a layer is none of the library's, which is named, or was edited.
    """
    import numpy as np
    import onnx.parser
    from onnx.reference import ReferenceEvaluator

    from tinycnn import models

    H, W = facts["image_size"]
    layers = [*_nodes(model, np.zeros((1, H, W, 1), np.float32))]  # or one is unknown
    K = models.classes(model, (H, W))
    nodes: list[str] = []
    constants: list[Any] = []

    def add(kind: str, *inputs: Any) -> str:
        """Add a node of inputs, names or constants; return the name of its output."""
        names = []
        for one in inputs:
            if not isinstance(one, str):
                array, name = np.array(one, order="C"), f"c{len(constants)}"
                constants.append(onnx.numpy_helper.from_array(array, name))
            names.append(one if isinstance(one, str) else name)
        nodes.append(f"x{len(nodes)} = {kind} ({', '.join(names)})")
        return f"x{len(nodes) - 1}"

    x = "images"
    if views > 1:  # all images where they are, then all one pixel to each side
        x, starts = add("Pad", x, [0, 1, 1, 0] * 2), 1 - np.array(models.OFFSETS)
        parts = [add("Slice", x, at, at + np.array([H, W]), [1, 2]) for at in starts]
        x = add("Concat <axis = 0>", *parts)
    x = add("Transpose <perm = [0, 3, 1, 2]>", x)
    for kind, *arrays in layers:
        x = add(kind, x, *arrays)
    if views > 1:
        x = add("ReduceMean <keepdims = 0>", add("Reshape", x, [views, -1, K]), [0])
    classes = [*range(facts["first_label"], facts["first_label"] + K)]
    made = onnx.parser.parse_model(f"""
        <ir_version: {IR_VERSION}, opset_import: ["": {OPSET}], metadata_props:
            ["classes": "{classes}", "temperature": "{facts["temperature"]}"]>
        tinycnn (float[N, {H}, {W}, 1] images) => (float[N, {K}] logits)
        {{ {" ".join(nodes)} logits = Identity ({x}) }}""")
    made.graph.initializer.extend(constants)
    some = np.random.default_rng(0).random((2, H, W), np.float32)
    wanted = models.predict(model, some, views)
    found: Any = ReferenceEvaluator(made).run(["logits"], {"images": some[..., None]})
    if np.abs(found[0] - wanted).max() > AGREEMENT * np.abs(wanted).max():
        raise ValueError("the layers compute something else; was a layer edited?")
    return made


def _nodes(model: Any, like: Any, within: str = "") -> Iterator[tuple[Any, ...]]:
    """Yield the nodes that compute all layers in a row, each a kind and its constants.

    ``like`` has the shape of the input of the first layer; in the graph it is NCHW.
    """
    from tinycnn import nn

    for number, layer in enumerate(model.layers):
        one: Any = layer
        kind = type(one)  # a subclass is unknown
        if kind is nn.Conv2D:
            top, bottom, left, right = one.margins(*like.shape[1:3])
            how = f"pads = {[top, left, bottom, right]}, strides = {[*one.stride]}"
            weight = one.weight.value.transpose(3, 2, 0, 1)
            yield f"Conv <{how}>", weight, one.bias.value
        elif kind is nn.MaxPool2D:
            sizes, strides = [*one.kernel_size], [*one.stride]
            yield (f"MaxPool <kernel_shape = {sizes}, strides = {strides}>",)
        elif kind is nn.BatchNorm2D:
            arrays = *(p.value for p in one.parameters()), one.running_mean
            how = f"epsilon = {float(one.eps)}"
            yield f"BatchNormalization <{how}>", *arrays, one.running_var
        elif kind is nn.ReLU:
            yield ("Relu",)
        elif kind is nn.GlobalAveragePool2D:
            yield from [("GlobalAveragePool",), ("Flatten",)]
        elif kind is nn.Flatten:
            if like.ndim == 4:
                yield ("Transpose <perm = [0, 2, 3, 1]>",)
            yield ("Flatten",)
        elif kind is nn.Dense:
            yield "Gemm", one.weight.value, one.bias.value
        elif kind is nn.Sequential:
            yield from _nodes(one, like, f"{within}{number}.")
        elif kind is not nn.Dropout:  # which drops in training alone
            name = f"layer {within}{number} ({kind.__name__})"
            raise ValueError(f"{name} is none of tinycnn.nn, and unknown to ONNX")
        like = layer.forward(like)


if __name__ == "__main__":
    _cli.run_command(main)
