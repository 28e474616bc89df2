"""The table of what is fuzzed: for each format its share of the time, its seeds, how they are damaged, and their road.

Roads raise what they meet; only a ThawError is allowed to come out (`fuzz.execution`).
"""

from fuzz.archive_roads import archive_road, mutate_tar, tar_seeds
from fuzz.graph_roads import (
    artifact_road,
    asset_seeds,
    assets_road,
    bundle_road,
    graph_mutation,
    module_mutation,
    module_road,
    mutate_assets,
    mutate_data,
    mutate_index,
    mutate_text,
    text_seeds,
)
from fuzz.keras_roads import (
    config_road,
    config_seeds,
    h5_seeds,
    hdf5_road,
    hdf5_seeds,
    keras_archive_road,
    keras_file_road,
    keras_saved_model_road,
    mutate_config,
    mutate_h5,
    mutate_h5_config,
    mutate_keras_zip,
    mutate_metadata,
    new_hdf5_road,
    new_hdf5_seeds,
    zip_seeds,
)
from fuzz.seeds import DATA, INDEX, LARGEST, Target, folders, single

TARGETS = {
    t.name: t
    for t in (
        Target(
            "saved_model_tf2",
            3,
            lambda: folders("tf2/*", "behaviour/*"),
            graph_mutation("saved_model.pb", "SavedModel"),
            artifact_road,
            True,
        ),
        Target(
            "saved_model_tf1",
            3,
            lambda: folders("tf1/*", having="saved_model.pb"),
            graph_mutation("saved_model.pb", "SavedModel"),
            artifact_road,
            True,
        ),
        Target(
            "frozen", 3, lambda: single("frozen/*.pb", "frozen.pb"), graph_mutation("frozen.pb", "GraphDef"), artifact_road, True
        ),
        Target("text", 1, text_seeds, mutate_text, artifact_road, True),
        Target("tfhub_module", 0.3, lambda: folders("tf1/half*", having="tfhub_module.pb"), module_mutation, module_road),
        Target("variables_index", 3, lambda: folders("tf1/*", "tf2/*", having=INDEX, most=LARGEST), mutate_index, bundle_road),
        Target("variables_data", 1.5, lambda: folders("tf1/*", "tf2/*", having=DATA, most=LARGEST), mutate_data, bundle_road),
        Target("assets", 0.5, asset_seeds, mutate_assets, assets_road, True),
        Target("hdf5", 4, lambda: hdf5_seeds() | single("keras2/*.h5", "m.h5", 15_000), mutate_h5, hdf5_road),
        Target("hdf5_new", 0.5, new_hdf5_seeds, mutate_h5, new_hdf5_road),
        Target("keras_config", 2, config_seeds, mutate_config, config_road),
        Target(
            "keras_archive",
            1,
            zip_seeds,
            mutate_keras_zip,
            keras_archive_road,
        ),
        Target(
            "h5",
            2,
            h5_seeds,
            mutate_h5_config,
            keras_file_road,
            True,
        ),
        Target(
            "keras",
            2,
            zip_seeds,
            mutate_keras_zip,
            keras_file_road,
            True,
        ),
        Target(
            "keras_metadata",
            1,
            lambda: folders("keras2/*saved_model", having="keras_metadata.pb", most=LARGEST),
            mutate_metadata,
            keras_saved_model_road,
            True,
        ),
        Target("archive", 1, tar_seeds, mutate_tar, archive_road),
    )
}
