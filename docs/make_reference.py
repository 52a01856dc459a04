#!/usr/bin/env -S python3 -B
"""docs/reference/ from the public headers: `make_reference.py ROOT [--write]`.

A page a room: each header with its comment, then every public type and function with its comment and its signature,
from which the call site (`Here here`) is left out. README.md lists all names. Without --write the pages are compared
with what they should be, and the program fails if they differ, if a type has no comment (the header's own serves one
type), or if a header is not understood.
"""
import re
import sys
import textwrap
from pathlib import Path

from read_headers import Misread, Reader, parse, public_headers

COLUMNS = 100
# What such names mean is said once, in docs/design.md; their members have comments.
SUFFIXES = ("Options", "Call", "Result", "State", "Config")
HEAD = "<!-- Made by docs/make_reference.py from the headers; `docs/make_reference.py . --write` makes it anew. -->\n\n"
INDEX = """# Reference

Every public type and function, by header. `#include "nn/nn.h"` brings all of them but the
optimisers, which `#include "optim/optim.h"` brings, and the profile in `autograd/trace/profile.h`;
a header alone does too. In the signatures the last argument `Here here`, the call site that errors
name, is left out: nobody passes it. **In every bool mask true hides.**

"""


# ---- writing Markdown


def paragraphs(lines):
    """Comment lines as Markdown: what is indented by four is code."""
    parts, text, code = [], [], []

    def close_text():
        if text:
            parts.append(
                "\n".join(
                    textwrap.wrap(escaped(" ".join(text)), COLUMNS, break_long_words=False, break_on_hyphens=False)
                )
            )
            text.clear()

    def close_code():
        while code and not code[-1].strip():
            code.pop()
        if code:
            parts.append("```cpp\n" + textwrap.dedent("\n".join(code)) + "\n```")
            code.clear()

    for line in lines:
        if line.startswith("    ") or (code and not line.strip()):
            close_text()
            code.append(line)
        elif not line.strip():
            close_text()
        elif re.match(r"(\d+\.|[-*]) ", line):
            close_text()
            close_code()
            text.append(line)
        else:
            close_code()
            text.append(line.strip())
    close_text()
    close_code()
    return "\n\n".join(parts)


def escaped(text):
    """Text that Markdown must not take for its own marks: pointers, names and templates."""
    return re.sub(r"`[^`]*`|[*_<]", lambda m: m[0] if m[0][0] == "`" else "\\" + m[0], text)


def wrapped_code(signature, indent=""):
    """A declaration in at most 100 columns, broken after the commas between arguments."""
    lines, line = [], indent
    found = re.match(r"template ?<(?:[^<>]|<[^<>]*>)*> ", signature)
    if found and len(indent + signature) >= COLUMNS:
        lines.append(indent + found[0].rstrip())
        signature = signature[found.end() :]
    depth, piece = 0, ""
    for c in signature + ";":
        piece += c
        depth += {"(": 1, "<": 1, "{": 1, ")": -1, ">": -1, "}": -1}.get(c, 0)
        if (c == "," and depth == 1) or (c == "(" and depth == 1) or c == ";":
            if len(line + piece) > COLUMNS and line.strip():
                lines.append(line.rstrip())
                line, piece = indent + "    ", piece.lstrip()
            line, piece = line + piece, ""
    return "\n".join([*lines, line])


def code_of(entry, indent=""):
    """A declaration with its members as code."""
    members = entry["members"]
    tail = f"  // {entry['tail']}" if entry["tail"] else ""
    if members is None:
        code = wrapped_code(entry["signature"], indent)
        if tail and len(code.splitlines()[-1] + tail) > COLUMNS:
            return "\n".join(comment_lines([entry["tail"]], indent)) + "\n" + code
        return code + tail
    lines = [indent + entry["signature"] + " {"]
    for kind, item in members:
        if kind == "lines":
            lines += [f"{indent}  {line}" for line in item]
        elif kind == "title":
            lines += ["", f"{indent}  // ---- {item}"]
        elif kind == "note":
            lines += ["", *comment_lines(item, indent + "  ")]
        else:
            if item["doc"]:
                lines += comment_lines(item["doc"], indent + "  ")
            lines.append(code_of(item, indent + "  "))
    return "\n".join([*lines, indent + "};" + tail])


def comment_lines(lines, indent):
    out = []
    for line in rejoined(lines):
        if line.startswith("    ") or not line:
            out.append(f"{indent}// {line}".rstrip())
        else:
            out += textwrap.wrap(
                line,
                COLUMNS,
                initial_indent=indent + "// ",
                subsequent_indent=indent + "// ",
                break_long_words=False,
                break_on_hyphens=False,
            )
    return out


def rejoined(lines):
    """Paragraphs on one line each; code as it is."""
    out = []
    for line in lines:
        if line.startswith("    ") or not line.strip() or not out or not out[-1] or out[-1].startswith("    "):
            out.append(line.rstrip())
        else:
            out[-1] += " " + line.strip()
    return out


def name_of(signature):
    """The name that a declaration gives."""
    s = re.sub(r"template ?<.*?> (?=(?:requires|class|struct|[\w:]))", "", signature)
    found = re.search(r"\boperator ?(?:\(\)|\[\]|[^\s(]+)", s)
    if found:
        return found[0]
    found = re.search(r"\b(?:class|struct|union|enum class|enum) ([\w:]+)", s) or re.match(r"using (\w+) ?=", s)
    if found:
        return found[1]
    found = re.search(r"(\w+) ?(?:\(|\{|=|$|;|\[)", s)
    return found[1] if found else s


def is_type(signature):
    return bool(re.match(r"(template ?<.*> )?(requires.* )?(class|struct|union|enum)\b", signature))


def header_section(path, items, names, faults):
    """A header's part of a page."""
    parts = [f"## `{path}`"]
    batch = []  # declarations without comments of their own, for one block of code

    def close():
        if batch:
            parts.append("```cpp\n" + "\n".join(code_of(e) for e in batch) + "\n```")
            batch.clear()

    grouped = False  # whether a comment above speaks of several declarations
    opens = True  # whether the header's own comment speaks of the next type
    for i, (kind, item) in enumerate(items):
        if kind != "declaration":
            close()
            grouped = i > 0
            if kind == "title":
                parts.append(f"**{item[0].upper() + item[1:]}**")
            else:
                parts.append(paragraphs(item))
            continue
        name = name_of(item["signature"])
        names.setdefault(name, []).append(path)
        if item["members"] is not None and is_type(item["signature"]):
            close()
            if not (item["doc"] or item["tail"] or grouped or name.endswith(SUFFIXES)):
                if not opens:
                    faults.append(f"{path}: {name} has no comment")
                opens = False
            parts.append(f"### {name}")
            if item["doc"]:
                parts.append(paragraphs(item["doc"]))
            parts.append("```cpp\n" + code_of(item) + "\n```")
        elif item["doc"] or not item["joined"]:
            close()
            if item["doc"]:
                parts.append(paragraphs(item["doc"]))
            batch.append(item)
        else:
            batch.append(item)
    close()
    return "\n\n".join(p for p in parts if p) + "\n"


def slug(path):
    return "#" + re.sub(r"[^\w-]", "", path.lower())


def pages(root):
    """({file name: text}, [faults])."""
    texts, names, faults = {}, {}, []
    for path, text in public_headers(root):
        items = parse(Reader(path, text))
        room = path.rsplit("/", 1)[0]
        page = room.replace("/", "-") + ".md"
        if not any(kind == "declaration" for kind, _ in items):
            continue  # it includes others
        section = header_section(path, items, names, faults)
        texts.setdefault(page, HEAD + f"# `{room}`\n\n")
        texts[page] += section + "\n"
    index = [HEAD, INDEX]
    by_letter = {}
    for name, places in names.items():
        if not name.startswith("operator"):
            by_letter.setdefault(name[0].upper(), []).append((name, sorted(set(places))))
    for page in sorted(texts):
        index.append(f"- [`{page.removesuffix('.md').replace('-', '/')}`]({page})\n")
    index.append("\n")
    for letter in sorted(by_letter):
        index.append(f"## {letter}\n\n| name | declared in |\n|---|---|\n")
        for name, places in sorted(by_letter[letter]):
            links = ", ".join(f"[{p}]({p.rsplit('/', 1)[0].replace('/', '-')}.md{slug(p)})" for p in places)
            index.append(f"| `{name}` | {links} |\n")
        index.append("\n")
    texts["README.md"] = "".join(index).rstrip("\n") + "\n"
    return {name: text.rstrip("\n") + "\n" for name, text in texts.items()}, faults


def main():
    root = Path(sys.argv[1])
    target = root / "docs" / "reference"
    try:
        texts, faults = pages(root)
    except Misread as e:
        print(e)
        return 1
    present = {p.name for p in target.glob("*.md")}
    if "--write" in sys.argv[2:]:
        target.mkdir(exist_ok=True)
        for name, text in texts.items():
            (target / name).write_text(text)
        for name in present - set(texts):
            (target / name).unlink()
    else:
        old = [n for n in sorted(present | set(texts)) if n not in present or (target / n).read_text() != texts.get(n)]
        if old:
            faults.append(f"docs/reference: {', '.join(old)} lag behind the headers; docs/make_reference.py . --write")
    print("".join(f"{fault}\n" for fault in faults), end="")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
