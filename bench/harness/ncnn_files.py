"""Networks for ncnn: its two files, written without a converter, and opened with the options that are compared."""

from minicnn.layers import Conv2d, MaxPool2d, ReLU

MAGIC = 7767517
ON = ("winograd_convolution", "sgemm_convolution", "packing_layout")
OFF = ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_packed", "bf16_storage")         # float32, as in all other engines
SETTINGS = "winograd, sgemm and packing on, fp16 and bf16 off, num_threads"


def write_ncnn(layers, shape, folder):
    """Write ``ncnn.param``, a line a layer, and ``ncnn.bin``, the weights one after the other.

    Args:
        layers: (name, layer) pairs that run in sequence: convolutions with square kernels, each with the ReLU behind it fused, and
            max pooling of 2 x 2.
        shape: (1, C, H, W) of the input.
        folder: to write into.
    """
    layers, (_, channels, height, width) = list(layers), shape
    lines, last = [f"Input input 0 1 input 0={width} 1={height} 2={channels}"], "input"
    with open(folder / "ncnn.bin", "wb") as weights:
        for (name, layer), (_, after) in zip(layers, [*layers[1:], ("", None)]):
            if isinstance(layer, Conv2d):
                lines.append(f"Convolution conv{name} 1 1 {last} conv{name} 0={layer.out_channels} 1={layer.kernel_size[0]} "
                             f"4={layer.padding[0]} 5={int(layer.bias is not None)} 6={layer.weight.size} 9={int(isinstance(after, ReLU))}")
                weights.write(bytes(4))                     # a tag: float32, not compressed
                weights.write(b"".join(array.tobytes() for _, array in layer.named_arrays()))
                last = f"conv{name}"
            elif isinstance(layer, MaxPool2d):
                lines.append(f"Pooling pool{name} 1 1 {last} pool{name} 0=0 1=2 2=2")
                last = f"pool{name}"
    (folder / "ncnn.param").write_text("\n".join([str(MAGIC), f"{len(lines)} {len(lines)}", *lines, ""]))


def open_ncnn(folder, threads):
    """The network of ``write_ncnn``'s files, and the name of its output."""
    import ncnn
    net = ncnn.Net()
    net.opt.num_threads = threads
    for names, value in ((ON, True), (OFF, False)):
        for name in names:
            setattr(net.opt, f"use_{name}", value)
    net.load_param(str(folder / "ncnn.param"))
    net.load_model(str(folder / "ncnn.bin"))
    output, = net.output_names()
    return net, output
