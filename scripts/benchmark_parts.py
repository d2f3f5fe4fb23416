"""Shows where the time of a training step goes, and how far each part is from its matrix products alone.

usage: python scripts/benchmark_parts.py [TEXT.src TEXT.tgt | DATA] [--max-tokens 2500] [--repeats 15] ...

The parts of attn_rnn_s2s, made of LSTMs and with the previous state asking, are timed one by one, forward and backward,
on the batch of middle length. Beside each stand its matrix products, each made once for all time steps, by itself, in
the same process: the ceiling of this machine. The layer that attends is held against torch.nn.LSTM without attention.
Let nothing else run meanwhile.
"""

import statistics
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


def forward_backward(function, module, *inputs):
    """A call that runs `function(*inputs)`, whose result is a tensor or several, and back from random gradients.

    Those of the inputs and of the parameters of `module` are dropped beforehand, as a step of fairseq's trainer does.
    """
    import torch

    gradients = None

    def run():
        nonlocal gradients
        for tensor in (*inputs, *module.parameters()):
            tensor.grad = None
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


class Parts:
    """The parts of a step of `attn_rnn_s2s` on one batch: for each a call, and its products as (rows, inputs, outputs).

    Args:
        system: the model and its trainer.
        sample: the batch.
        compute_dtype: `float32` or `bfloat16`.
    """

    def __init__(self, system, sample: dict, compute_dtype: str):
        import torch

        from s2s_plugin.modules.precision import COMPUTE_DTYPES

        self.system, self.model, self.compute_dtype = system, system.trainer.model, compute_dtype
        self.dtype = COMPUTE_DTYPES[compute_dtype] or torch.float32
        self.source, self.target = sample["net_input"]["src_tokens"], sample["target"]
        self.batch, self.steps = self.target.shape
        self.rows, self.words = self.target.numel(), self.source.numel()
        rnns, decoder = self.model.encoder.encoder, self.model.decoder.decoder
        self.encoder_size, self.memory_size = rnns.forward_layers[0].hidden_size, rnns.output_size
        self.directions = self.memory_size // self.encoder_size
        self.embed, self.size = self.model.decoder.embed_tokens.embedding_dim, decoder.bridge.shape[1]
        self.attn_dim = decoder.first_layer.attention.key_proj.out_features
        self.features = decoder.readout.proj.out_features
        self.vocabulary = len(system.task.target_dictionary)

    def leaf(self, *shape):
        import torch

        return torch.randn(*shape).mul_(0.1).requires_grad_()

    def computing(self, function):
        """`function` in the dtype of the model."""
        from s2s_plugin.modules.precision import compute_in

        def run(*args):
            with compute_in(self.compute_dtype, self.source.device):
                return function(*args)

        return run

    def encoder(self):
        shapes = [(self.words, inputs, 4 * self.encoder_size) for inputs in (self.embed, self.encoder_size)]
        return forward_backward(
            lambda: self.model.encoder(self.source).state.memory, self.model
        ), shapes * self.directions

    def attending_layer(self):
        layer = self.model.decoder.decoder.first_layer
        mask = self.source.eq(self.system.task.source_dictionary.pad())
        memory = self.leaf(*self.source.shape, self.memory_size)

        def attend(x, hidden, cell):
            out = layer(x, layer.attention(memory, mask), hidden, cell, layer.attention.start(mask))
            return out.output, *out.context

        inputs = self.leaf(self.steps, self.batch, self.embed), *(self.leaf(self.batch, self.size) for _ in range(2))
        shapes = [(self.rows, inputs, 4 * self.size) for inputs in (self.embed, self.memory_size, self.size)]
        shapes += [(self.words, self.memory_size, self.attn_dim), (self.rows, self.size, self.attn_dim)]
        return forward_backward(self.computing(attend), self.model, *inputs), shapes

    def readout(self):
        widths = self.size, self.memory_size, self.embed
        inputs = [self.leaf(self.steps, self.batch, width) for width in widths]
        run = forward_backward(self.computing(self.model.decoder.decoder.readout), self.model, *inputs)
        return run, [(self.rows, sum(widths), self.features)]

    def loss(self):
        from s2s_plugin.ops.cross_entropy import label_smoothed_cross_entropy

        decoder = self.model.decoder
        features = self.leaf(self.rows, self.features).detach().to(self.dtype).requires_grad_()
        rest = decoder.output_bias, self.target.reshape(-1), 0.1, decoder.dictionary.pad()

        def loss(x):
            return label_smoothed_cross_entropy(x, decoder.output_weight, *rest)[0]

        return forward_backward(loss, self.model, features), [(self.rows, self.features, self.vocabulary)]

    def update(self):
        import torch

        optimizer = self.system.trainer.optimizer

        def clip_and_step():
            for parameter in self.model.parameters():
                if parameter.grad is None:  # dropped by the part before
                    parameter.grad = torch.full_like(parameter, 1e-3)
            optimizer.clip_grad_norm(1.0)
            optimizer.step()

        return clip_and_step, []

    def lstm(self, inputs: int):
        """torch.nn.LSTM of the decoder's size, without attention."""
        import torch

        layer = torch.nn.LSTM(inputs, self.size)
        x = self.leaf(self.steps, self.batch, inputs)
        return forward_backward(self.computing(lambda x: layer(x)[0]), layer, x)


def print_parts(compute_dtype: str, options: Namespace) -> None:
    system = benchmark.System(f"{benchmark.LIKE} --compute-dtype {compute_dtype}", options)
    batches = benchmark.choose_batches(system.dataset, options.max_tokens, 3)
    (sample,) = system.collate([batches[len(batches) // 2]])
    step = median_ms(lambda: system.train([sample]), options.repeats)
    parts = Parts(system, sample, compute_dtype)
    named = {
        "encoder": parts.encoder(),
        "decoder layer with attention": parts.attending_layer(),
        "readout": parts.readout(),
        "projection and loss": parts.loss(),
        "clipping and Adam": parts.update(),
    }
    print(f"\n{compute_dtype}: {parts.batch} sentences, {parts.source.size(1)} words to {parts.steps}\n")
    print("| part, forward and backward | ms | of the step | its matrix products alone, ms | of the part |")
    print("|---|---|---|---|---|")
    total = total_products = 0.0
    for name, (run, shapes) in named.items():
        ms, products = median_ms(run, options.repeats), products_ms(shapes, parts.dtype, options.repeats)
        total, total_products = total + ms, total_products + products
        beside = f"{products:.1f} | {products / ms:.0%}" if shapes else "|"
        print(f"| {name} | {ms:.1f} | {ms / step:.0%} | {beside} |", flush=True)
    print(f"| bridge, dropout, embeddings, fairseq's trainer | {step - total:.1f} | {1 - total / step:.0%} | | |")
    print(f"| whole step | {step:.1f} | 100% | {total_products:.1f} | {total_products / step:.0%} |")
    attending = median_ms(named["decoder layer with attention"][0], options.repeats)
    print("\n| decoder layer with attention, against | ms | ratio |\n|---|---|---|")
    reads = {"the embedding": parts.embed, "embedding and context": parts.embed + parts.memory_size}
    for what, inputs in reads.items():
        ms = median_ms(parts.lstm(inputs), options.repeats)
        print(f"| nn.LSTM that reads {what} | {ms:.1f} | {attending / ms:.2f} |", flush=True)


def print_ceiling(options: Namespace) -> None:
    """Speed of a plain product, x (2400, 512) times W^T (512, 2048)."""
    import torch

    from s2s_plugin.ops.products import linear

    x, weight = torch.randn(2400, 512), torch.randn(2048, 512)
    products = {
        "float32, torch.nn.functional.linear": (torch.nn.functional.linear, x, weight),
        "float32, ops/products.py": (linear, x, weight),
        "bfloat16, ops/products.py": (linear, x.bfloat16(), weight.bfloat16()),
    }
    print("\n| (2400 x 512) times (512 x 2048) | GFLOP/s |\n|---|---|")
    for name, (multiply, *factors) in products.items():
        ms = median_ms(lambda multiply=multiply, factors=factors: multiply(*factors), options.repeats)
        print(f"| {name} | {2e-6 * x.numel() * weight.size(0) / ms:,.0f} |", flush=True)


def main() -> None:
    parser = benchmark.common_parser(__doc__)
    parser.add_argument("--repeats", type=int, default=15, help="measurements that count, after two that do not")
    parser.add_argument("--max-tokens", type=int, default=2500, help="size of the batch")
    options = benchmark.parse(parser)
    options.device, options.beam = "cpu", 1
    benchmark.start(options)
    print_ceiling(options)
    for compute_dtype in ("float32", "bfloat16"):
        print_parts(compute_dtype, options)


if __name__ == "__main__":
    main()
