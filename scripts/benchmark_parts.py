"""Shows where the time of a training step goes, and how far each part is from its matrix products alone.

usage: python scripts/benchmark_parts.py [TEXT.src TEXT.tgt | DATA] [--max-tokens 2500] [--repeats 15] ...

The parts of attn_rnn_s2s are timed one by one, forward and backward, on the batch of middle length. Beside each stand
its matrix products, each made once for all time steps and multiplied by itself in the same process, the ceiling of this
machine; and beside the attending layer torch.nn.LSTM without attention. Let nothing else run meanwhile.
"""

import statistics
import sys
import time
from argparse import Namespace

import benchmark


def median_ms(run, repeats: int) -> float:
    """Median time of `run()` in milliseconds, after two calls that do not count."""
    seconds = []
    for _ in range(repeats + 2):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return 1000 * statistics.median(seconds[2:])


def forward_backward(function, *inputs):
    """A call that runs `function(*inputs)`, whose result is a tensor or several, and back from random gradients."""
    import torch

    gradients = None

    def run():
        nonlocal gradients
        outputs = function(*inputs)
        outputs = [outputs] if isinstance(outputs, torch.Tensor) else list(outputs)
        if gradients is None:
            gradients = [torch.randn_like(output) for output in outputs]
        torch.autograd.backward(outputs, gradients)

    return run


def products_ms(shapes, dtype, repeats: int) -> float:
    """Time of x W^T, d_y W and d_y^T x for every (rows, inputs, outputs)."""
    import torch

    from s2s_plugin.ops.products import linear, matmul

    total = 0.0
    for rows, inputs, outputs in shapes:
        x, d_y = torch.randn(rows, inputs, dtype=dtype), torch.randn(rows, outputs, dtype=dtype)
        weight = torch.randn(outputs, inputs, dtype=dtype)

        def run(x=x, d_y=d_y, weight=weight):
            linear(x, weight)
            matmul(d_y, weight)
            matmul(d_y.t(), x)

        total += median_ms(run, repeats)
    return total


def gflops(multiply, x, weight, repeats: int) -> float:
    rows, inputs = x.shape
    return 2e-6 * rows * inputs * weight.size(0) / median_ms(lambda: multiply(x, weight), repeats)


def print_parts(compute_dtype: str, options: Namespace) -> None:
    import torch

    from s2s_plugin.modules.encoder import EncoderState
    from s2s_plugin.modules.precision import COMPUTE_DTYPES, compute_in
    from s2s_plugin.ops.cross_entropy import label_smoothed_cross_entropy

    system = benchmark.System(f"{benchmark.OURS} --compute-dtype {compute_dtype}", options)
    batches = benchmark.choose_batches(system.dataset, options.max_tokens[0], 3)
    (sample,) = system.collate(batches[1:2])
    model, repeats, dtype = system.trainer.model, options.repeats, COMPUTE_DTYPES[compute_dtype] or torch.float32
    source, target = sample["net_input"]["src_tokens"], sample["target"]
    (batch, steps), words = target.shape, source.numel()
    rows = batch * steps
    decoder = model.decoder.decoder
    embed, size = model.decoder.embed_tokens.embedding_dim, decoder.bridge.shape[1]
    vocabulary = len(system.task.target_dictionary)

    def in_dtype(function):
        def run(*args):
            with compute_in(compute_dtype, source.device):
                return function(*args)

        return run

    def leaf(*shape):
        return torch.randn(*shape).mul_(0.1).requires_grad_()

    memory_size = model.encoder.encoder.output_size
    width = model.encoder.encoder.forward_layers[0].hidden_size
    mask = source.eq(system.task.source_dictionary.pad())
    state = EncoderState(leaf(batch, source.size(1), memory_size), mask, leaf(batch, memory_size))
    x, hidden, cell = leaf(steps, batch, embed), leaf(batch, size), leaf(batch, size)
    readout_inputs = [leaf(steps, batch, width) for width in (size, memory_size, embed)]
    features = leaf(rows, decoder.readout.proj.out_features)
    if dtype != torch.float32:
        features = features.detach().to(dtype).requires_grad_()
    first = decoder.first_layer

    def attend(x, hidden, cell):
        out = first(x, state, first.project_keys(state.memory), hidden, cell)
        return out.output, *out.context

    def loss(features):
        weight = model.decoder.output_weight
        return label_smoothed_cross_entropy(features, weight, None, target.reshape(-1), 0.1, model.decoder.dictionary.pad())[0]

    def clip_and_update():
        system.trainer.optimizer.clip_grad_norm(1.0)
        system.trainer.optimizer.step()

    lstms = [torch.nn.LSTM(inputs, size) for inputs in (embed, embed + memory_size)]
    lstm_x = [leaf(steps, batch, lstm.input_size) for lstm in lstms]
    step = median_ms(lambda: system.train([sample]), repeats)
    encoder_shapes = [(words, embed, 4 * width), (words, width, 4 * width)] * len(
        [layers for layers in (model.encoder.encoder.forward_layers, model.encoder.encoder.backward_layers) if layers]
    )
    attending_shapes = [(words, memory_size, first.attention.key_proj.out_features),
                        (rows, size, first.attention.key_proj.out_features)]  # fmt: skip
    attending_shapes += [(rows, inputs, 4 * size) for inputs in (embed, memory_size, size)]
    parts = {
        "encoder": (
            forward_backward(lambda: model.encoder(source).state.memory), encoder_shapes,
        ),
        "decoder layer with attention": (forward_backward(in_dtype(attend), x, hidden, cell), attending_shapes),
        "readout": (
            forward_backward(in_dtype(decoder.readout), *readout_inputs),
            [(rows, size + memory_size + embed, features.size(1))],
        ),
        "projection and loss": (forward_backward(loss, features), [(rows, features.size(1), vocabulary)]),
        "clipping and Adam": (clip_and_update, []),
    }  # fmt: skip

    print(f"\n{compute_dtype}: {batch} sentences, {source.size(1)} x {steps} words, {rows} x {vocabulary} logits")
    print("\n| part, forward and backward | ms | share | its matrix products alone, ms | share of the part |")
    print("|---|---|---|---|---|")
    total = total_products = 0.0
    for name, (run, shapes) in parts.items():
        ms, products = median_ms(run, repeats), products_ms(shapes, dtype, repeats)
        total, total_products = total + ms, total_products + products
        beside = f"{products:.1f} | {products / ms:.2f}" if shapes else " | "
        print(f"| {name} | {ms:.1f} | {ms / step:.2f} | {beside} |", flush=True)
    rest = "bridge, dropout, embeddings' gradients, fairseq's trainer"
    print(f"| {rest} | {step - total:.1f} | {1 - total / step:.2f} | | |")
    print(f"| whole step | {step:.1f} | 1.00 | {total_products:.1f} | {total_products / step:.2f} |")
    attending = median_ms(parts["decoder layer with attention"][0], repeats)
    print("\n| the decoder layer with attention, against torch.nn.LSTM without | ms | ratio |\n|---|---|---|")
    for lstm, inputs, reads in zip(lstms, lstm_x, ("the embedding", "embedding and context"), strict=True):
        ms = median_ms(forward_backward(in_dtype(lambda y, lstm=lstm: lstm(y)[0]), inputs), repeats)
        print(f"| nn.LSTM that reads {reads} | {ms:.1f} | {attending / ms:.2f} |", flush=True)


def print_ceiling(options: Namespace) -> None:
    import torch

    from s2s_plugin.ops.products import linear

    print("\n| x W^T of (2400 x 512) and (2048 x 512) | GFLOP/s |\n|---|---|")
    x, weight = torch.randn(2400, 512), torch.randn(2048, 512)
    products = {
        "float32, torch.nn.functional.linear": (torch.nn.functional.linear, x, weight),
        "float32, ops/products.py": (linear, x, weight),
        "bfloat16, ops/products.py": (linear, x.bfloat16(), weight.bfloat16()),
    }
    for name, arguments in products.items():
        print(f"| {name} | {gflops(*arguments, options.repeats):,.0f} |", flush=True)


def main() -> None:
    options = benchmark.parse_options(__doc__)
    if options.device != "cpu" or options.sweep or options.memory:
        sys.exit("error: benchmark_parts.py measures a step on the CPU: no --device cuda, --sweep or --memory")
    benchmark.start(options)
    print_ceiling(options)
    for compute_dtype in ("float32", "bfloat16"):
        print_parts(compute_dtype, options)


if __name__ == "__main__":
    main()
