"""Jobs of these tests compile the same few steps over and over: JAX keeps what it compiled for the first."""

from collections.abc import Iterator

import pytest

from conftest import BACKEND


@pytest.fixture(scope="module", autouse=BACKEND == "jax")
def compiled_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Compiled programs on disk while the tests of a module run."""
    import jax
    from jax.experimental.compilation_cache import compilation_cache

    settings = {
        "jax_compilation_cache_dir": str(tmp_path_factory.mktemp("compiled")),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    before = {name: getattr(jax.config, name) for name in settings}
    for name, value in settings.items():
        jax.config.update(name, value)
    yield
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()
