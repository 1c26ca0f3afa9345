"""Where a checkpoint is: bundled with this package, in a folder, or on the Hugging Face hub."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, hf_hub_download, snapshot_download, try_to_load_from_cache

from .. import assets

_BUNDLED = "bundled:"
_HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")
_SINGLE_FILE = "model.safetensors"
_INDEX = "model.safetensors.index.json"
NEEDED = ["*.safetensors", "*.json", "*.jinja", "*.txt", "tokenizer.model"]
"""Patterns of the files of a checkpoint that a model or its processor is read from."""
_HUB_TIMEOUT = 10.0  # seconds


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint that exists; its weights may still have to be downloaded.

    Attributes:
        name: the folder or the hub id, as the user gave it.
        folder: holds at least `config.json`.
        commit: of a hub checkpoint, which pins all its files; None for a folder.
    """

    name: str
    folder: Path
    commit: str | None = None

    def config(self) -> dict[str, Any]:
        """The checkpoint's `config.json`."""
        config: dict[str, Any] = json.loads((self.folder / "config.json").read_text("utf-8"))
        return config

    def fetch(self) -> Path:
        """The folder with all files, after downloading what the hub's cache lacks."""
        if self.commit is None or not missing_weights(self.folder):
            return self.folder
        return Path(snapshot_download(self.name, revision=self.commit, allow_patterns=NEEDED))

    def fingerprint(self) -> str:
        """What identifies the content: the commit, or a sha256 of weights, configs and vocabulary.

        Hashing reads every byte of a folder (the bundled model takes milliseconds, a 7B one some
        10 seconds), so that weights which were trained again never pass for the old ones.
        """
        if self.commit is not None:
            return self.commit
        digest = hashlib.sha256()
        for path in sorted({path for pattern in NEEDED for path in self.folder.glob(pattern)}):
            with path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
            digest.update(f"{path.name} {content}\n".encode())
        return f"sha256:{digest.hexdigest()}"


def locate(path: str, revision: str | None = None) -> Checkpoint:
    """Finds a checkpoint without loading it; downloads at most a `config.json`.

    Args:
        path: "bundled:<name>", a folder, or a hub id "<owner>/<name>".
        revision: branch, tag or commit of a hub id; None = "main". Of a branch, the commit in the
            cache counts, if there is one: a run that is resumed keeps its model.

    Raises:
        FileNotFoundError: there is nothing, or nothing complete, at `path`.
    """
    if path.startswith(_BUNDLED):
        return _bundled(path)
    folder = Path(path).expanduser()
    if folder.is_dir():
        return _in_folder(path, folder)
    if _HUB_ID.fullmatch(path):
        return _on_hub(path, revision)
    raise FileNotFoundError(
        f"model.path={path!r} does not exist: give a folder with config.json and *.safetensors, "
        f"or a hub id like 'Qwen/Qwen2.5-VL-3B-Instruct'"
    )


def missing_weights(folder: Path) -> list[str]:
    """Names of the safetensors files that should be in `folder` and are not."""
    index = folder / _INDEX
    if index.is_file():
        names = set(json.loads(index.read_text("utf-8"))["weight_map"].values())
    else:
        names = {_SINGLE_FILE}
    return sorted(name for name in names if not (folder / name).is_file())


def _bundled(path: str) -> Checkpoint:
    folder = Path(str(files(assets) / path.removeprefix(_BUNDLED)))
    if not (folder / "config.json").is_file():
        bundled = sorted(config.parent.name for config in folder.parent.glob("*/config.json"))
        raise FileNotFoundError(
            f"model.path={path!r} is not bundled with this package: "
            f"allowed are {[_BUNDLED + name for name in bundled]}"
        )
    return _in_folder(path, folder)


def _in_folder(path: str, folder: Path) -> Checkpoint:
    missing = [] if (folder / "config.json").is_file() else ["config.json"]
    missing += missing_weights(folder)
    if missing:
        raise FileNotFoundError(
            f"model.path={path!r} is not a complete checkpoint: it lacks {missing}; "
            f"give a folder that `save_pretrained` or `hf download` wrote"
        )
    return Checkpoint(path, folder)


def _on_hub(hub_id: str, revision: str | None) -> Checkpoint:
    cached = try_to_load_from_cache(hub_id, "config.json", revision=revision)
    if isinstance(cached, str):
        folder = Path(cached).parent
        if missing_weights(folder):
            _require_hub(hub_id, folder.name)
        return Checkpoint(hub_id, folder, commit=folder.name)
    _require_hub(hub_id, revision)
    # By branch and not by commit: that is what a later run without a network looks for.
    folder = Path(hf_hub_download(hub_id, "config.json", revision=revision)).parent
    return Checkpoint(hub_id, folder, commit=folder.name)


def _require_hub(hub_id: str, revision: str | None) -> None:
    """Asks the hub once; its download functions would try for half a minute without a network."""
    try:
        HfApi().model_info(hub_id, revision=revision, timeout=_HUB_TIMEOUT)
    # An unknown id, a gated one, offline mode, no network: what the last one raises depends on
    # the HTTP library of huggingface_hub, and the way out is the same.
    except Exception as error:
        at = f" at revision {revision!r}" if revision else ""
        reason = str(error).partition("\n")[0]
        raise FileNotFoundError(
            f"model.path={hub_id!r}{at} is not a folder, not (completely) in the Hugging Face "
            f"cache, and the hub did not give it ({type(error).__name__}: {reason}): either run "
            f"`hf download {hub_id}` where there is a network, or set model.path=/local/folder"
        ) from error
