"""Puts the bridge and the npm packages it needs where Node can run them.

Node looks for packages in the directories above the importing file, so the bridge's modules are copied to
where `node_modules` is:

    NODE_DIRECTORY/<key of package.json and lock>/node_modules/...
    NODE_DIRECTORY/<key of package.json and lock>/<key of the modules>/bridge.mjs ...

Both directories are named after what is in them, never change, and appear complete by a rename. So any number
of processes and of versions of this package can share a node directory.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from occupancy.embedded.errors import EmbeddedError
from occupancy.embedded.node import Node

NODE_DIRECTORY_VARIABLE = "OCCUPANCY_EMBEDDED_NODE_DIR"

_SOURCE = Path(__file__).parent / "bridge"
_PACKAGE_FILES = (_SOURCE / "package.json", _SOURCE / "package-lock.json")
_NPM_CI = ("ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-progress")
_KEY_LENGTH = 16
_ERROR_LINES = 5


def default_node_directory(directory: Path) -> Path:
    """Return where the npm packages of the database in `directory` belong if the caller does not say."""
    shared = os.environ.get(NODE_DIRECTORY_VARIABLE)
    return Path(shared) if shared else directory / "node"


def install(node: Node, node_directory: Path, report: Callable[[str], None]) -> Path:
    """Install what is missing and return the path of `bridge.mjs`, ready to be run by `node`.

    Raises:
        EmbeddedError: npm failed; the text ends with what it said.
    """
    packages = node_directory / _key(_PACKAGE_FILES)
    if not packages.exists():
        report("installing the embedded database (23 MB, by npm) ...")
        _publish(packages, lambda draft: _install_packages(node, draft))
    modules = sorted(_SOURCE.glob("*.mjs"))
    code = packages / _key(modules)
    if not code.exists():
        _publish(code, lambda draft: _copy(modules, draft))
    return code / "bridge.mjs"


def _key(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        content = file.read_bytes()
        digest.update(f"{file.name} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()[:_KEY_LENGTH]


def _publish(target: Path, fill: Callable[[Path], None]) -> None:
    """Create the directory `target` as `fill` makes it, all at once."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".new-", dir=target.parent) as workplace:
        draft = Path(workplace) / target.name
        draft.mkdir()
        fill(draft)
        try:
            draft.rename(target)
        except OSError:
            if not target.exists():  # otherwise another process was faster, and made the same
                raise


def _copy(files: Iterable[Path], directory: Path) -> None:
    for file in files:
        shutil.copyfile(file, directory / file.name)


def _install_packages(node: Node, directory: Path) -> None:
    _copy(_PACKAGE_FILES, directory)
    result = subprocess.run(  # noqa: S603 - npm as find_node() found it
        [*node.npm, *_NPM_CI],
        cwd=directory,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        said = "\n".join(result.stderr.strip().splitlines()[-_ERROR_LINES:])
        raise EmbeddedError(
            f"npm could not install the embedded database. Is the npm registry within reach? It said:\n{said}"
        )
