"""The exported folder in strangers' hands: what `runtime.py` refuses, by hand-made graphs."""

import json

import numpy
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper  # noqa: E402

from s2s_plugin.export import runtime  # noqa: E402
from s2s_plugin.export.runtime import TENSORS_WITHIN, OnnxTranslator, find_external  # noqa: E402
from s2s_plugin.folder import write_sums  # noqa: E402

WORDS = ["<s>", "<pad>", "</s>", "<unk>", "a", "b"]
SETTINGS = {
    "languages": ["en", "zh"],
    "special": {"pad": 1, "eos": 2, "unk": 3},
    "search": {"beam": 2, "lenpen": 1.0, "unkpen": 0.0, "max_len_a": 0.0, "max_len_b": 5, "min_len": 1},
    "start": ["memory"],
    "inputs": ["prev_tokens", "memory"],
    "outputs": ["lprobs"],
}
INT, FLOAT = TensorProto.INT64, TensorProto.FLOAT


def weight(**external) -> TensorProto:
    """A row of the table of words, or one that is said to lie elsewhere."""
    values = numpy.random.default_rng(1).normal(size=(len(WORDS), len(WORDS))).astype(numpy.float32)
    tensor = helper.make_tensor("table", FLOAT, values.shape, values.tobytes(), raw=True)
    if external:
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in external.items():
            entry = tensor.external_data.add()
            entry.key, entry.value = key, str(value)
    return tensor


def graph(nodes, inputs, outputs, tensors=()):
    values = [
        [helper.make_tensor_value_info(name, kind, sizes) for name, (kind, sizes) in ends.items()]
        for ends in (inputs, outputs)
    ]
    made = helper.make_graph(nodes, "graph", *values, list(tensors))
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def step_graph(tensor=None):
    """The next word depends on the last one alone."""
    return graph(
        [helper.make_node("Gather", ["table", "prev_tokens"], ["lprobs"])],
        {"prev_tokens": (INT, ["R"]), "memory": (FLOAT, ["R", "S", 1])}, {"lprobs": (FLOAT, ["R", len(WORDS)])},
        [tensor or weight()],
    )  # fmt: skip


def encoder_graph():
    nodes = [
        helper.make_node("Cast", ["src_tokens"], ["numbers"], to=FLOAT),
        helper.make_node("Unsqueeze", ["numbers", "two"], ["memory"]),
    ]
    two = helper.make_tensor("two", INT, [1], [2])
    return graph(nodes, {"src_tokens": (INT, ["R", "S"])}, {"memory": (FLOAT, ["R", "S", 1])}, [two])


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "exported"
    made.mkdir()
    (made / "encoder.onnx").write_bytes(encoder_graph().SerializeToString())
    (made / "step.onnx").write_bytes(step_graph().SerializeToString())
    (made / "model.json").write_text(json.dumps(SETTINGS))
    for lang in SETTINGS["languages"]:
        (made / f"words.{lang}").write_text("".join(f"{word}\n" for word in WORDS))
    return made


def refused(folder, match, kind=ValueError) -> None:
    with pytest.raises(kind, match=match) as caught:
        OnnxTranslator(folder).translate("a b a")
    assert "\n" not in str(caught.value) and str(folder) in str(caught.value)


def test_a_graph_by_hand_translates(folder):
    before = OnnxTranslator(folder).translate("a b a")[0].pieces
    write_sums(folder)
    assert OnnxTranslator(folder).translate("a b a")[0].pieces == before


LOCATIONS = ["../secret", "/etc/passwd", "beside", "*/_ORT_MEM_ADDR_/*", ""]


@pytest.mark.parametrize("location", LOCATIONS)
def test_a_graph_holds_its_own_weights(folder, location):
    for file in (folder.parent / "secret", folder / "beside"):
        file.write_bytes(bytes(4 * len(WORDS) ** 2))
    tensor = weight(offset=10**15, length=144, location=location)
    (folder / "step.onnx").write_bytes(step_graph(tensor).SerializeToString())
    shown = repr(location).replace("*", r"\*")
    refused(folder, f"step.onnx: has a weight in another file, {shown}; a graph must hold all of its weights")


def all_places():
    """Models that hold a tensor in every field through which onnx.proto leads to one, by the way there."""
    found, waiting = {}, [(onnx.ModelProto.DESCRIPTOR, ())]
    while waiting:
        message, way = waiting.pop()
        if message is TensorProto.DESCRIPTOR:
            found[".".join(way)] = way
            continue
        for field in message.fields:
            # Each field once on a way: graphs lie in graphs without end.
            if field.message_type is not None and field.name not in way:
                waiting.append((field.message_type, (*way, field.name)))
    return found


def test_weights_elsewhere_are_found_wherever_they_are():
    ways = all_places()
    assert {
        "graph.initializer",
        "graph.node.attribute.g.sparse_initializer.values",
        "functions.node.attribute.t",
    } <= set(ways)
    for way in ways.values():
        for external in ({}, {"location": "x"}, {"offset": 1}, {"data_location": True}):
            model = place = onnx.ModelProto()
            for name in way:
                field = place.DESCRIPTOR.fields_by_name[name]
                # Protobuf puts single messages that come twice together: the last one says it here.
                place = getattr(place, name) if not field.is_repeated else getattr(place, name).add()
            place.CopyFrom(weight(**external) if "data_location" not in external else weight())
            if "data_location" in external:
                place.data_location = TensorProto.EXTERNAL
            expected = external.get("location", "" if external else None)
            assert find_external(model.SerializeToString()) == expected, way
    numbers = {name: number for number, name in TENSORS_WITHIN["graph"].items()}
    assert onnx.GraphProto.DESCRIPTOR.fields_by_name["initializer"].number == numbers["tensor"]


@pytest.mark.parametrize(
    "data", [b"\x3a", b"\x3a\x05ab", b"\xff" * 20, b"\x0b\x0c", b"\x00" * 3 + b"\x3d\x00", b"PK\x03\x04"]
)
def test_what_is_no_graph_is_refused(folder, data):
    (folder / "step.onnx").write_bytes(data)
    refused(folder, "step.onnx: (no ONNX graph, or a broken one|onnxruntime refuses it)")


def test_an_operator_of_elsewhere_is_refused(folder):
    model = step_graph()
    model.graph.node[0].domain = "somewhere.else"
    (folder / "step.onnx").write_bytes(model.SerializeToString())
    refused(folder, "step.onnx: onnxruntime refuses it")


def changed(**changes) -> str:
    return json.dumps({**SETTINGS, **changes})


def search(**changes) -> str:
    return changed(search={**SETTINGS["search"], **changes})


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "null", "{", "[" * 100_000, "\ufffe", changed(languages=["../secret", "zh"]),
        changed(languages=["en", "/etc/x"]), changed(languages=["en"]), changed(languages=[["en"], "zh"]),
        changed(languages="english"), changed(special={}), changed(special={"pad": "1", "eos": 2, "unk": 3}),
        changed(special={"pad": 10**9, "eos": 2, "unk": 3}), changed(special={"pad": -1, "eos": 2, "unk": 3}),
        changed(start=3),
        json.dumps({name: SETTINGS[name] for name in ("languages", "special", "search")}),
        changed(outputs=["lprobs", "attn"]), search(beam=10**9), search(beam=True),
        search(max_len_b="5"), search(max_len_b=1e30), search(max_len_a=float("inf")), search(lenpen=float("nan")),
        search(min_len=-1), changed(search={"beam": 2}),
    ],
)  # fmt: skip
def test_settings_that_cannot_be_are_refused(folder, text):
    (folder / "model.json").write_text(text, encoding="utf-8")
    refused(folder, "model.json: not the settings of an exported model|do not belong together, or are broken")


def test_files_that_do_not_fit_are_refused(folder):
    (folder / "words.zh").write_text("".join(f"{word}\n" for word in WORDS[:-1]))
    refused(folder, "step.onnx gives other sizes than a beam of 2 and the 5 words")
    (folder / "words.zh").write_bytes(b"\xff\n")
    refused(folder, "words.zh: not UTF-8")
    (folder / "words.zh").write_text("".join(f"{word}\n" for word in WORDS))
    (folder / "words.en").write_text("x\n" * 40 + "a\n")  # the graph has no row for its number
    (folder / "encoder.onnx").write_bytes(b"")
    refused(folder, "encoder.onnx: onnxruntime refuses it")
    (folder / "encoder.onnx").write_bytes(encoder_graph().SerializeToString())
    (folder / "en.model").write_bytes(b"no pieces")
    refused(folder, "en.model: no sentencepiece model, or a broken one")


def test_the_sums_hold_here_too(folder):
    write_sums(folder)
    for name in ("encoder.onnx", "step.onnx", "model.json", "words.en", "words.zh"):
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        refused(folder, f"{name}: broken or changed, by SHA256SUMS")
        (folder / name).unlink()
        refused(folder, f"there is no {name}", FileNotFoundError)
        (folder / name).write_bytes(data)
    (folder / "translate.py").write_text("# mine")  # is for everybody to change
    OnnxTranslator(folder)
    (folder / runtime.SUMS).write_text("0" * 64 + "  ../secret\n")
    refused(folder, "'../secret' is no file of the folder")


def test_words_do_not_come_from_elsewhere(folder):
    secret = folder.parent / "secret"
    secret.write_bytes((folder / "words.zh").read_bytes())
    (folder / "words.zh").unlink()
    (folder / "words.zh").symlink_to(secret)
    refused(folder, "words.zh: a link out of the folder")
    write_sums(folder)
    assert OnnxTranslator(folder).translate("a")
