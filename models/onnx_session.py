"""ONNX Runtime sessions on a CPU; importable without torch."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnxruntime


def cpu_session(
    graph: bytes, num_threads: int, *, keep_memory: bool = False
) -> "onnxruntime.InferenceSession":
    """Load a serialized ONNX graph; several threads may call it at once.

    Threads do not spin, which would use the CPU in an idle replica.

    Args:
        graph: serialized ``onnx.ModelProto``.
        num_threads: of one call.
        keep_memory: keep the memory of a call for the next one: as much as the most and largest inputs that
            ever ran at once.

    Raises:
        Exception: of ONNX Runtime, if it is no graph that it can run; its exceptions share no class.
    """
    import onnxruntime  # here: most importers need it only in one process

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = keep_memory
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # exact products of int8 on processors without VNNI, which add pairs of them in 16 bits and overflow
    options.add_session_config_entry("session.x64quantprecision", "1")
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
