#!/usr/bin/env python3
"""Makes one script and one style sheet of this folder's files, as C++: `embed.py FILE.js... FILE.css... OUTPUT.cpp`.

Modules import from each other by name alone (`import { a, b } from "./other.js";`) and export declarations (`export
function`, `export class`, `export const`). Each becomes a function of its own that is called once, after those that it
imports from, so their private names never meet. `--script` writes the script itself, for those who want to read it.
"""
import base64
import hashlib
import re
import sys
from pathlib import Path

IMPORT = re.compile(r'^import \{([^}]*)\} from "\./(\w+)\.js";\n', re.M)
EXPORT = re.compile(r"^export ((?:async )?function|class|const) (\w+)", re.M)
PIECE = 8000  # characters of a literal: compilers allow 65536 bytes at least


def ordered(modules):
    """The names, imported ones before those that import them."""
    done, entered = [], set()

    def visit(name, by):
        if name in done:
            return
        if name in entered:
            sys.exit(f"embed.py: {by}.js and {name}.js import from each other")
        if name not in modules:
            sys.exit(f"embed.py: {by}.js imports from {name}.js, which there is not")
        entered.add(name)
        for found in IMPORT.finditer(modules[name]):
            visit(found[2], name)
        done.append(name)

    for name in sorted(modules):
        visit(name, "embed.py")
    return done


def script_of(modules):
    parts = ['"use strict";']
    exported = {name: [found[2] for found in EXPORT.finditer(text)] for name, text in modules.items()}
    for name in ordered(modules):
        for found in IMPORT.finditer(modules[name]):
            for wanted in re.findall(r"\w+", found[1]):
                if wanted not in exported[found[2]]:
                    sys.exit(f"embed.py: {found[2]}.js does not export {wanted}, which {name}.js imports")
        text = IMPORT.sub(lambda m: f"const {{{m[1]}}} = module_{m[2]};\n", modules[name])
        text = EXPORT.sub(r"\1 \2", text)
        if re.search(r"^(import|export)\b", text, re.M):
            sys.exit(f"embed.py: {name}.js imports or exports in a form that this script does not know")
        parts.append(f"const module_{name} = (() => {{\n{text}return {{ {', '.join(exported[name])} }};\n}})();")
    script = "\n".join(parts) + "\n"
    # Inside a script element these would end it, or begin a comment that hides its end.
    for tag in ("</script", "<!--", "<script"):
        if tag in script.lower():
            sys.exit(f"embed.py: {tag} in a module")
    return "{\n" + script + "}\n"


def literal(text):
    pieces = [text[i : i + PIECE] for i in range(0, len(text), PIECE)]
    return "\n".join(f'R"attune({piece})attune"' for piece in pieces)


def hash_of(text):
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def main():
    if sys.argv[1] == "--script":
        print(script_of({Path(name).stem: Path(name).read_text() for name in sys.argv[2:] if name.endswith(".js")}))
        return
    paths = [Path(name) for name in sys.argv[1:-1]]
    script = script_of({path.stem: path.read_text() for path in paths if path.suffix == ".js"})
    style = "".join(path.read_text() for path in sorted(paths) if path.suffix == ".css")
    output = '#include "autograd/trace/internal/page_assets.h"\n\nnamespace attune::page_assets {\n\n'
    for name, text in (("script", script), ("style", style)):
        output += f'const char {name}[] =\n{literal(text)};\nconst char {name}_hash[] = "{hash_of(text)}";\n'
    Path(sys.argv[-1]).write_text(output + "\n}  // namespace attune::page_assets\n")


main()
