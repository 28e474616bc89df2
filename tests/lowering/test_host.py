"""Text models in eager calls, in compiled steps and in `fit`: the same numbers, whatever the padding."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import thaw.lowering.table  # noqa: F401  (fills the registry)
from lowering import text_graphs
from lowering.cases.text import BULK, s
from thaw.errors import HostPaddingError, TextsGoneError
from thaw.lowering.host import TextProgram, decode_strings
from thaw.lowering.packing import TOKEN, Kept, bucket, pack, token_counts, unpack
from thaw.lowering.run import Context

BACKEND = keras.backend.backend()


def compiled(function):
    """`function` as the backend's step runs it."""
    if BACKEND == "jax":
        import jax

        return jax.jit(function)
    if BACKEND == "tensorflow":
        import tensorflow as tf

        return tf.function(function, autograph=False)
    return function


def program(build, inputs=(0,)):
    return TextProgram(build(), text_graphs.resources(), inputs)


def run(made, *values):
    return [keras.ops.convert_to_numpy(v) for v in made.run(Context(made.resources), list(values))]


def run_compiled(made, *values):
    step = compiled(lambda *given: made.run(Context(made.resources), list(given)))
    return [keras.ops.convert_to_numpy(v) for v in step(*map(keras.ops.convert_to_tensor, values))]


@pytest.mark.parametrize("texts", [BULK, s(), s(""), s("a\x00", b"\x00\x00", b"\xff\x01"), BULK.reshape(30, 10)], ids=str)
def test_packed_strings_come_back(texts):
    packed = pack(texts)
    assert packed.dtype == np.uint8 and packed.ndim == texts.ndim + 2
    assert unpack(packed).tolist() == texts.tolist()
    assert decode_strings(keras.ops.convert_to_tensor(packed)).tolist() == texts.tolist()


@pytest.mark.parametrize("texts", [BULK, s(""), s("a\x00", b"\x00\x00", b"\xff\x01"), BULK.reshape(30, 10)], ids=str)
def test_kept_strings_are_found_by_their_rows(texts):
    kept = Kept()
    rows, others = kept.pack(texts), kept.pack(s("other"))
    assert rows.dtype == np.uint8 and rows.ndim == texts.ndim + 2
    assert unpack(rows).tolist() == texts.tolist() and unpack(others).tolist() == [b"other"]
    assert decode_strings(keras.ops.convert_to_tensor(rows[::-1].copy())).tolist() == texts[::-1].tolist()
    kept.release()
    with pytest.raises(TextsGoneError, match="not kept any more"):
        unpack(rows)


@pytest.mark.parametrize("text", [b"12345678\x02", b"12345678\x02\x00\x00", b"\x02" * 9, b"1234567\x02\x02"])
def test_packed_strings_are_never_taken_for_references(text):
    for tokens in (1, 2, 9, 16):
        assert unpack(pack(s(text), tokens)).tolist() == [text]


@given(st.lists(st.binary(max_size=30)))
def test_tokens_are_counted_as_the_expression_finds_them(texts):
    assert token_counts(texts).tolist() == [len(TOKEN.findall(text)) for text in texts]


def test_user_strings_of_every_kind_pack_alike():
    for values in (["é", "b"], np.array(["é", "b"]), s("é", "b"), ("é", b"b"), np.array(["é".encode(), b"b"])):
        assert unpack(pack(values)).tolist() == ["é".encode(), b"b"]


def test_buckets_are_few_and_close():
    sizes = [bucket(n) for n in range(1, 2000)]
    assert len(set(sizes)) < 25 and all(n <= size <= 1.5 * n + 1 for n, size in enumerate(sizes, 1))


def test_S8_sparse_sums_eager_packed_and_compiled_agree():
    made = program(text_graphs.sparse_mean)
    exact = run(made, text_graphs.TEXTS)[0]
    packed = made.encode_strings(text_graphs.TEXTS)
    np.testing.assert_allclose(run(made, packed)[0], exact, rtol=1e-6)
    np.testing.assert_allclose(run_compiled(made, packed)[0], exact, rtol=1e-6)
    table = keras.ops.convert_to_numpy(made.resources.variables["embeddings"])
    np.testing.assert_allclose(exact[1], (table[0] + table[1]) / np.sqrt(2), rtol=1e-6)
    assert not exact[2].any()


def test_S8_padded_tokens_do_not_depend_on_the_padding():
    made = program(text_graphs.padded_tokens)
    exact, tokens = run(made, text_graphs.TEXTS)
    total, kept = run_compiled(made, made.encode_strings(text_graphs.TEXTS))
    np.testing.assert_allclose(total, exact, rtol=1e-6)
    np.testing.assert_allclose(kept[:, : tokens.shape[1]], tokens, rtol=1e-6)
    assert not kept[:, tokens.shape[1] :].any()


SEVEN = s("the movie was good bad movie unknown", "", "the , movie")
"""The most words are seven, for which steps are made for eight."""


def test_S8_a_row_a_token_has_no_rows_too_many_in_a_compiled_step():
    made = program(text_graphs.padded_tokens)
    exact = run(made, SEVEN)[1]
    assert exact.shape == (3, 7, text_graphs.DIM) and made.encode_strings(SEVEN).shape[1] == 8
    np.testing.assert_allclose(run_compiled(made, made.encode_strings(SEVEN, exact=True))[1], exact, rtol=1e-6)


def test_S8_room_stays_where_words_are_not_counted_as_the_graph_counts_them():
    made = program(text_graphs.padded_tokens)
    made._makes = lambda text, words: False
    assert made.encode_strings(SEVEN, exact=True).shape[1] == 8


def test_columns_of_strings_and_numbers_in_a_compiled_step():
    made = program(text_graphs.columns, (0, 1))
    kind, age, size = s("good", "bad", "?", shape=(3, 1)), s("1.5", "-2", "30"), np.array([[1], [2], [3]], "float32")
    exact = run(made, kind, age, size)[0]
    assert exact.shape == (3, text_graphs.DIM + 2) and exact[:, -2].tolist() == [1.5, -2, 30]
    found = run_compiled(made, pack(kind), pack(age), size)[0]
    np.testing.assert_allclose(found, exact, rtol=1e-6)


WORD = st.sampled_from([*text_graphs.WORDS, "unknown", "x" * 30, ""])


@settings(deadline=None, max_examples=15)
@given(st.lists(st.lists(WORD, max_size=9).map(" ".join), min_size=4, max_size=4))
def test_compiled_step_equals_eager_on_any_texts(texts):
    for made, step in COMPILED:
        packed = pack(texts, tokens=12)
        fixed = np.zeros((4, 12, 24), np.uint8).reshape(4, -1)
        flat = packed.reshape(4, -1)
        fixed[:, : flat.shape[1]] = flat
        exact = run(made, s(*texts))[0]
        found = keras.ops.convert_to_numpy(step(keras.ops.convert_to_tensor(fixed.reshape(4, 12, 24)))[0])
        np.testing.assert_allclose(found[: len(exact)], exact, rtol=1e-5, atol=1e-6)
        assert not found[len(exact) :].any()  # TensorFlow leaves out what is empty at the end


def _steps():
    for build in (text_graphs.sparse_mean, text_graphs.padded_tokens):
        made = program(build)
        yield made, compiled(lambda x, made=made: made.run(Context(made.resources), [x]))


COMPILED = list(_steps())


@pytest.mark.parametrize("build", [text_graphs.sparse_mean, text_graphs.padded_tokens], ids=["sparse", "padded"])
def test_batch_of_texts_that_are_all_as_long_as_there_is_room(build):
    made = program(build)
    texts = s(*["the movie was good"] * 3)
    np.testing.assert_allclose(run_compiled(made, pack(texts, tokens=4))[0], run(made, texts)[0], rtol=1e-6)


@pytest.mark.skipif(BACKEND != "jax", reason="only JAX compiles for fixed sizes")
def test_batch_with_more_tokens_than_it_was_packed_for_is_refused():
    made = program(text_graphs.padded_tokens)
    with pytest.raises(Exception, match="cannot be given the shapes"):
        run_compiled(made, pack(s("the movie was very very good", "a"), tokens=2))


def test_texts_that_no_filler_fits_are_refused():
    made = program(text_graphs.columns, (0, 1))
    with pytest.raises(HostPaddingError, match="takes more than strings"):
        made._host_on_texts([b"a"])


def test_preprocess_gives_numbers_for_a_data_pipeline():
    made = program(text_graphs.padded_tokens)
    boundary = made.preprocess([["the movie", "é"]])
    assert all(isinstance(v, np.ndarray) and v.dtype.kind in "iufb" for v in boundary)
    assert any(v.tolist() == [[0, 1], [5, 7]] for v in boundary)


class Text(keras.layers.Layer):
    """What a layer must do to take packed strings: nothing but run the program."""

    def __init__(self, made, which=0):
        super().__init__(autocast=False)
        self.made, self.which = made, which
        self.supports_jit = BACKEND != "tensorflow"
        self.table = self.add_weight(shape=(len(text_graphs.WORDS) + 1, text_graphs.DIM), name="embeddings")
        self.table.assign(made.resources.variables["embeddings"])
        made.resources.variables["embeddings"] = self.table

    def call(self, packed):
        return self.made.run(Context(self.made.resources), [packed])[self.which]

    def compute_output_shape(self, shape):
        return (shape[0], *[None] * self.which, text_graphs.DIM)


@pytest.mark.parametrize("build", [text_graphs.sparse_mean, text_graphs.padded_tokens], ids=["S9-sparse", "S9-padded"])
def test_fit_on_strings_moves_the_rows_of_seen_words_only(build):
    keras.utils.set_random_seed(0)
    made = program(build)
    layer = Text(made)
    model = keras.Sequential([layer, keras.layers.Dense(1)])
    texts = ["the good movie", "good", "was good", "the bad movie", "bad", "was bad"] * 4
    labels = np.array(([1] * 3 + [0] * 3) * 4, "float32")[:, None]
    model.compile("sgd", "mse")
    before = keras.ops.convert_to_numpy(layer.table).copy()
    history = model.fit(
        made.encode_strings(texts), labels, batch_size=8, epochs=3, verbose=0, shuffle=True, validation_split=0.25
    )
    moved = np.abs(keras.ops.convert_to_numpy(layer.table) - before).max(axis=1) > 0
    assert moved.tolist() == [True] * 5 + [False] * 3
    assert history.history["loss"][-1] < history.history["loss"][0]
    np.testing.assert_allclose(
        model.predict(made.encode_strings(texts[:5]), verbose=0, batch_size=2),
        keras.ops.convert_to_numpy(model.layers[1](layer(made.encode_strings(texts[:5])))),
        rtol=1e-5,
        atol=1e-6,
    )


def test_S9_fit_on_one_label_a_word():
    made = program(text_graphs.padded_tokens)
    model = keras.Sequential([Text(made, which=1), keras.layers.Dense(2)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    packed = made.encode_strings(SEVEN, exact=True)
    history = model.fit(packed, np.zeros((3, 7), "int32"), batch_size=3, epochs=2, verbose=0)
    assert history.history["loss"][1] < history.history["loss"][0]
    assert model.predict(packed, verbose=0).shape == (3, 7, 2)
