#!/usr/bin/env python3
"""docs/reference/ from the public headers: `make_reference.py ROOT [--write]`.

A page a room: each header with its comment, then every public type and function with its comment and its signature,
from which the call site (`Here here`) is left out. README.md lists all names. Without --write the pages are compared
with what they should be, and the program fails if they differ, if a type has no comment, or if a declaration is not
understood.
"""
import re
import sys
import textwrap
from pathlib import Path

COLUMNS = 100
ROOMS = ("autograd", "nn", "optim")
HEAD = "<!-- Made by docs/make_reference.py from the headers; `docs/make_reference.py . --write` makes it anew. -->\n\n"
INDEX = """# Reference

Every public type and function, by header. `#include "nn/nn.h"` brings all of them but the
optimisers, which `#include "optim/optim.h"` brings, and the profile in `autograd/trace/profile.h`;
a header alone does too. In the signatures the last argument `Here here`, the call site that errors
name, is left out: nobody passes it. **In every bool mask true hides.**

"""


class Misread(Exception):
    """A declaration that the reader does not understand."""


# ---- reading a header


def public_headers(root):
    """The headers that are installed, by path."""
    for room in ROOMS:
        for header in sorted((root / room).rglob("*.h")):
            path = header.relative_to(root).as_posix()
            if "/internal/" not in path and not path.startswith("autograd/kernels/"):
                yield path, header.read_text()


class Reader:
    """Splits a scope's text into comments, statements and blocks."""

    TOKEN = re.compile(
        r"""(?P<doc>///<?[^\n]*) | (?P<comment>//[^\n]*) | (?P<hash>^[ \t]*\#(?:\\\n|[^\n])*)
          | (?P<text>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])') | (?P<mark>[{}();]) | (?P<space>[ \t\n]+)
          | (?P<code>[^\s{}();"'/\#]+|/|\#)""",
        re.X | re.M,
    )

    def __init__(self, path, text):
        self.path = path
        self.tokens = [(m.lastgroup, m[0]) for m in self.TOKEN.finditer(text)]
        self.at = 0

    def peek(self):
        return self.tokens[self.at] if self.at < len(self.tokens) else (None, "")

    def take(self):
        token = self.peek()
        self.at += 1
        return token

    def skip_block(self):
        """Past the brace that closes one which was just read."""
        depth = 1
        while depth:
            kind, text = self.take()
            if kind is None:
                raise Misread(f"{self.path}: a brace is not closed")
            if kind == "mark":
                depth += {"{": 1, "}": -1}.get(text, 0)

    def trailing(self):
        """The `///<` comment, or a plain one, behind a declaration on its line, with what continues it below."""
        if (
            self.peek()[0] == "space"
            and "\n" not in self.peek()[1]
            and self.tokens[self.at + 1][0] in ("doc", "comment")
        ):
            self.take()
            lines = [strip(self.take()[1])]
            while self.continues():
                self.take()
                lines.append(strip(self.take()[1]))
            return " ".join(lines)
        return ""

    def continues(self):
        following = self.tokens[self.at : self.at + 2]
        return (
            len(following) == 2
            and following[0][0] == "space"
            and following[0][1].count("\n") == 1
            and following[1][1].startswith("///<")
        )


def strip(comment):
    return re.sub(r"^///?<? ?", "", comment).rstrip()


def parse(reader, in_class=None, public=True):
    """The items of a scope up to its closing brace: ("note", lines), ("title", text), ("declaration", dict)."""
    items, doc, note, code = [], [], [], ""
    gap = True  # whether a blank line, or nothing, stands above

    def flush_note():
        nonlocal note
        if note and public and not re.match(r"namespace( [\w:]+)?$", note[0]):
            if len(note) == 1 and note[0].startswith("---- "):
                items.append(("title", note[0][5:]))
            else:
                items.append(("note", note))
        note = []

    def declare(signature, members=None):
        nonlocal doc, gap
        tail = reader.trailing()
        if public and keep(signature, in_class, members is not None):
            if note and not doc and not gap_after_note:
                doc = list(note)
                note.clear()
            flush_note()
            entry = {"signature": tidy(signature), "doc": doc, "tail": tail, "members": members, "joined": not gap}
            items.append(("declaration", entry))
        doc, gap = [], False

    gap_after_note = True
    parentheses = 0
    while True:
        kind, text = reader.take()
        if kind is None or (kind == "mark" and text == "}" and not code.strip()):
            flush_note()
            return items
        if kind == "space":
            if not code and text.count("\n") > 1:
                gap = True
                flush_note()
                doc = []
            code += " " if code and not code.endswith(" ") else ""
        elif kind == "hash":
            continue
        elif kind == "doc" and not code.strip():
            flush_note()
            doc.append(strip(text))
        elif kind in ("doc", "comment") and code.strip():
            continue  # inside a declaration
        elif kind == "comment":
            note.append(strip(text))
        elif kind == "mark" and text == ";" and parentheses == 0:
            declare(code)
            code = ""
        elif kind == "mark" and text == "{" and parentheses == 0:
            code, public, handled = block(reader, code, items, in_class, public, declare)
            if handled:
                doc, gap = ([], False) if code == "" else (doc, gap)
        else:
            if kind == "mark" and text in "()":
                parentheses += 1 if text == "(" else -1
            code += text
            label = re.fullmatch(r"\s*(public|protected|private):", code)
            if in_class and label:
                flush_note()
                public, code, gap = label[1] != "private", "", True


def block(reader, code, items, in_class, public, declare):
    """What an opening brace begins, after `code`; returns (the code so far, public, whether the block is done)."""
    head = code.strip()
    found = re.match(r"(?:inline )?namespace ?([\w:]*)$", head)
    if found:
        if found[1] == "detail" or found[1].endswith("::detail") or not found[1]:
            reader.skip_block()
        else:
            items.extend(parse(reader))
        return "", public, True
    found = re.match(r"(?:template ?<.*> ?)?(?:requires.*? )?(class|struct|union|enum(?: class)?)\b", head)
    if found and "(" not in re.sub(r"<.*?>|alignas\(\w+\)|requires ?\(.*\)", "", head):
        name = re.search(r"(?:class|struct|union) (?:alignas\(\w+\) )?([\w:]+)", head)
        if found[1].startswith("enum"):
            members = enumerators(reader)
        else:
            members = parse(reader, name[1] if name else "?", public=found[1] != "class")
        rest = ""
        while reader.peek() != ("mark", ";"):
            rest += reader.take()[1]
        reader.take()
        if name and (head.endswith(">") or "<" in head[name.start() :].split(":")[0]) and name[1].startswith("std::"):
            return "", public, True
        declare(head + (" " + rest.strip() if rest.strip() else ""), members)
        return "", public, True
    if (
        re.search(r"(?:=|\w|>) ?$", head)
        and not re.search(r"\) ?(?:const|noexcept|override|&&?|requires.*)* ?$", head)
        and ("(" not in head or head.endswith("="))
    ):
        # A member's value in braces.
        reader.skip_block()
        return code + "{}", public, False
    if re.search(r"\)[^()]*[^:]:[^:]", head) and re.search(r"[\w>] ?$", head) and not head.endswith("const"):
        reader.skip_block()  # a constructor initialises a member in braces
        return code + "{}", public, False
    reader.skip_block()  # a function's body
    declare(code)
    return "", public, True


def enumerators(reader):
    """The list of an enumeration with its comments, as lines of code."""
    lines, line = [], ""
    depth = 1
    while depth:
        kind, text = reader.take()
        if kind is None:
            raise Misread(f"{reader.path}: an enumeration is not closed")
        if kind == "mark" and text == "}":
            depth -= 1
        elif kind in ("doc", "comment"):
            if line.strip():
                line += "  // " + strip(text)
                lines.append(line.strip())
            elif lines:
                lines[-1] += ("  // " if "//" not in lines[-1] else " ") + strip(text)
            line = ""
        elif kind == "space":
            if "\n" in text and line.endswith(",") and reader.peek()[0] not in ("doc",):
                lines.append(line.strip())
                line = ""
            else:
                line += " " if line else ""
        else:
            line += text
    if line.strip():
        lines.append(line.strip())
    return [("lines", lines)]


def keep(signature, in_class, defined):
    """Whether a declaration is for users: no friends, forward declarations, deleted ones, inherited constructors."""
    s = signature.strip()
    if not s or re.match(r"(friend|static_assert|extern|using namespace|template class|template struct)\b", s):
        return False
    if not defined and re.fullmatch(r"(template ?<.*> ?)?(class|struct|enum class) [\w:]+", s):
        return False
    if s.endswith("= delete") or re.match(r"template ?<> ?(class|struct)", s):
        return False
    if in_class and re.match(
        rf"(virtual )?~|using (\w+::)*(\w+)::\2$|(explicit )?{in_class} ?\( ?(const )?{in_class} ?&", s
    ):
        return False
    return not (in_class and re.search(r"operator= ?\((const )?%s ?&" % in_class, s))


def tidy(signature):
    """One line, without bodies, the call site, and words that a caller does not need."""
    s = re.sub(r"\s+", " ", signature).strip()
    s = re.sub(r"(\))( const| noexcept| override|&&?)* ?: (?!:).*$", lambda m: m[0].split(" : ")[0], s)
    s = re.sub(r",? ?Here here ?(= ?(Here::current\(\)|\{\}))?(?=\))", "", s)
    s = re.sub(r"\b(inline|virtual|explicit) |\[\[noreturn\]\] ", "", s)
    s = re.sub(r"^((static )?)constexpr (?=[^=]*\()", r"\1", s)
    s = re.sub(r"\bstd::int64_t\b", "int64", re.sub(r" noexcept| override", "", s))
    s = re.sub(r" = child<.*$", "", s)
    return re.sub(r"\{\}$", "", s).strip()


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
            if not (item["doc"] or item["tail"] or grouped or name.endswith("Options")):
                faults.append(f"{path}: {name} has no comment")
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
        index.append(f"**{letter}**\n\n")
        for name, places in sorted(by_letter[letter]):
            links = ", ".join(f"[{p}]({p.rsplit('/', 1)[0].replace('/', '-')}.md{slug(p)})" for p in places)
            index.append(f"- `{name}`: {links}\n")
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
