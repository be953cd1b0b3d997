"""SavedModels that only the graph loader can serve, or that TensorFlow 1 wrote."""

from pathlib import Path
from typing import Any

from serve.servables.functions.runtime import import_tensorflow

WORDS = ["Oslo", "Rome", "Paris"]


def write_graph(folder: Path, init: str = "main_op", *, has_variables: bool = True, twice: bool = False) -> None:
    """Write a SavedModel as TensorFlow 1 does: a table of `WORDS` in an asset, and perhaps a variable.

    Args:
        folder: The SavedModel.
        init: The collection of the operation that fills the table: ``main_op`` or ``legacy_init_op``.
        has_variables: Whether it has variables.
        twice: Whether it has a second graph for training, so that `tf.saved_model.load` does not know which to take.
    """
    tf = import_tensorflow()
    v1 = tf.compat.v1
    asset = folder.parent / "words.txt"
    asset.write_text("\n".join(WORDS))
    with tf.Graph().as_default(), v1.Session() as session:
        words = v1.placeholder(tf.string, [None], "words")
        number = v1.placeholder(tf.float32, [None], "number")
        table = tf.lookup.StaticVocabularyTable(
            tf.lookup.TextFileInitializer(
                str(asset), tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER
            ),
            num_oov_buckets=1,
        )
        factor: Any = v1.get_variable("factor", initializer=0.5) if has_variables else tf.constant(0.5)
        found = table.lookup(words)
        outputs = {
            "index": tf.identity(found, "index"),
            "scaled": tf.identity(factor * number + tf.cast(found, tf.float32), "scaled"),
            "word": tf.strings.upper(words, name="upper"),
            "total": tf.reduce_sum(number, name="total"),
            "parsed": tf.strings.to_number(words, name="parsed"),
        }
        session.run(v1.global_variables_initializer())
        session.run(v1.tables_initializer())
        signature = v1.saved_model.signature_def_utils.predict_signature_def
        inputs = {"words": words, "number": number}
        signatures = {
            "serving_default": signature(inputs, {n: t for n, t in outputs.items() if n != "parsed"}),
            "parse": signature({"words": words}, {"parsed": outputs["parsed"]}),
        }
        builder = v1.saved_model.Builder(str(folder))
        filled = v1.tables_initializer()
        if init == "legacy_init_op":
            v1.add_to_collection("legacy_init_op", filled)
        builder.add_meta_graph_and_variables(
            session,
            ["serve"],
            signatures,
            assets_collection=v1.get_collection(v1.GraphKeys.ASSET_FILEPATHS),
            main_op=filled if init == "main_op" else None,
        )
        if twice:
            builder.add_meta_graph(["train"])
        builder.save()


def run_graph(folder: Path, feeds: dict[str, Any], fetches: dict[str, str]) -> dict[str, Any]:
    """The answer of a SavedModel's graph in a session of TensorFlow 1; by names of tensors."""
    tf = import_tensorflow()
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.compat.v1.saved_model.load(session, ["serve"], str(folder))
        answered: dict[str, Any] = session.run(fetches, feeds)
        return answered


def spoil_objects(folder: Path) -> None:
    """Make a SavedModel of TensorFlow 2 one whose objects cannot be restored, as those of older versions of Keras.

    It gets an optimizer of an unknown class: "'_UserObject' object has no attribute 'add_slot'".
    """
    from tensorflow.core.protobuf import saved_model_pb2

    path = folder / "saved_model.pb"
    model = saved_model_pb2.SavedModel()
    model.ParseFromString(path.read_bytes())
    nodes = model.meta_graphs[0].object_graph_def.nodes
    variable = next(number for number, node in enumerate(nodes) if node.WhichOneof("kind") == "variable")
    nodes.add().CopyFrom(nodes[variable])
    optimizer = nodes.add()
    optimizer.user_object.identifier = "Optimizer"
    optimizer.slot_variables.add(
        original_variable_node_id=variable, slot_name="m", slot_variable_node_id=len(nodes) - 2
    )
    nodes[0].children.add(node_id=len(nodes) - 1, local_name="optimizer")
    path.write_bytes(model.SerializeToString())
