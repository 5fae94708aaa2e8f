"""Large constants of a graph in half precision, cast back to single where they are used."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx

_LARGE = 2**14  # numbers; smaller ones take little room
_LARGEST = float(np.finfo(np.float16).max)


def store_in_half(model: "onnx.ModelProto") -> int:
    """Store large single-precision constants as half of their bytes; how many bytes that saves.

    A constant with numbers beyond half precision's range stays as it is.
    """
    from onnx import TensorProto, helper, numpy_helper

    saved, casts = 0, []
    for constant in model.graph.initializer:
        if constant.data_type != TensorProto.FLOAT or np.prod(constant.dims) < _LARGE:
            continue
        values = numpy_helper.to_array(constant)
        if not np.abs(values).max() <= _LARGEST:
            continue
        name, before = constant.name, values.nbytes
        constant.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
        casts.append(helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
        saved += before // 2
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return saved
