"""Write a network for other libraries, as ONNX: ``python -m tinycnn.export``.

The graph takes ``images``, float32 (N, H, W, 1) in [0, 1] with ink 1 and paper 0, and
returns ``logits`` (N, K). N is free. Inside, images are NCHW, as ONNX has them:
transposed at the border, and back where a layer flattens. The metadata has the classes
(labels in the order of the logits) and the temperature to divide logits by, as JSON.
"""

import argparse
import json
from typing import TYPE_CHECKING, Any

from tinycnn import _cli

if TYPE_CHECKING:
    from tinycnn.nn import Sequential
    from tinycnn.nn.layers import Array

OPSET, IR_VERSION = 18, 8  # of 2022
AGREEMENT = 1e-4  # of the largest logit; rounding differs by some millionths


def main(argv: list[str] | None = None) -> int:
    """Run the command and return 0; failures leave by `SystemExit`."""
    arguments = _arguments(argv)

    from tinycnn import models
    from tinycnn.files import write_atomically
    from tinycnn.userfile import explained

    try:
        model, facts = models.load(arguments.weights, arguments.network)
        with explained(arguments.network):
            made = to_onnx(model, facts, views=5 if arguments.views else 1)
        write_atomically(arguments.file, [made.SerializeToString()])
    except ImportError:
        _cli.fail('this needs the package onnx; pip install "tinycnn[export]"')
    except (ValueError, OSError) as error:
        _cli.fail(error)
    views = _cli.counted(facts["views"], "view")
    what = f"{len(made.graph.node)} nodes of opset {OPSET}; validated with {views}"
    print(f"{arguments.file}: {what}")
    return 0


def to_onnx(model: "Sequential", facts: dict[str, Any], views: int = 1) -> Any:
    """Return a network as an `onnx.ModelProto`, compared with it on a few images.

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
        If a layer is none of the library's, which is named, or if the graph computes
        something else, because a layer was edited.
    """
    import numpy as np
    import onnx
    from onnx import helper
    from onnx.reference import ReferenceEvaluator

    from tinycnn import models

    H, W = facts["image_size"]
    K, graph, x = models.classes(model, (H, W)), Graph(), "images"
    if views > 1:  # all images where they are, then all one pixel to each side
        padded = graph.add("Pad", x, np.array([0, 1, 1, 0] * 2))
        starts, axes = 1 - np.array(models.OFFSETS), np.array([1, 2])
        ends = starts + np.array([H, W])
        both = zip(starts, ends, strict=True)
        slices = [graph.add("Slice", padded, *one, axes) for one in both]
        x = graph.add("Concat", *slices, axis=0)
    x = graph.add("Transpose", x, perm=[0, 3, 1, 2])
    x, _ = graph.add_layers(model, x, np.zeros((1, H, W, 1), np.float32))
    if views > 1:
        x = graph.add("Reshape", x, np.array([views, -1, K]))
        graph.add("ReduceMean", x, np.array([0]), keepdims=0)
    graph.nodes[-1].output[0] = "logits"
    images, logits = (
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in {"images": ("N", H, W, 1), "logits": ("N", K)}.items()
    )
    made = helper.make_model(
        helper.make_graph(graph.nodes, "tinycnn", [images], [logits], graph.constants),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    first = facts["first_label"]
    told = {"classes": [*range(first, first + K)], "temperature": facts["temperature"]}
    helper.set_model_props(made, {name: json.dumps(told[name]) for name in told})
    onnx.checker.check_model(made, full_check=True)
    some = np.random.default_rng(0).random((2, H, W), np.float32)
    wanted = models.predict(model, some, views)
    found: Any = ReferenceEvaluator(made).run(["logits"], {"images": some[..., None]})
    if np.abs(found[0] - wanted).max() > AGREEMENT * np.abs(wanted).max():
        raise ValueError(
            "the graph does not compute what the layers compute; was a layer edited? "
            "Restore it, and export again"
        )
    return made


class Graph:
    """The nodes and the constants of a graph, each a list."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def add(self, kind: str, *inputs: "str | Array", **attributes: Any) -> str:
        """Add a node of inputs, names or constants; return the name of its output."""
        from onnx import helper, numpy_helper

        names, output = [], f"{kind}_{len(self.nodes)}"
        for one in inputs:
            if not isinstance(one, str):
                name = f"constant_{len(self.constants)}"
                self.constants.append(numpy_helper.from_array(one.copy(), name))
            names.append(one if isinstance(one, str) else name)
        self.nodes.append(helper.make_node(kind, names, [output], **attributes))
        return output

    def add_layers(
        self, model: "Sequential", x: str, like: "Array", within: str = ""
    ) -> "tuple[str, Array]":
        """Add all layers; return the output's name, and what they make of ``like``.

        Its shape, NHWC or (N, D), tells each layer the size of its input; in the graph,
        x is NCHW.
        """
        from tinycnn import nn

        for number, layer in enumerate(model.layers):
            one: Any = layer
            kind, place = type(one), f"{within}{number}"  # a subclass is unknown
            if kind is nn.Conv2D:
                top, bottom, left, right = one.margins(*like.shape[1:3])
                weight = one.weight.value.transpose(3, 2, 0, 1)
                sides = {"pads": [top, left, bottom, right], "strides": one.stride}
                x = self.add("Conv", x, weight, one.bias.value, **sides)
            elif kind is nn.MaxPool2D:
                sides = {"kernel_shape": one.kernel_size, "strides": one.stride}
                x = self.add("MaxPool", x, **sides)
            elif kind is nn.BatchNorm2D:
                arrays = [*(p.value for p in one.parameters())]
                arrays += [one.running_mean, one.running_var]
                x = self.add("BatchNormalization", x, *arrays, epsilon=one.eps)
            elif kind is nn.ReLU:
                x = self.add("Relu", x)
            elif kind is nn.GlobalAveragePool2D:
                x = self.add("Flatten", self.add("GlobalAveragePool", x))
            elif kind is nn.Flatten:
                if like.ndim == 4:
                    x = self.add("Transpose", x, perm=[0, 2, 3, 1])
                x = self.add("Flatten", x)
            elif kind is nn.Dense:
                x = self.add("Gemm", x, one.weight.value, one.bias.value)
            elif kind is nn.Sequential:
                x, _ = self.add_layers(one, x, like, f"{place}.")
            elif kind is not nn.Dropout:  # which drops in training alone
                raise ValueError(
                    f"layer {place} ({kind.__name__}) is unknown to ONNX; only the "
                    "layers of tinycnn.nn can be exported"
                )
            like = layer.forward(like)
        return x, like


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = _cli.Parser(
        "tinycnn export",
        "Write a network for other libraries, as ONNX.",
        example="runs/first/weights.safetensors digits.onnx",
        json=False,
    )
    add = parser.add_argument
    weights = "a weights.safetensors of a run"
    add("weights", type=_cli.existing_file, metavar="WEIGHTS", help=weights)
    add("file", metavar="FILE.onnx", help="the file to write")
    network = "the file that defines the network of these weights, if it is your own"
    add("--network", type=_cli.user_function, metavar="FILE.py:NAME", help=network)
    views = "the mean of five shifted inputs, as evaluate takes it, in the graph"
    add("--views", action="store_true", help=views)
    return parser.parse_args(argv)


if __name__ == "__main__":
    _cli.run_command(main)
